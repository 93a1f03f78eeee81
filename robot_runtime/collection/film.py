"""All pictures of one camera while a trial runs, so that each step gets the one that was taken when it began."""

from __future__ import annotations

import bisect
import contextlib
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from perception.camera import CameraStalled, Frame

SILENT_S, OLDEST_S = 3.0, 0.5
"""Wall time, and robot time, without a picture after which the camera is lost, and the trial with it: before the object
counts as lost from sight, which would be a failure of the policy's."""
LATE_PERIODS = 1.5
"""An older picture shows that one in between was lost."""
_WAIT_S = 0.1


class Pictures(Protocol):
    """The part of a camera that a film uses."""

    def read_latest(self, max_age_s: float) -> Frame: ...
    def wait_newer(self, number: int | None, timeout_s: float) -> Frame | None: ...


@dataclass(frozen=True)
class Eye:
    """One camera and how robot time is told of its pictures. period_s: between two of them."""

    name: str
    camera: Pictures
    stamp_of: Callable[[Frame], float | None]
    period_s: float


class Film:
    """Runs as long as the block; keeps colour only."""

    def __init__(self, eye: Eye) -> None:
        self._eye = eye
        self._stamps: list[float] = []
        self._rgb: list[np.ndarray] = []
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"film-{eye.name}", daemon=True)

    def __enter__(self) -> Film:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()

    def newest_stamp(self, now: float) -> float:
        """Robot time of the newest picture that is there at robot time `now`. Raises CameraStalled."""
        self._eye.camera.read_latest(SILENT_S)
        if not self._stamps or now - self._stamps[-1] > OLDEST_S:
            raise CameraStalled(
                f"The {self._eye.name} camera has sent no picture for {OLDEST_S:g} s, the running episode is not kept:"
                " re-plug it and start the same command again."
            )
        return self._stamps[-1]

    def at(self, stamp: float) -> tuple[np.ndarray, float, bool]:
        """The last picture taken until then, when that was, and whether it is in time. Shape: (H, W, 3)"""
        index = max(0, bisect.bisect_right(self._stamps, stamp) - 1)
        taken = self._stamps[index]
        in_time = -1e-6 <= stamp - taken <= LATE_PERIODS * self._eye.period_s
        return self._rgb[index], taken, in_time

    def _run(self) -> None:
        number: int | None = None
        with contextlib.suppress(CameraStalled, RuntimeError):  # which whoever reads the newest is told as well
            while not self._stopping.is_set():
                frame = self._eye.camera.wait_newer(number, _WAIT_S)
                if frame is None:
                    continue
                number, stamp = frame.number, self._eye.stamp_of(frame)
                if stamp is not None and (not self._stamps or stamp > self._stamps[-1]):
                    self._rgb.append(frame.rgb)
                    self._stamps.append(stamp)
