"""A server with several workers: all of them answer, and one that dies costs its batch and no waiting."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator

import pytest

from sim_training.teachers.remote import RemoteTeacher
from sim_training.teachers.server import TeacherServer
from tests.sim_training.teacher_servers import question, serving
from tests.sim_training.telling import CALL_S, Telling

DEADLINE_S = 20.0


def processes(teacher: RemoteTeacher, rows: int) -> list[int]:
    """Which processes answered the rows of one question."""
    answer = teacher.ask(question(["who are you"] * rows), DEADLINE_S)
    return [int(number) for number in answer.delta[answer.valid, 0]]


def wait_until(server: TeacherServer, figure: str, value: int) -> None:
    end_s = time.monotonic() + 60.0
    while server.statistics()[figure] != value:
        assert time.monotonic() < end_s, f"{figure} is {server.statistics()[figure]}, not {value}"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def server() -> Iterator[TeacherServer]:
    with serving(Telling, workers=2, largest_batch=4) as server:
        yield server


@pytest.fixture
def teacher(server: TeacherServer) -> Iterator[RemoteTeacher]:
    wait_until(server, "workers_ready", 2)
    with contextlib.closing(RemoteTeacher(server.address)) as teacher:
        yield teacher


def test_workers_share_the_pieces_of_a_question_and_work_at_the_same_time(teacher: RemoteTeacher) -> None:
    begun_s = time.monotonic()
    answered = processes(teacher, rows=16)
    assert time.monotonic() - begun_s < 4 * CALL_S, "four calls one after the other take longer"
    assert len(answered) == 16
    assert len(set(answered)) == 2


def test_a_worker_killed_in_its_call_costs_its_batch_and_no_waiting(
    server: TeacherServer, teacher: RemoteTeacher
) -> None:
    first, second = sorted(set(processes(teacher, rows=8)))
    threading.Timer(0.5 * CALL_S, os.kill, (first, signal.SIGKILL)).start()
    begun_s = time.monotonic()
    assert processes(teacher, rows=8) == [second] * 4
    assert time.monotonic() - begun_s < DEADLINE_S / 4, "what was lost is said at once, not at the deadline"
    assert "another one is being started" in str(teacher.complaint)
    assert_both_work_again(server, teacher, first, second)


def test_a_worker_killed_while_it_waits_costs_nothing_once_that_is_noticed(
    server: TeacherServer, teacher: RemoteTeacher
) -> None:
    restarts = server.statistics()["worker_restarts"]
    first, second = sorted(set(processes(teacher, rows=8)))
    os.kill(first, signal.SIGKILL)
    wait_until(server, "worker_restarts", restarts + 1)
    assert_both_work_again(server, teacher, first, second)


def assert_both_work_again(server: TeacherServer, teacher: RemoteTeacher, dead: int, alive: int) -> None:
    begun_s = time.monotonic()
    meanwhile = processes(teacher, rows=8)
    assert time.monotonic() - begun_s < DEADLINE_S / 4
    assert len(meanwhile) == 8
    assert alive in meanwhile
    assert dead not in meanwhile
    wait_until(server, "workers_ready", 2)
    afterwards = set(processes(teacher, rows=8))
    assert len(afterwards) == 2
    assert alive in afterwards
    assert dead not in afterwards
