"""A 3Dconnexion SpaceMouse: the only pyspacemouse code."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

import numpy as np

from robot_runtime.teleoperation.device import HAND_DOWN, DeviceMissing, Reading, in_wrist

DEADBAND = 0.06
"""A cap that nobody touches does not quite come back to zero."""
MOST_REPORTS = 64
"""Read at once: the device sends about 125 a second and is read 20 times a second."""
SILENT_S = 0.2
"""A cap that is held sends on; one that has been let go of, or whose radio is lost, may have said zero or not."""


class SpaceMouse:
    """A device. Push, pull and turn the cap; the left button is the gripper, the right one marks the task done."""

    def __init__(
        self,
        speed: float,
        hand: np.ndarray = HAND_DOWN,
        opened: Callable[[], Any] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """speed: share of the task card's full speed at full deflection. hand: how the card turns the hand at the
        start. opened: in the place of pyspacemouse's own."""
        self._hand, self._clock = hand, clock
        self._speed, self._open = speed, opened or _open
        self._buttons = [False, False]
        self._stamp, self._heard_at = -math.inf, -math.inf

    def __enter__(self) -> SpaceMouse:
        """Raises DeviceMissing."""
        self._mouse = self._open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._mouse.close()

    def read(self) -> Reading:
        """The newest of what it has sent. Raises DeviceMissing once it is unplugged."""
        state, pressed = self._newest()
        cap = np.array([state.x, state.y, state.z, state.roll, state.pitch, state.yaw], float)
        if state.t != self._stamp:
            self._stamp, self._heard_at = state.t, self._clock()
        silent = self._clock() - self._heard_at > SILENT_S
        off = (np.abs(cap) > DEADBAND) & (not silent)
        moved = np.where(off, cap - np.copysign(DEADBAND, cap), 0.0) / (1.0 - DEADBAND)
        return Reading(
            twist_wrist=in_wrist(np.clip(moved, -1.0, 1.0) * self._speed, self._hand),
            touched=bool(moved.any()) or any(self._buttons),
            grips=pressed[0],
            mark=True if pressed[1] else None,
        )

    def _newest(self) -> tuple[Any, list[bool]]:
        """State after everything that waits to be read, and which of the two buttons went down meanwhile."""
        pressed = [False, False]
        state = None
        for _ in range(MOST_REPORTS):
            before = None if state is None else state.t
            state = self._report()
            down = [bool(button) for button in state.buttons[:2]]
            pressed = [was or (new and not old) for was, new, old in zip(pressed, down, self._buttons, strict=True)]
            self._buttons = down
            if state.t == before:
                break
        return state, pressed

    def _report(self) -> Any:
        try:
            return self._mouse.read()
        except Exception as error:  # easyhid's own, of which pyspacemouse says nothing
            raise DeviceMissing(f"The SpaceMouse is gone ({error}): plug it in and start again.") from error


def _open() -> Any:
    """The first one plugged in. Raises DeviceMissing."""
    try:
        import pyspacemouse
    except (ImportError, OSError, AttributeError) as error:
        raise DeviceMissing(f"pyspacemouse cannot be loaded ({error}): run launch/setup.sh.") from error
    try:
        return pyspacemouse.open(axis_convention=pyspacemouse.AxisConvention.ROS)
    except Exception as error:  # RuntimeError, HIDException or OSError, as the case may be
        raise DeviceMissing(_what_to_do(str(error))) from error


def _what_to_do(error: str) -> str:
    if "HID API" in error:
        return "The SpaceMouse needs the system's HID library: run `sudo apt-get install libhidapi-hidraw0`."
    if "Failed to open" in error:
        return "The SpaceMouse may not be read by this user: add the udev rule of docs/teleoperation.md and plug it in."
    return f"No SpaceMouse is plugged in ({error.rstrip('.')}): plug it in, or use --device keyboard."
