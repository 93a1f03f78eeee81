"""How physics paces itself on the camera: snapshots at the frame rate of robot time, one picture under way at most."""

from __future__ import annotations

import logging
import math
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import msgpack
import numpy as np
import zmq

logger = logging.getLogger(__name__)

FRAME_RATE_HZ = 15
_PATIENCE_S = 5.0
"""Longer than the camera's own patience with its consumer; a camera silent for longer is gone."""


CameraFault = Literal["none", "frozen", "slow", "unplugged", "dark", "blurred", "no_depth"]


PlainPose = tuple[float, float, float, float, float, float, float]
"""Position, metres, then unit quaternion wxyz."""


@dataclass(frozen=True)
class ShownBoard:
    """A calibration board that only the cameras see. name: as `calibration.board.Board.parse` reads it.

    pose: of the board in the tool's frame, or in the base frame if it lies on the `table`.
    """

    name: str
    on: Literal["tool", "table"]
    pose: PlainPose


@dataclass(frozen=True)
class View:
    """What the cameras see besides the physics.

    fault: `frozen` repeats one picture with fresh stamps, `slow` gives one frame in five, `unplugged` none,
    `dark` black ones, `blurred` unfocused ones, `no_depth` depth images of zeros.
    lookalike: where (m, m) a second cube stands that only the camera sees.
    looks: seed of another laboratory's colours, textures, light and things on the table; None for the nominal one.
    variant: name of the cube that lies there (`variants.VARIANTS`); None for the one of the looks.
    camera: T_base_camera, where somebody has put the fixed camera; wrist: T_tcp_camera, where that one is mounted.
    """

    fault: CameraFault = "none"
    lookalike: tuple[float, float] | None = None
    looks: int | None = None
    variant: str | None = None
    camera: PlainPose | None = None
    wrist: PlainPose | None = None
    board: ShownBoard | None = None

    @staticmethod
    def of_plain(values: dict[str, Any]) -> View:
        """From what `asdict` made of one."""
        board = values.pop("board")
        return View(**values, board=None if board is None else ShownBoard(**board))


@dataclass(frozen=True)
class Snapshot:
    """One frame to render: its number, robot time and joint positions of the whole scene. Shape of qpos: (nq,)"""

    frame: int
    stamp_s: float
    qpos: np.ndarray
    view: View = field(default_factory=View)


class FrameClock:
    """The physics' end: hands over joint positions whenever a frame is due and the one before is delivered."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], endpoint: str) -> None:
        self._socket = context.socket(zmq.PAIR)
        self._socket.linger = 0
        self._socket.bind(endpoint)
        self._first, self._frame = 0, 0
        self._under_way = False
        self._camera_answers = False
        self.view = View()

    def restart(self) -> None:
        """Robot time begins at zero again; frames go on counting."""
        self._first, self._frame = self._first + self._frame, 0

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
        message = {"frame": self._first + due, "stamp_s": stamp, "qpos": qpos.tolist(), "view": asdict(self.view)}
        try:
            self._socket.send(msgpack.packb(message), zmq.NOBLOCK)
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

    def receive(self, timeout_s: float) -> Snapshot | None:
        """The next; None when nothing came in time."""
        if not self._socket.poll(int(timeout_s * 1000)):
            return None
        message = msgpack.unpackb(self._socket.recv())
        qpos, view = np.array(message["qpos"]), View.of_plain(message["view"])
        return Snapshot(message["frame"], message["stamp_s"], qpos, view)

    def delivered(self) -> None:
        """Lets the physics hand over its next snapshot; said once at the start, too."""
        self._socket.send(b"")

    def close(self) -> None:
        """Ends the link."""
        self._socket.close()
