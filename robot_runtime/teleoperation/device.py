"""What a person's hand says: a twist in the frame of the tool, the gripper, and what they think of the task."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Protocol

import numpy as np

from contract.poses import quat_conjugate, quat_rotate

HAND_DOWN = np.array([0.0, 1.0, 0.0, 0.0])
"""How a hand that points down is turned in most tasks: its x is the robot's."""


class DeviceMissing(RuntimeError):
    """The device cannot be opened, or is gone. Plug it in, or drive with the keyboard."""


@dataclass(frozen=True)
class Reading:
    """What has happened at the device since it was last read.

    twist_wrist: linear then angular, in the tool's frame, in shares of the task card's full speed: -1 to 1. Shape: (6,)
    touched: a hand is on it, moving or not. grips: the gripper is to open if it is closed, and the other way round.
    mark: the task is done from now on, or is not (any more). ends: this episode is over. stops: the arm is to stop.
    """

    twist_wrist: np.ndarray = field(default_factory=lambda: np.zeros(6))
    touched: bool = False
    grips: bool = False
    mark: bool | None = None
    ends: bool = False
    stops: bool = False


class Device(Protocol):
    """Read on every tick of the loop; never waits."""

    def read(self) -> Reading:
        """What the hand says now. Raises DeviceMissing."""

    def __enter__(self) -> Device: ...

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def together(readings: Iterable[Reading]) -> Reading:
    """Of several devices at once: twists add up, of the rest what any of them says."""
    all_of = list(readings)
    return Reading(
        twist_wrist=np.clip(np.sum([one.twist_wrist for one in all_of], axis=0), -1.0, 1.0),
        touched=any(one.touched for one in all_of),
        grips=any(one.grips for one in all_of),
        mark=next((one.mark for one in all_of if one.mark is not None), None),
        ends=any(one.ends for one in all_of),
        stops=any(one.stops for one in all_of),
    )


def in_wrist(twist_person: np.ndarray, hand: np.ndarray) -> np.ndarray:
    """From forward, left, up, and turns about them, as a person behind the robot sees it. Shape: (6,)

    hand: how the task's card turns it at the start, base frame, wxyz (4,).
    """
    back = quat_conjugate(hand)
    return np.concatenate([quat_rotate(back, twist_person[:3]), quat_rotate(back, twist_person[3:])])
