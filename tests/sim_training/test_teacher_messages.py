"""What does not belong on the wire costs whoever sent it an answer, and the teacher server nothing."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from typing import Any

import msgpack
import numpy as np
import pytest
import zmq

from sim_training.teachers import protocol
from sim_training.teachers.adapters.tiny import TinyModel
from sim_training.teachers.images import ImageSender, rows_of
from sim_training.teachers.remote import RemoteTeacher
from sim_training.teachers.server import TeacherServer
from sim_training.teachers.worker import Worker
from tests.sim_training.teacher_servers import expected, question, serving

DEEPEST = 1024
"""Containers within containers that msgpack reads and writes; one more raises on either side."""


@pytest.fixture(scope="module")
def tiny() -> Iterator[TeacherServer]:
    with serving(TinyModel, largest_batch=16) as server:
        yield server


@pytest.fixture
def stranger(tiny: TeacherServer) -> Iterator[zmq.Socket[bytes]]:
    context = zmq.Context()
    socket: zmq.Socket[bytes] = context.socket(zmq.DEALER)
    socket.connect(tiny.address)
    yield socket
    socket.close(linger=0)
    context.term()


def ask(kind: str = "raw", rows: int = 2) -> dict[str, Any]:
    """A question as it should be, as plain types."""
    if kind == "shared":
        images: dict[str, Any] = {"kind": kind, "shape": [rows, 8, 8], "name": "psm_gone", "start": 0}
    else:
        images = ImageSender(kind).pack(np.zeros((rows, 8, 8, 3), np.uint8))  # type: ignore[arg-type]
    packed = protocol.encode(protocol.ask_to_wire(protocol.Ask(1, 0.5, ["a"] * rows, images, np.zeros((rows, 7)))))
    message: dict[str, Any] = msgpack.unpackb(packed)
    return message


def nested(depth: int) -> list[Any]:
    """A list in a list in a list."""
    value: list[Any] = []
    for _ in range(depth - 1):
        value = [value]
    return value


def still_answers(server: TeacherServer) -> bool:
    """Whether the server answers an honest question as it should."""
    asked = question(["still there"] * 20)
    with contextlib.closing(RemoteTeacher(server.address)) as teacher:
        answer = teacher.ask(asked, 10.0)
    return bool(answer.valid.all()) and np.allclose(answer.delta, expected(asked), atol=1e-7)


def reply_to(stranger: zmq.Socket[bytes], message: dict[str, Any]) -> dict[str, Any]:
    """What the server says to a message; fails where it says nothing."""
    stranger.send(msgpack.packb(message))
    assert stranger.poll(5000), "no reply"
    return protocol.decode(stranger.recv())


# --- anything at all ----------------------------------------------------------------------------------------------


def valid_messages() -> list[bytes]:
    asks = [msgpack.packb(ask(kind)) for kind in ("raw", "jpeg", "shared")]
    return asks + [
        protocol.encode({"op": "hello", "id": 0, "probe": "psm_gone"}),
        protocol.encode({"op": "statistics", "id": 1}),
    ]


VALUES = [None, -1, 2**62, 2**64 - 1, 1e308, "x", b"\xff", [], {}, [-1, 2, 3], [10**6] * 3, True, float("nan")]
VALUES += [nested(DEEPEST - 2), [nested(DEEPEST - 3)] * 2, nested(500), {"a": nested(DEEPEST - 3)}]


def mutated(packed: bytes, rng: random.Random) -> bytes:
    if rng.random() < 0.2:
        return rng.randbytes(rng.randrange(200))
    if rng.random() < 0.4:
        message = msgpack.unpackb(packed)
        where = message["images"] if "images" in message and rng.random() < 0.5 else message
        where[rng.choice([*sorted(where), "unknown"])] = rng.choice(VALUES)
        return bytes(msgpack.packb(message))
    changed = bytearray(packed)
    for _ in range(rng.randint(1, 8)):
        changed[rng.randrange(len(changed))] = rng.randrange(256)
    return bytes(changed[: rng.randint(0, len(changed))] if rng.random() < 0.3 else changed)


def test_a_thousand_malformed_messages_do_not_stop_the_server(tiny: TeacherServer, stranger: zmq.Socket[bytes]) -> None:
    rng, messages = random.Random(0), valid_messages()
    before = tiny.statistics()
    for i in range(1000):
        packed = mutated(rng.choice(messages), rng)
        stranger.send_multipart([packed] * (2 if i % 50 == 0 else 1))
    assert still_answers(tiny)
    figures = tiny.statistics()
    assert figures["refused"] - before["refused"] > 500
    assert figures["worker_restarts"] == before["worker_restarts"]


# --- as deep as msgpack goes --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["raw", "jpeg", "shared"])
@pytest.mark.parametrize("depth", [500, DEEPEST - 3, DEEPEST - 2])
def test_an_unknown_key_among_the_images_never_reaches_the_model(
    tiny: TeacherServer, stranger: zmq.Socket[bytes], kind: str, depth: int
) -> None:
    honest, message = ask(kind), ask(kind)
    message["images"]["unknown"] = nested(depth)
    assert rows_of(message["images"], 0, 1) == rows_of(honest["images"], 0, 1)
    assert reply_to(stranger, message) == reply_to(stranger, honest)
    assert still_answers(tiny)


IN_A_QUESTION = ["version", "frame", "units", "op", "deadline_s", "instructions", "tcp", "images"]
AMONG_ITS_IMAGES = [("raw", "kind"), ("raw", "shape"), ("raw", "pixels"), ("jpeg", "files")]
AMONG_ITS_IMAGES += [("shared", "name"), ("shared", "start")]


@pytest.mark.parametrize("field", IN_A_QUESTION)
@pytest.mark.parametrize("in_pairs", [False, True], ids=["", "in pairs"])
def test_a_field_of_a_question_that_is_very_deep_is_refused(
    tiny: TeacherServer, stranger: zmq.Socket[bytes], field: str, in_pairs: bool
) -> None:
    deep = [nested(DEEPEST - 2)] * 2 if in_pairs else nested(DEEPEST - 1)
    assert reply_to(stranger, ask() | {field: deep})["op"] == "refused"
    assert still_answers(tiny)


@pytest.mark.parametrize(("kind", "field"), AMONG_ITS_IMAGES)
@pytest.mark.parametrize("in_pairs", [False, True], ids=["", "in pairs"])
def test_a_field_of_its_images_that_is_very_deep_is_refused(
    tiny: TeacherServer, stranger: zmq.Socket[bytes], kind: str, field: str, in_pairs: bool
) -> None:
    message = ask(kind)
    message["images"][field] = [nested(DEEPEST - 3)] * 2 if in_pairs else nested(DEEPEST - 2)
    assert reply_to(stranger, message)["op"] == "refused"
    assert still_answers(tiny)


def test_what_nobody_looks_at_may_be_as_deep_as_it_likes(tiny: TeacherServer, stranger: zmq.Socket[bytes]) -> None:
    deep = nested(DEEPEST - 1)
    assert reply_to(stranger, ask() | {"unknown": deep})["op"] == "answer"
    hello = msgpack.unpackb(protocol.encode({"op": "hello", "id": deep[0], "probe": deep[0]}))
    reply = reply_to(stranger, hello)
    assert (reply["op"], reply["id"], reply["probe"]) == ("hello", None, None)
    assert still_answers(tiny)


@pytest.mark.parametrize("start", [-1, 2**63, 2**64 - 1])
def test_shared_images_that_begin_nowhere_are_refused_also_where_a_question_is_cut(
    tiny: TeacherServer, stranger: zmq.Socket[bytes], start: int
) -> None:
    message = ask("shared", rows=40)  # three pieces, the last of which would begin beyond any whole number of msgpack
    message["images"]["start"] = start
    assert reply_to(stranger, message)["op"] == "refused"
    assert still_answers(tiny)


def test_what_is_refused_is_quoted_in_a_few_words(tiny: TeacherServer, stranger: zmq.Socket[bytes]) -> None:
    reply = reply_to(stranger, ask() | {"op": "x" * 1_000_000})
    assert reply["op"] == "refused"
    assert len(reply["error"]) < 200


# --- between the server and a worker ------------------------------------------------------------------------------


def test_a_batch_that_cannot_be_handed_over_is_answered_and_the_next_one_is_worked_on(
    tiny: TeacherServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    give, given = Worker.give, []

    def failing_once(worker: Worker, batch: Any) -> None:
        given.append(batch)
        if len(given) == 1:
            raise ValueError("recursion limit exceeded")
        give(worker, batch)

    monkeypatch.setattr(Worker, "give", failing_once)
    with contextlib.closing(RemoteTeacher(tiny.address)) as teacher:
        assert not teacher.ask(question(["a"] * 3), 5.0).valid.any()
        assert "recursion limit exceeded" in str(teacher.complaint)
        assert teacher.ask(question(["a"] * 3), 5.0).valid.all()


def test_a_worker_that_cannot_be_reached_costs_its_batch_at_once(
    tiny: TeacherServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    give, before = Worker.give, tiny.statistics()["worker_restarts"]
    lost: list[Worker] = []

    def cut_off(worker: Worker, batch: Any) -> None:
        if not lost:
            lost.append(worker)
            worker.connection.close()  # the process itself is well, so that nothing else tells of it
        give(worker, batch)

    monkeypatch.setattr(Worker, "give", cut_off)
    with contextlib.closing(RemoteTeacher(tiny.address)) as teacher:
        assert not teacher.ask(question(["a"] * 3), 5.0).valid.any()
        assert "another one is being started" in str(teacher.complaint)
        assert teacher.ask(question(["a"] * 3), 30.0).valid.all()
    assert not lost[0].process.is_alive()
    assert tiny.statistics()["worker_restarts"] == before + 1


# --- another protocol ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"version": 99}, "protocol 99"),
        ({"frame": "camera"}, "frame 'camera'"),
        ({"units": "mm, deg"}, "units 'mm, deg'"),
    ],
)
def test_another_version_frame_or_unit_is_refused_in_one_sentence(
    stranger: zmq.Socket[bytes], change: dict[str, Any], sentence: str
) -> None:
    reply = reply_to(stranger, ask() | change)
    assert reply["op"] == "refused"
    assert sentence in reply["error"]
