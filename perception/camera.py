"""What a depth camera gives, whichever it is, and what can go wrong with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np


class CameraMissing(RuntimeError):
    """No camera answers at the address. Plug it in, start the mock cell, or correct the cell file."""


class WrongCamera(RuntimeError):
    """A camera answers, but it is not the one the cell file describes."""


class CameraStalled(RuntimeError):
    """The camera has sent nothing for too long. Re-plug it and start again."""


class RecordingEnded(CameraStalled):
    """The recording has no more frames. Start again, or name a longer one."""


class CameraFrozen(CameraStalled):
    """The camera sends the same picture again and again though the arm moves. Re-plug it and start again."""


@dataclass(frozen=True)
class CameraMode:
    """Which camera, and what it is to send.

    address: `usb` for the camera with that serial, `tcp://host:port` of a frame stream, `file:PATH.db3` of a recording.
    width, height: of both pictures, pixels. rate_hz: pictures per second.
    """

    address: str
    serial: str
    width: int
    height: int
    rate_hz: int

    def __str__(self) -> str:
        return f"{self.width}x{self.height} at {self.rate_hz} Hz"


@dataclass(frozen=True)
class Frame:
    """One colour image and its depth, aligned pixel by pixel.

    rgb: uint8, shape (height, width, 3). depth_m: float32, 0 where unknown, shape (height, width).
    K: pinhole matrix of both in pixels, camera frame x right, y down, z forward. Shape: (3, 3)
    number: the camera's own count. stamp_s: the camera's own clock, whose name is clock_domain.
    host_s: host monotonic time of arrival.
    """

    rgb: np.ndarray
    depth_m: np.ndarray
    K: np.ndarray
    number: int
    stamp_s: float
    clock_domain: str
    host_s: float


class Camera(Protocol):
    """Where frames come from."""

    def read_latest(self, max_age_s: float) -> Frame:
        """The newest frame. Raises CameraStalled if it arrived longer than `max_age_s` ago."""

    def wait_newer(self, number: int | None, timeout_s: float) -> Frame | None:
        """The newest frame as soon as its number differs from `number`; None after `timeout_s`."""
