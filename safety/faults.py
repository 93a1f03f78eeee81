"""A small latched state machine: what the arm may do next, why it stopped, and who may say that it goes on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Mode = Literal["disarmed", "armed", "moving", "holding", "stopping", "homing", "faulted"]

NEXT: dict[Mode, tuple[Mode, ...]] = {
    "disarmed": ("armed", "homing"),
    "armed": ("moving", "stopping", "homing"),
    "moving": ("holding", "stopping", "homing"),
    "holding": ("moving", "stopping", "homing"),
    "homing": ("stopping", "disarmed"),
    "stopping": ("disarmed", "homing"),
    "faulted": (),
}
"""Besides, every mode goes to `faulted` by a fault: a moving arm through `stopping`, one at rest at once."""

Clearing = Literal["commander", "commander once", "person", "restart"]
"""Who may clear it by `recover`: the program that holds the lease; that program, but after it a person; only a person;
nobody before a new start."""


@dataclass(frozen=True)
class FaultKind:
    """What every fault of one name has in common.

    happens: when, as a sentence. stop: bridge brings the arm to rest, or it is at rest already (its own reflex, or no
    way to reach it). within_s: robot time from the cause to the reaction, which the fault matrix measures against.
    """

    happens: str
    stop: Literal["bridge", "arm"]
    within_s: float
    cleared_by: Clearing = "commander"


FAULTS: dict[str, FaultKind] = {
    "setpoint_not_finite": FaultKind("A setpoint holds a number that is not finite.", "bridge", 0.05),
    "setpoint_not_unit": FaultKind("A setpoint's quaternion is not of unit length.", "bridge", 0.05),
    "setpoint_far": FaultKind("A setpoint is further from the arm than any policy would ask.", "bridge", 0.05),
    "setpoints_stopped": FaultKind("No setpoint came for `timing.stop_after_s`.", "bridge", 0.5),
    "commander_lost": FaultKind("The commander went silent while the arm was armed or driving home.", "bridge", 3.5),
    "overspeed": FaultKind("The tool moves at twice the speed allowed.", "bridge", 0.05),
    "left_workspace": FaultKind("The tool was pushed or swung out of the workspace.", "bridge", 0.05),
    "contact_force": FaultKind(
        "The tool is pressed above `limits.hard_force_n` for longer than 15 ms.", "bridge", 0.05
    ),
    "object_lost": FaultKind("What the fingers held is gone, and nobody told them to open.", "bridge", 0.3),
    "gripper_silent": FaultKind("The gripper has told no width for a second.", "bridge", 1.2),
    "home_not_reached": FaultKind("A drive to a joint pose ended elsewhere.", "arm", 0.1),
    "control_ended": FaultKind("The impedance controller ended without being asked to.", "arm", 0.05),
    "packets_lost": FaultKind("The arm lost too many control packets in a row.", "arm", 0.05),
    "arm_reflex": FaultKind("The arm's own reflex stopped it.", "arm", 0.01, "commander once"),
    "user_stop": FaultKind("The user stop was pressed.", "arm", 0.05, "person"),
    "arm_silent": FaultKind("The arm sends no new state.", "arm", 2.0, "person"),
    "arm_unreachable": FaultKind("The connection to the arm is gone.", "arm", 2.0, "person"),
    "arm_refused": FaultKind("The arm refused a command.", "arm", 0.05),
    "arm_errors_remain": FaultKind("The arm still reports errors after `recover`.", "arm", 0.05, "person"),
    "wrong_tool": FaultKind("The arm's tool frame is not the Franka Hand's.", "arm", 0.05, "person"),
    "wrong_payload": FaultKind("At rest the arm feels a weight that it was not told of.", "arm", 0.05, "person"),
    "arm_version": FaultKind("The installed franky is built for another arm.", "arm", 0.05, "restart"),
    "no_realtime": FaultKind("The kernel is not a real-time one.", "arm", 0.05, "restart"),
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
        self._cleared_once: set[str] = set()

    @property
    def in_motion(self) -> bool:
        """Whether the arm is or may be moving under our control."""
        return self.mode not in ("disarmed", "faulted")

    def check(self, mode: Mode) -> None:
        """Raises NotNow if there is no way to that mode, or a latched fault forbids it."""
        if self.fault is not None and mode not in ("stopping", "disarmed"):
            raise NotNow(f"{self.fault.cause} Remove the cause and `recover` first.")
        if mode not in NEXT[self.mode]:
            raise NotNow(f"The arm is {self.mode}; it cannot become {mode} from there.")

    def to(self, mode: Mode) -> None:
        """Change mode. Raises NotNow as `check` does."""
        if mode == self.mode:
            return
        self.check(mode)
        self.mode = "faulted" if mode == "disarmed" and self.fault is not None else mode

    def trip(self, name: str, cause: str, stamp: float, at_rest: bool) -> None:
        """Latch a fault of FAULTS; the first stays. at_rest: the arm stands still, or its own safety stopped it."""
        assert name in FAULTS
        self.faults_seen += 1
        if self.fault is None:
            self.fault = LatchedFault(name, cause, stamp)
        self.mode = "faulted" if at_rest or not self.in_motion else "stopping"

    def check_recovery(self, by_person: bool) -> None:
        """Raises NotNow while the arm still moves, or if more than this is needed to clear the fault."""
        if self.in_motion:
            raise NotNow(f"The arm is {self.mode}; recover when it has stopped.")
        if self.fault is None:
            return
        needed = FAULTS[self.fault.name].cleared_by
        again = needed == "commander once" and self.fault.name in self._cleared_once
        if (needed == "person" or again) and not by_person:
            often = " It is not the first time." if again else ""
            raise NotNow(f"{self.fault.cause}{often} A person has to look at the arm, then `launch/bridge.py recover`.")
        if needed == "restart":
            raise NotNow(f"{self.fault.cause} Remove the cause and start the bridge anew.")

    def recover(self, by_person: bool = False) -> None:
        """Clear the latched fault. Raises NotNow as `check_recovery` does."""
        self.check_recovery(by_person)
        if by_person:
            self._cleared_once.clear()
        elif self.fault is not None:
            self._cleared_once.add(self.fault.name)
        self.fault = None
        self.mode = "disarmed"
