"""One process with one model: takes batches of pieces, gives back a delta for every row or a sentence why not."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any, Protocol

import msgpack
import numpy as np

from sim_training.teachers.batching import Piece
from sim_training.teachers.images import unpack
from sim_training.teachers.protocol import DELTA_SIZE, ProtocolError


class ModelDidNotLoad(RuntimeError):
    """A model could not be loaded; the sentence is its own."""


class Model(Protocol):
    """A policy that looks and reads. name: for ledgers and artifacts; synthetic ones say so in it."""

    name: str

    def predict(self, images: np.ndarray, instructions: list[str], tcp: np.ndarray) -> np.ndarray:
        """Physical deltas in the base frame: m, rotation vector rad, gripper (1 opens, -1 closes). Shape: (N, 7)

        images: (N, height, width, 3) uint8 RGB, perhaps read-only. tcp: (N, 7) m and quaternion wxyz, base frame.
        """


LoadModel = Callable[[], Model]
"""Makes the model, in the process that will use it; must be importable there."""


class Worker:
    """The server's side of one process. ready: its model has been loaded. batch: what it works on, if anything."""

    def __init__(self, load: LoadModel):
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_work, args=(theirs, load), daemon=True)
        self.process.start()
        theirs.close()
        self.ready = False
        self.batch: list[Piece] = []

    @property
    def idle(self) -> bool:
        """Whether it can be given a batch."""
        return self.ready and not self.batch

    def wait_until_loaded(self) -> str:
        """The model's name, once it can be used. Raises ModelDidNotLoad."""
        try:
            return self.loaded()
        except EOFError as error:
            raise ModelDidNotLoad("The model's process ended while it loaded; see its output above.") from error

    def loaded(self) -> str:
        """Read the name that a worker says first. Raises ModelDidNotLoad, or EOFError if the process has ended."""
        said = msgpack.unpackb(self.connection.recv_bytes())
        if "failed" in said:
            raise ModelDidNotLoad(f"The model could not be loaded: {said['failed']}")
        self.ready = True
        name: str = said["name"]
        return name

    def give(self, batch: list[Piece]) -> None:
        """Let it work. Raises OSError if the process has ended; a batch that cannot be packed leaves it idle."""
        packed = msgpack.packb(
            [
                {"images": piece.images, "instructions": piece.instructions, "tcp": piece.tcp.tobytes()}
                for piece in batch
            ]
        )
        self.batch = batch
        self.connection.send_bytes(packed)

    def answers(self) -> list[tuple[Piece, dict[str, Any]]]:
        """What became of the batch: `delta` or `error` for each piece. Raises EOFError, OSError: the process ended."""
        said = msgpack.unpackb(self.connection.recv_bytes())
        batch, self.batch = self.batch, []
        return list(zip(batch, said, strict=True))

    def end(self) -> None:
        """End the process, whatever it does."""
        self.connection.close()
        self.process.terminate()
        self.process.join(2.0)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()


def _work(connection: Connection, load: LoadModel) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the server ends its workers
    try:
        model = load()
        connection.send_bytes(msgpack.packb({"name": model.name}))
    except Exception as error:
        connection.send_bytes(msgpack.packb({"failed": _sentence(error)}))
        return
    while True:
        try:
            pieces = msgpack.unpackb(connection.recv_bytes())
            connection.send_bytes(msgpack.packb(answer(model, pieces)))
        except (EOFError, OSError):  # the server has gone
            return


def answer(model: Model, pieces: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """`delta` or `error` for each piece; pieces whose images are of one size go through the model together."""
    answers: list[dict[str, Any]] = [{} for _ in pieces]
    groups: dict[tuple[int, ...], list[tuple[int, np.ndarray]]] = {}
    for index, piece in enumerate(pieces):
        try:
            images = unpack(piece["images"])
            groups.setdefault(images.shape[1:], []).append((index, images))
        except (ProtocolError, OverflowError) as error:
            answers[index] = {"error": str(error)}
    for group in groups.values():
        for (index, _), said in zip(group, _predict(model, pieces, group), strict=True):
            answers[index] = said
    return answers


def _predict(model: Model, pieces: list[dict[str, Any]], group: list[tuple[int, np.ndarray]]) -> list[dict[str, Any]]:
    images = group[0][1] if len(group) == 1 else np.concatenate([images for _, images in group])
    instructions = [text for index, _ in group for text in pieces[index]["instructions"]]
    tcp = np.concatenate([np.frombuffer(pieces[index]["tcp"], "<f4") for index, _ in group])
    try:
        delta = np.asarray(model.predict(images, instructions, tcp.reshape(-1, 7)), "<f4")
    except Exception as error:  # a model's own bug costs this batch and nothing else
        return [{"error": f"The model failed: {_sentence(error)}"}] * len(group)
    if delta.shape != (len(images), DELTA_SIZE):
        due = f"({len(images)}, {DELTA_SIZE})"
        return [{"error": f"The model answered with shape {delta.shape}; {due} was due."}] * len(group)
    ends = np.cumsum([len(images) for _, images in group])[:-1]
    return [{"delta": part.tobytes()} for part in np.split(delta, ends)]


def _sentence(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:500]
