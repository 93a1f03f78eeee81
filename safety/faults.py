"""A small latched state machine: what the arm may do next, and why it stopped."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Mode = Literal["disarmed", "armed", "moving", "holding", "stopping", "homing", "faulted"]

_NEXT: dict[Mode, tuple[Mode, ...]] = {
    "disarmed": ("armed", "homing"),
    "armed": ("moving", "stopping", "homing"),
    "moving": ("holding", "stopping", "homing"),
    "holding": ("moving", "stopping", "homing"),
    "homing": ("stopping", "disarmed"),
    "stopping": ("disarmed", "homing"),
    "faulted": (),
}


class NotNow(RuntimeError):
    """The arm cannot do this from the mode it is in."""


@dataclass(frozen=True)
class LatchedFault:
    """Why the arm stopped. `name` is for programs, `cause` one sentence for people, `stamp` robot time in seconds."""

    name: str
    cause: str
    stamp: float


class ModeMachine:
    """Holds the mode. A fault is latched: it survives everything but `recover`."""

    def __init__(self) -> None:
        self.mode: Mode = "disarmed"
        self.fault: LatchedFault | None = None
        self.faults_seen = 0

    @property
    def in_motion(self) -> bool:
        """Whether the arm is or may be moving under our control."""
        return self.mode not in ("disarmed", "faulted")

    def to(self, mode: Mode) -> None:
        """Change mode. Raises NotNow if there is no way, or a latched fault forbids it."""
        if mode == self.mode:
            return
        if self.fault is not None and mode not in ("stopping", "disarmed"):
            raise NotNow(f"{self.fault.cause} Remove the cause and `recover` first.")
        if mode not in _NEXT[self.mode]:
            raise NotNow(f"The arm is {self.mode}; it cannot become {mode} from there.")
        self.mode = "faulted" if mode == "disarmed" and self.fault is not None else mode

    def trip(self, name: str, cause: str, stamp: float, at_rest: bool) -> None:
        """Latch a fault; the first one stays. at_rest: the arm already stands still (or its own safety stopped it)."""
        self.faults_seen += 1
        if self.fault is None:
            self.fault = LatchedFault(name, cause, stamp)
        self.mode = "faulted" if at_rest or not self.in_motion else "stopping"

    def recover(self) -> None:
        """Clear the latched fault. Raises NotNow while the arm still moves."""
        if self.in_motion:
            raise NotNow(f"The arm is {self.mode}; recover when it has stopped.")
        self.fault = None
        self.mode = "disarmed"
