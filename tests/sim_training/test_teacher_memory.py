"""Shared memory is there before it is written to: where a host has none left, images go another way."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from sim_training.teachers import images
from sim_training.teachers.adapters.tiny import TinyModel
from sim_training.teachers.remote import RemoteTeacher
from sim_training.teachers.server import TeacherServer
from tests.sim_training.teacher_servers import expected, question, serving

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def tiny() -> Iterator[TeacherServer]:
    with serving(TinyModel, largest_batch=16) as server:
        yield server


def leave_room_for(monkeypatch: pytest.MonkeyPatch, room: int) -> None:
    """A host whose shared memory takes segments of at most `room` bytes."""
    reserve = os.posix_fallocate

    def reserve_if_there_is_room(file: int, start: int, size: int) -> None:
        if size > room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        reserve(file, start, size)

    monkeypatch.setattr(os, "posix_fallocate", reserve_if_there_is_room)


def segments() -> set[Path]:
    return set(Path("/dev/shm").iterdir())


def test_a_batch_that_shared_memory_has_no_room_for_arrives_whole_by_another_way(
    tiny: TeacherServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    before = segments()
    few, many = question(["lift"] * 4), question(["lift"] * 40, seed=1)
    leave_room_for(monkeypatch, few.images.nbytes)
    with contextlib.closing(RemoteTeacher(tiny.address)) as teacher, caplog.at_level(logging.WARNING):
        assert teacher.ask(few, 10.0).valid.all()
        assert teacher.transport == "shared"
        for asked in (many, many, few):
            answer = teacher.ask(asked, 10.0)
            assert answer.valid.all()
            np.testing.assert_allclose(answer.delta, expected(asked), atol=1e-7)
        assert teacher.transport == "raw"
        assert segments() == before, "what it had is given back"
    assert [record.message for record in caplog.records if "No space left" in record.message] != []
    assert len(caplog.records) == 1, "said once"


def test_a_host_without_any_shared_memory_greets_and_asks_all_the_same(
    tiny: TeacherServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = segments()
    leave_room_for(monkeypatch, 0)
    asked = question(["lift"] * 20)
    with contextlib.closing(RemoteTeacher(tiny.address)) as teacher:
        assert teacher.transport == "jpeg"  # whether the server is on this host could not be found out
        answer = teacher.ask(asked, 10.0)
    assert answer.valid.all()
    np.testing.assert_allclose(answer.delta, expected(asked), atol=1e-3)
    assert segments() == before


IN_A_SMALL_HOST = "mount -t tmpfs -o size=256k tmpfs /dev/shm && exec "
PACK = """
import numpy as np
from sim_training.teachers.images import ImageSender, Probe, unpack
small, large = (np.full((rows, 64, 64, 3), 7, np.uint8) for rows in (4, 64))
sender, probe = ImageSender("shared"), Probe()
for images in (small, large, small):
    packed = sender.pack(images)
    assert (unpack(packed) == images).all()
    print(packed["kind"])
"""


def test_where_dev_shm_is_really_small_nothing_is_killed_by_sigbus() -> None:
    if subprocess.run(["unshare", "-rm", "sh", "-c", IN_A_SMALL_HOST + "true"], capture_output=True).returncode != 0:
        pytest.skip("this host lets nobody mount a small /dev/shm of their own")
    command = ["unshare", "-rm", "sh", "-c", IN_A_SMALL_HOST + '"$@"', "sh", sys.executable, "-c", PACK]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout.split()) == (0, ["shared", "raw", "raw"]), done.stderr


def test_more_images_than_a_message_holds_cost_their_guidance_and_one_sentence(
    tiny: TeacherServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    few, many = question(["lift"] * 4), question(["lift"] * 40)
    monkeypatch.setattr(images, "LARGEST_IMAGES", few.images.nbytes)
    with contextlib.closing(RemoteTeacher(tiny.address, transport="raw")) as teacher:
        assert not teacher.ask(many, 10.0).valid.any()
        assert "ask about fewer" in str(teacher.complaint)
        assert teacher.ask(few, 10.0).valid.all()
