"""A teacher behind a server: asks over ZeroMQ, and gives up in time whatever the server does."""

from __future__ import annotations

import atexit
import logging
import time
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import zmq
from torch import Tensor

from sim_training.teachers.images import ImageSender, Probe, Transport
from sim_training.teachers.keys import keys_for, secure_client
from sim_training.teachers.protocol import DELTA_SIZE, Ask, ProtocolError, ask_to_wire, decode, encode, floats, quoted
from sim_training.teachers.teacher import Answer, Question, checked

_log = logging.getLogger(__name__)
_GREETING = 0
"""The number of a client's first message; its questions count up from 1."""
STATISTICS_TIMEOUT_S = 5.0


class TeacherUnreachable(RuntimeError):
    """No teacher server answers at the address."""


class TeacherRefused(RuntimeError):
    """A server answers that cannot be this program's teacher; the sentence says why."""


class _NoAnswer(RuntimeError):
    """Nothing, or nothing more, came in time."""


class RemoteTeacher:
    """Asks a teacher server. Rows it does not answer in time, or answers badly, are not valid; it never hangs.

    name: of the server's model. complaint: one sentence on what went wrong with the newest question, or None.
    """

    needs_images = True

    def __init__(
        self,
        address: str,
        keys: Path | None = None,
        transport: Transport | Literal["auto"] = "auto",
        connect_timeout_s: float = 10.0,
    ):
        """auto: shared memory where the server can read it, JPEG elsewhere. keys: folder, not needed on one host.

        Where this host's shared memory has no room, images go as they are (`raw`).
        Raises TeacherUnreachable, TeacherRefused or TeacherKeysMissing.
        """
        self._address = address
        self.complaint: str | None = None
        self._asked = _GREETING
        own_keys = keys_for(address, keys, "client")
        self._context = zmq.Context()
        self._socket: zmq.Socket[bytes] = self._context.socket(zmq.DEALER)
        self._socket.linger = 0
        self._socket.immediate = True  # without a server nothing queues up, and a question fails at once
        secure_client(self._socket, own_keys)
        self._images: ImageSender | None = None
        try:
            self._socket.connect(address)
            self.name, same_host = self._greet(connect_timeout_s)
        except zmq.ZMQError as error:
            self.close()
            raise TeacherUnreachable(f"{address} is no address of a teacher server ({error}).") from error
        except BaseException:
            self.close()
            raise
        if transport == "auto":
            transport = "shared" if same_host else "jpeg"
        self._images = ImageSender(transport)
        atexit.register(self.close)

    @property
    def transport(self) -> Transport:
        """How images go to the server."""
        assert self._images is not None
        return self._images.transport

    def begin(self, rows: Tensor) -> None:
        """Nothing to forget: a server's model sees one instant at a time."""

    def state(self) -> dict[str, Tensor]:
        """Nothing is remembered."""
        return {}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Nothing was remembered."""

    def ask(self, question: Question, deadline_s: float) -> Answer:
        """One delta per environment within `deadline_s` seconds; rows that come too late are not valid."""
        end_s = time.monotonic() + deadline_s
        count, device = len(question.instructions), question.tcp.position.device
        rows = _Rows(count)
        self._asked += 1
        try:
            self._send(question, end_s)
            while not rows.settled.all():
                rows.take(self._receive(self._asked, end_s))
            self._note(rows.complaint)
        except (ProtocolError, _NoAnswer) as error:
            missing = count - int(rows.settled.sum())
            self._note(f"{error} {missing} of {count} rows are not guided.")
        answer = Answer(torch.from_numpy(rows.delta).to(device), torch.from_numpy(rows.valid).to(device))
        return checked(answer, count, self.name)

    def statistics(self) -> dict[str, Any]:
        """The server's health and load, see `TeacherServer.statistics`. Raises TeacherUnreachable."""
        self._asked += 1
        end_s = time.monotonic() + STATISTICS_TIMEOUT_S
        try:
            self._socket.send(encode({"op": "statistics", "id": self._asked}), zmq.NOBLOCK)
            figures: dict[str, Any] = self._receive(self._asked, end_s)["statistics"]
        except (zmq.ZMQError, ProtocolError, _NoAnswer, KeyError) as error:
            raise TeacherUnreachable(self._silent(STATISTICS_TIMEOUT_S)) from error
        return figures

    def close(self) -> None:
        """Leave the server and give the shared memory back; done at the program's end too."""
        atexit.unregister(self.close)
        self._socket.close(linger=0)
        self._context.term()
        if self._images is not None:
            self._images.close()

    def _greet(self, timeout_s: float) -> tuple[str, bool]:
        """The model's name, and whether the server can read this host's shared memory."""
        end_s = time.monotonic() + timeout_s
        probe = Probe()
        try:
            if not self._socket.poll(int(1000 * timeout_s), zmq.POLLOUT):
                raise TeacherUnreachable(self._silent(timeout_s))
            self._socket.send(encode({"op": "hello", "id": _GREETING, "probe": probe.name}), zmq.NOBLOCK)
            reply = self._receive(_GREETING, end_s)
            name = reply.get("model")
            if not isinstance(name, str):
                raise ProtocolError("The server does not say which model it serves.")
            return name, reply.get("probe") == probe.token
        except (zmq.Again, _NoAnswer) as error:
            raise TeacherUnreachable(self._silent(timeout_s)) from error
        except ProtocolError as error:
            raise TeacherRefused(f"The teacher at {self._address} cannot be used: {error}") from error
        finally:
            probe.close()

    def _silent(self, timeout_s: float) -> str:
        return (
            f"No teacher answered at {self._address} within {timeout_s:g} s: is `launch/serve_teacher.py` running"
            " there, has its model been loaded, and are this host's keys allowed in?"
        )

    def _send(self, question: Question, end_s: float) -> None:
        count, images = len(question.instructions), question.images
        if images is None or images.dtype != np.uint8 or images.shape != (count, *images.shape[1:3], 3):
            raise ValueError(f"A remote teacher needs images of shape ({count}, height, width, 3), uint8 RGB.")
        assert self._images is not None
        tcp = torch.cat([question.tcp.position, question.tcp.quaternion], -1).detach().cpu().numpy()
        packed = self._images.pack(images)
        left_s = end_s - time.monotonic()
        if left_s <= 0:
            raise _NoAnswer("The deadline passed before the question was sent.")
        ask = Ask(self._asked, left_s, question.instructions, packed, tcp)
        try:
            self._socket.send(encode(ask_to_wire(ask)), zmq.NOBLOCK)
        except zmq.Again as error:
            raise _NoAnswer(f"No teacher server is at {self._address} just now.") from error

    def _receive(self, number: int, end_s: float) -> dict[str, Any]:
        """The next answer to this question; later ones to older questions are dropped. Raises ProtocolError."""
        while True:
            left_ms = int(1000 * (end_s - time.monotonic()))
            if left_ms <= 0 or not self._socket.poll(left_ms):
                raise _NoAnswer(f"The teacher at {self._address} did not answer in time.")
            reply = decode(self._socket.recv())
            if reply.get("id") not in (number, None):
                continue
            if reply.get("op") == "refused":
                raise ProtocolError(f"The teacher refused the question: {_told(reply)}")
            model = reply.get("model")
            if number != _GREETING and model != self.name:
                raise ProtocolError(f"{quoted(model)} answers in place of '{self.name}'; start again with it.")
            return reply

    def _note(self, complaint: str | None) -> None:
        if complaint is not None and complaint != self.complaint:
            _log.warning("teacher %s: %s", self.name, complaint)
        self.complaint = complaint


def _told(reply: dict[str, Any]) -> str:
    """What went wrong, in the other side's words."""
    error = reply.get("error")
    return error if isinstance(error, str) else quoted(error)


class _Rows:
    """The rows of one question as their answers come in. settled, valid: (N,) bool. delta: (N, 7)"""

    def __init__(self, count: int):
        self.settled, self.valid = np.zeros((2, count), bool)
        self.delta = np.zeros((count, DELTA_SIZE), np.float32)
        self.complaint: str | None = None

    def take(self, reply: dict[str, Any]) -> None:
        """Fill in one piece. Raises ProtocolError if it does not fit the question."""
        start, count = reply.get("start"), reply.get("rows")
        if type(start) is not int or type(count) is not int or not 0 <= start < start + count <= len(self.valid):
            raise ProtocolError("The teacher answered rows that were not asked for.")
        piece = slice(start, start + count)
        if "error" in reply:
            self.complaint = _told(reply)
        else:
            self.delta[piece] = floats(reply.get("delta"), count)
            self.valid[piece] = True
            if not np.isfinite(self.delta[piece]).all():
                self.complaint = "The teacher answered with numbers that are not finite; those rows are not guided."
        self.settled[piece] = True
