"""How physics paces itself on the camera: snapshots at the frame rate of robot time, one picture under way at most."""

from __future__ import annotations

import logging
import math

import msgpack
import numpy as np
import zmq

logger = logging.getLogger(__name__)

FRAME_RATE_HZ = 15
_PATIENCE_S = 5.0
"""Longer than the camera's own patience with its consumer; a camera silent for longer is gone."""


class FrameClock:
    """The physics' end: hands over joint positions whenever a frame is due and the one before is delivered."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], endpoint: str) -> None:
        self._socket = context.socket(zmq.PAIR)
        self._socket.linger = 0
        self._socket.bind(endpoint)
        self._frame = 0
        self._under_way = False
        self._camera_answers = False

    def after_step(self, stamp: float, qpos: np.ndarray) -> None:
        """Called once per control tick; blocks while a frame is due and the one before it is not delivered."""
        # Half a microsecond: stamps are whole milliseconds in floating point.
        due = math.floor(stamp * FRAME_RATE_HZ + 5e-7)
        if due <= self._frame:
            return
        self._frame = due
        if not self._camera_answers:
            # It says so when it is ready; before that, and after it has gone, there is nothing to pace on.
            self._read_answers()
            self._under_way = False
            if not self._camera_answers:
                return
        if self._under_way and not self._delivered():
            return
        message = msgpack.packb({"frame": due, "stamp_s": stamp, "qpos": qpos.tolist()})
        try:
            self._socket.send(message, zmq.NOBLOCK)
            self._under_way = True
        except zmq.Again:
            self._under_way = False

    def _delivered(self) -> bool:
        if self._socket.poll(int(_PATIENCE_S * 1000)):
            self._read_answers()
            return True
        logger.warning("The mock camera delivered nothing for %.0f s; physics goes on without it.", _PATIENCE_S)
        self._camera_answers = False
        return False

    def _read_answers(self) -> None:
        while self._socket.poll(0):
            self._socket.recv()
            self._camera_answers, self._under_way = True, False

    def close(self) -> None:
        """Ends the link."""
        self._socket.close()


class SnapshotReceiver:
    """The camera's end."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], endpoint: str) -> None:
        self._socket = context.socket(zmq.PAIR)
        self._socket.linger = 0
        self._socket.connect(endpoint)

    def receive(self, timeout_s: float) -> tuple[int, float, np.ndarray] | None:
        """Frame number, robot time and joint positions; None when nothing came in time."""
        if not self._socket.poll(int(timeout_s * 1000)):
            return None
        message = msgpack.unpackb(self._socket.recv())
        return message["frame"], message["stamp_s"], np.array(message["qpos"])

    def delivered(self) -> None:
        """Lets the physics hand over its next snapshot; said once at the start, too."""
        self._socket.send(b"")

    def close(self) -> None:
        """Ends the link."""
        self._socket.close()
