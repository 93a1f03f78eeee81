"""Synthetic hands: devices that say what a test tells them to."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType

import numpy as np

from robot_runtime.teleoperation.device import Reading


class SyntheticHand:
    """A device. reading: called every time it is read."""

    def __init__(self, reading: Callable[[], Reading]) -> None:
        self._reading = reading

    def read(self) -> Reading:
        return self._reading()

    def __enter__(self) -> SyntheticHand:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass


def pushing(*twist: float, grips: bool = False) -> Reading:
    """A hand on the device. twist: in the wrist frame, the rest zero."""
    return Reading(np.pad(np.array(twist, float), (0, 6 - len(twist))), touched=True, grips=grips)
