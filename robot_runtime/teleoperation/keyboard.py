"""Driving with the keys of a terminal: a key that is held moves the tool, one that is let go does so no longer."""

from __future__ import annotations

import os
import re
import select
import sys
import termios
import time
import tty
from collections.abc import Callable
from types import TracebackType

import numpy as np

from robot_runtime.teleoperation.device import HAND_DOWN, DeviceMissing, Reading, in_wrist

HELD_S = 0.25
"""Wall time that a key counts as held after it was last heard of; terminals repeat it 30 times a second."""

MOVES = {
    "w": (0, 1.0), "s": (0, -1.0), "a": (1, 1.0), "d": (1, -1.0), "r": (2, 1.0), "f": (2, -1.0),
    "o": (3, 1.0), "u": (3, -1.0), "k": (4, 1.0), "i": (4, -1.0), "j": (5, 1.0), "l": (5, -1.0),
}  # fmt: skip
"""Key to axis and direction: forward, left, up; then about them, as seen from behind the robot."""
_ARROWS_AND_SUCH = re.compile(r"\x1b[\[O][0-9;]*[A-Za-z~]")
"""Keys that a terminal spells with letters that nobody has pressed."""
GRIP, DONE, NOT_DONE, END, STOP = "g", "y", "n", "\n\r", " "

HELP = (
    "w/s forward/back  a/d left/right  r/f up/down  u/o roll  i/k pitch  j/l yaw  g gripper",
    "y: done from now on   n: not done (any more)   Enter: ends the episode   space or Ctrl-C: stops the arm",
)


class TerminalKeys:
    """While the block runs, keys are read one by one, without Enter and without being shown."""

    def __enter__(self) -> TerminalKeys:
        """Raises DeviceMissing where there is no terminal."""
        if not sys.stdin.isatty():
            raise DeviceMissing("There is no keyboard: start this program from a terminal, not from a script.")
        self._before = termios.tcgetattr(sys.stdin)
        tty.setcbreak(sys.stdin)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, self._before)

    def pressed(self, wait_s: float = 0.0) -> str:
        """What has been pressed since; waits so long for something."""
        if not select.select([sys.stdin], [], [], wait_s)[0]:
            return ""
        return os.read(sys.stdin.fileno(), 256).decode(errors="replace")


def letters(pressed: str) -> str:
    """Of keys without arrows and such, in lower case."""
    return _ARROWS_AND_SUCH.sub("", pressed).lower()


class Keyboard:
    """A device. speed: share of the task card's full speed. hand: how the card turns the hand at the start."""

    def __init__(
        self,
        speed: float,
        hand: np.ndarray = HAND_DOWN,
        keys: TerminalKeys | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._hand = hand
        self._speed, self._keys, self._clock = speed, keys or TerminalKeys(), clock
        self._heard: dict[str, float] = {}

    def __enter__(self) -> Keyboard:
        self._keys.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._keys.__exit__(kind, value, trace)

    def read(self) -> Reading:
        """Opposite keys cancel out; capitals are the same keys."""
        pressed, now = letters(self._keys.pressed()), self._clock()
        self._heard.update(dict.fromkeys(filter(MOVES.get, pressed), now))
        held = [MOVES[key] for key, heard in self._heard.items() if now - heard < HELD_S]
        twist = np.zeros(6)
        for axis, direction in held:
            twist[axis] += direction * self._speed
        grips = pressed.count(GRIP) % 2 == 1
        marks = [key for key in pressed if key in (DONE, NOT_DONE)]
        return Reading(
            twist_wrist=in_wrist(twist, self._hand),
            touched=bool(held) or GRIP in pressed,
            grips=grips,
            mark=marks[-1] == DONE if marks else None,
            ends=any(key in END for key in pressed),
            stops=STOP in pressed,
        )
