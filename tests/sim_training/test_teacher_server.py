"""The teacher server and its client, over real sockets, with real worker processes."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest
import torch

from sim_training.teachers import keys as teacher_keys
from sim_training.teachers import protocol
from sim_training.teachers.adapters.tiny import TinyModel
from sim_training.teachers.remote import RemoteTeacher, TeacherRefused, TeacherUnreachable
from sim_training.teachers.server import AddressInUse, ServerConfig, TeacherServer
from sim_training.teachers.teacher import Question
from sim_training.teachers.worker import ModelDidNotLoad
from tests.sim_training.teacher_servers import ANY_PORT, expected, impostor, question, serving


class Faulty:
    """Does what the instruction says: answer NaN, answer the wrong shape, raise, sleep a second, die."""

    name = "synthetic faulty"

    def predict(self, images: np.ndarray, instructions: list[str], tcp: np.ndarray) -> np.ndarray:
        if "raise" in instructions:
            raise RuntimeError("no such luck")
        if "die" in instructions:
            os._exit(1)
        if "sleep" in instructions:
            time.sleep(1.0)
        delta = np.full((len(images), 7), 0.01, np.float32)
        delta[[text == "nan" for text in instructions], 2] = np.nan
        return delta[:, :6] if "shape" in instructions else delta


def unloadable() -> Faulty:
    raise FileNotFoundError("no weights here")


@pytest.fixture(scope="module")
def tiny() -> Iterator[TeacherServer]:
    with serving(TinyModel, largest_batch=16) as server:
        yield server


@pytest.fixture(scope="module")
def faulty() -> Iterator[TeacherServer]:
    with serving(Faulty, largest_batch=4) as server:
        yield server


@pytest.mark.parametrize(("transport", "error"), [("shared", 0.0), ("raw", 0.0), ("png", 0.0), ("jpeg", 0.001)])
def test_every_row_gets_the_delta_of_its_own_image_and_instruction(tiny, transport, error):
    asked = question([f"lift cube {i}" for i in range(40)])
    with contextlib.closing(RemoteTeacher(tiny.address, transport=transport)) as teacher:
        answer = teacher.ask(asked, 10.0)
    assert answer.valid.all()
    np.testing.assert_allclose(answer.delta, expected(asked), atol=max(error, 1e-7))


def test_on_one_host_images_travel_by_shared_memory_and_the_client_takes_it_away_again(tiny):
    before = set(Path("/dev/shm").iterdir())
    teacher = RemoteTeacher(tiny.address)
    assert teacher.transport == "shared"
    teacher.ask(question(["a"]), 10.0)
    teacher.ask(question(["a"] * 9), 10.0)  # a larger batch needs a larger segment
    assert set(Path("/dev/shm").iterdir()) - before
    teacher.close()
    assert not set(Path("/dev/shm").iterdir()) - before


def test_a_program_that_just_ends_leaves_no_shared_memory_and_no_warning(tiny):
    before = set(Path("/dev/shm").iterdir())
    program = (
        "import sys; from sim_training.teachers.remote import RemoteTeacher;"
        "from tests.sim_training.teacher_servers import question;"
        "teacher = RemoteTeacher(sys.argv[1]); assert teacher.ask(question(['a']), 10.0).valid.all()"
    )
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-c", program, tiny.address]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert not set(Path("/dev/shm").iterdir()) - before


def test_a_synthetic_teacher_says_so_in_its_name(tiny):
    with contextlib.closing(RemoteTeacher(tiny.address)) as teacher:
        assert "synthetic" in teacher.name


def test_questions_of_several_clients_share_a_batch():
    with serving(partial(TinyModel, 0.05), largest_batch=64, latency_budget_s=0.1) as server:
        teachers = [RemoteTeacher(server.address) for _ in range(4)]
        asked = [question(["lift"] * 4, seed=i) for i in range(4)]
        answers: list[Any] = [None] * 4

        def ask(i: int) -> None:
            answers[i] = teachers[i].ask(asked[i], 10.0)

        threads = [threading.Thread(target=ask, args=(i,)) for i in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        figures = teachers[0].statistics()
        for teacher in teachers:
            teacher.close()
    assert figures["images"] == 16
    assert figures["batches"] < 4
    for i in range(4):
        np.testing.assert_allclose(answers[i].delta, expected(asked[i]), atol=1e-7)


def test_rows_that_come_too_late_are_invalid_the_rest_counts_and_a_late_answer_is_never_taken_for_a_new_one():
    slow = serving(partial(TinyModel, 0.4), largest_batch=2)
    with slow as server, contextlib.closing(RemoteTeacher(server.address)) as teacher:
        begun = time.monotonic()
        answer = teacher.ask(question(["lift"] * 6), 0.6)
        assert time.monotonic() - begun < 0.9
        assert answer.valid.tolist() == [True, True, False, False, False, False]
        assert teacher.complaint is not None
        assert "4 of 6" in teacher.complaint
        other = question(["place"] * 2, seed=1)
        answer = teacher.ask(other, 10.0)
        assert answer.valid.all()
        np.testing.assert_allclose(answer.delta, expected(other), atol=1e-7)
        assert teacher.complaint is None


def test_numbers_that_are_not_finite_make_their_rows_invalid(faulty):
    with contextlib.closing(RemoteTeacher(faulty.address)) as teacher:
        answer = teacher.ask(question(["fine", "nan", "fine"]), 10.0)
        assert answer.valid.tolist() == [True, False, True]
        assert torch.isfinite(answer.delta).all()
        assert "not finite" in str(teacher.complaint)


@pytest.mark.parametrize(("fault", "sentence"), [("shape", "wrong|shape"), ("raise", "no such luck"), ("die", "ended")])
def test_a_model_that_fails_costs_its_batch_and_nothing_else(faulty, fault, sentence):
    with contextlib.closing(RemoteTeacher(faulty.address)) as teacher:
        answer = teacher.ask(question(["fine"] * 4 + [fault]), 10.0)
        assert not answer.valid[4]
        assert teacher.complaint is not None
        assert any(word in teacher.complaint for word in sentence.split("|"))
        assert teacher.ask(question(["fine"] * 5), 20.0).valid.all()


def test_a_model_that_cannot_be_loaded_is_one_sentence():
    with pytest.raises(ModelDidNotLoad, match="no weights here"):
        TeacherServer(unloadable, ServerConfig(address=ANY_PORT))


def test_an_address_in_use_is_one_sentence(tiny):
    with pytest.raises(AddressInUse, match="--address"):
        TeacherServer(TinyModel, ServerConfig(address=tiny.address))


def test_a_question_without_images_is_a_mistake_of_the_caller(tiny):
    asked = question(["a"])
    with contextlib.closing(RemoteTeacher(tiny.address)) as teacher, pytest.raises(ValueError, match="uint8"):
        teacher.ask(Question(asked.rows, asked.instructions, asked.tcp), 1.0)


# --- a server that is not what it should be -----------------------------------------------------------------------


DEEP = msgpack.unpackb(b"\x91" * 1000 + b"\xc0")
"""As many lists within each other as msgpack takes; `repr` and `str` raise RecursionError."""
HELLO = {"op": "hello", "id": 0, "model": "m", "probe": None}


def test_a_server_of_another_version_is_refused_when_connecting():
    old = msgpack.packb(msgpack.unpackb(protocol.encode(HELLO)) | {"version": 0})
    with impostor(lambda _: old) as address, pytest.raises(TeacherRefused, match="protocol 0, this side 1"):
        RemoteTeacher(address)


def lying(change: dict[str, Any]) -> Callable[[dict[str, Any]], bytes | None]:
    """Greets as it should, then answers one row with `change` in the message."""

    def reply(request: dict[str, Any]) -> bytes | None:
        if request["op"] == "hello":
            return protocol.encode(HELLO)
        honest = {"op": "answer", "id": request["id"], "start": 0, "rows": 1, "model": "m", "delta": bytes(28)}
        return protocol.encode(honest | change)

    return reply


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"version": 2}, "protocol 2"),
        ({"frame": "tool"}, "frame 'tool'"),
        ({"units": "cm"}, "units 'cm'"),
        ({"delta": bytes(24)}, "24 bytes"),
        ({"delta": None}, "something else"),
        ({"start": 5}, "not asked for"),
        ({"rows": -1}, "not asked for"),
        ({"model": "n"}, "'n' answers in place of 'm'"),
        ({"model": DEEP}, "answers in place of 'm'"),
        ({"error": DEEP}, "[[["),
        ({"op": "refused", "error": DEEP}, "[[["),
        ({"version": DEEP}, "protocol [[["),
    ],
)
def test_a_server_that_lies_later_costs_rows_and_one_sentence(change, sentence):
    with impostor(lying(change)) as address, contextlib.closing(RemoteTeacher(address)) as teacher:
        answer = teacher.ask(question(["a"]), 1.0)
        assert not answer.valid.any()
        assert sentence in str(teacher.complaint)


def test_a_server_that_says_nothing_costs_the_deadline_and_no_more():
    mute = impostor(lambda request: protocol.encode(HELLO) if request["op"] == "hello" else None)
    with mute as address, contextlib.closing(RemoteTeacher(address)) as teacher:
        for _ in range(3):
            begun = time.monotonic()
            assert not teacher.ask(question(["a"]), 0.2).valid.any()
            assert time.monotonic() - begun < 0.5


def test_no_server_at_all_is_one_sentence_that_names_the_program_to_start():
    with pytest.raises(TeacherUnreachable, match=r"launch/serve_teacher\.py"):
        RemoteTeacher("tcp://127.0.0.1:9", connect_timeout_s=0.3)
    with pytest.raises(TeacherUnreachable, match="no address"):
        RemoteTeacher("tcp://127.0.0.1", connect_timeout_s=0.3)


def _serve_at(address: str) -> None:
    TeacherServer(TinyModel, ServerConfig(address=address)).run()


def _process(address: str) -> Any:
    process = multiprocessing.get_context("spawn").Process(target=_serve_at, args=(address,))
    process.start()
    return process


def test_a_server_that_hangs_dies_and_comes_back_costs_guided_steps_only(tmp_path):
    address = f"ipc://{tmp_path}/teacher"
    server = _process(address)
    with contextlib.closing(RemoteTeacher(address, connect_timeout_s=60.0)) as teacher:
        assert teacher.ask(question(["a"] * 4), 10.0).valid.all()
        os.kill(server.pid, signal.SIGSTOP)
        begun = time.monotonic()
        assert not teacher.ask(question(["a"] * 4), 0.3).valid.any()
        os.kill(server.pid, signal.SIGKILL)
        server.join()
        time.sleep(0.2)
        assert not teacher.ask(question(["a"] * 4), 0.3).valid.any()
        assert time.monotonic() - begun < 2.0
        server = _process(address)
        try:
            end = time.monotonic() + 60.0
            asked = question(["b"] * 4, seed=3)
            while not (answer := teacher.ask(asked, 1.0)).valid.all():
                assert time.monotonic() < end
                time.sleep(0.1)
            np.testing.assert_allclose(answer.delta, expected(asked), atol=1e-7)
        finally:
            server.terminate()
            server.join()


# --- keys ---------------------------------------------------------------------------------------------------------


def test_beyond_this_host_nothing_goes_without_keys(tmp_path, monkeypatch):
    monkeypatch.setattr(teacher_keys, "KEYS_FOLDER", tmp_path / "none")
    with pytest.raises(teacher_keys.TeacherKeysMissing, match=r"serve_teacher\.py keys"):
        TeacherServer(TinyModel, ServerConfig(address="tcp://0.0.0.0:*"))
    with pytest.raises(teacher_keys.TeacherKeysMissing, match=r"serve_teacher\.py keys"):
        RemoteTeacher("tcp://teachers.example:5570")


def test_only_clients_on_the_allow_list_are_heard(tmp_path):
    for name in ("server", "stranger"):
        teacher_keys.make_keys(tmp_path / name)
    own = tmp_path / "stranger"
    (own / "server.key").write_bytes((tmp_path / "server" / "server.key").read_bytes())
    with serving(TinyModel, keys=tmp_path / "server") as server:
        with contextlib.closing(RemoteTeacher(server.address, keys=tmp_path / "server")) as friend:
            assert friend.ask(question(["a"]), 10.0).valid.all()
        with pytest.raises(TeacherUnreachable, match="allowed in"):
            RemoteTeacher(server.address, keys=own, connect_timeout_s=0.7)


def test_a_server_needs_neither_torch_nor_a_simulator():
    program = (
        "import sys; import sim_training.teachers.server, sim_training.teachers.adapters.tiny;"
        "print([m for m in ('torch', 'mani_skill', 'sapien', 'gymnasium', 'scipy') if m in sys.modules])"
    )
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]", done.stderr
