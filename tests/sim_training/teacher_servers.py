"""Servers in threads of a test, and questions whose answers a test can tell."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

import msgpack
import numpy as np
import torch
import zmq

from contract.poses import Pose
from sim_training.teachers.adapters.tiny import TinyModel
from sim_training.teachers.server import ServerConfig, TeacherServer
from sim_training.teachers.teacher import Question

ANY_PORT = "tcp://127.0.0.1:*"


@contextlib.contextmanager
def serving(load: Callable[[], Any], **settings: Any) -> Iterator[TeacherServer]:
    server = TeacherServer(load, ServerConfig(**{"address": ANY_PORT, "latency_budget_s": 0.002, **settings}))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        yield server
    finally:
        server.finish()
        thread.join()


@contextlib.contextmanager
def impostor(reply: Callable[[dict[str, Any]], bytes | None]) -> Iterator[str]:
    """A server that answers whatever `reply` makes of a request."""
    context = zmq.Context()
    socket = context.socket(zmq.ROUTER)
    port = socket.bind_to_random_port("tcp://127.0.0.1")
    leaving = threading.Event()

    def answer() -> None:
        while not leaving.is_set():
            if socket.poll(20):
                sender, packed = socket.recv_multipart()
                said = reply(msgpack.unpackb(packed))
                if said is not None:
                    socket.send_multipart([sender, said])

    thread = threading.Thread(target=answer)
    thread.start()
    yield f"tcp://127.0.0.1:{port}"
    leaving.set()
    thread.join()
    socket.close(linger=0)
    context.term()


def question(instructions: list[str], seed: int = 0, side: int = 32) -> Question:
    count = len(instructions)
    colours = np.random.default_rng(seed).integers(0, 256, (count, 1, 1, 3), dtype=np.uint8)
    images = np.broadcast_to(colours, (count, side, side, 3))
    tcp = Pose(torch.zeros(count, 3), torch.tensor([[1.0, 0, 0, 0]]).repeat(count, 1))
    return Question(torch.arange(count), instructions, tcp, images)


def expected(asked: Question) -> np.ndarray:
    assert asked.images is not None
    return TinyModel().predict(asked.images, asked.instructions, np.zeros((len(asked.instructions), 7)))
