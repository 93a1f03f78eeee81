"""A person takes over from a policy by touching a device, and gives back by letting go."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from contract.action import ACTION_SIZE
from contract.messages import RobotState
from contract.poses import quat_rotate
from robot_runtime.policy import Actor
from robot_runtime.teleoperation.device import Device, Reading, together

LET_GO_S = 0.5
"""Robot time without a touch after which the policy has the arm again."""
OPENS, CLOSES, KEEPS = 1.0, -1.0, 0.0


class Still:
    """An actor that does nothing: what a person takes over from where there is no policy."""

    def act(self, observation: np.ndarray) -> np.ndarray:
        """Stay. Shape: (observation_size,) -> (7,)"""
        return np.zeros(ACTION_SIZE)


class Intervention:
    """An actor for `PolicyRunner`: a person's action while a device is touched and just after, else the policy's.

    A person's action is one like the policy's, with its meaning, its scale and its limits, and goes the same way.
    human: whether a person decided the last action. marks: robot times at which a person said that the task is done
    from then on, or is not. ends, stops: as `Reading`, since the start.
    """

    def __init__(self, actor: Actor, devices: Sequence[Device], latest: Callable[[], RobotState]) -> None:
        """latest: what the arm measures now, e.g. `BridgeClient.latest`."""
        self._actor, self._devices, self._latest = actor, devices, latest
        self._forget()

    def start(self) -> None:
        """Another episode begins, and the policy has it; what was done with the devices meanwhile is forgotten."""
        self.look()
        self._forget()

    def _forget(self) -> None:
        self.human, self.ends, self.stops = False, False, False
        self.marks: list[tuple[float, bool]] = []
        self._touched_at = -np.inf

    def look(self) -> Reading:
        """What the hands say now. Raises DeviceMissing."""
        return together([device.read() for device in self._devices])

    def act(self, observation: np.ndarray) -> np.ndarray:
        """Shape: (observation_size,) -> (7,). Raises DeviceMissing, with which the run ends and the arm stops."""
        state, reading = self._latest(), self.look()
        if reading.touched:
            self._touched_at = state.stamp
        if reading.mark is not None:
            self.marks.append((state.stamp, reading.mark))
        self.ends |= reading.ends
        self.stops |= reading.stops
        self.human = state.stamp - self._touched_at < LET_GO_S
        return action_of(reading, state) if self.human else self._actor.act(observation)


def action_of(reading: Reading, state: RobotState) -> np.ndarray:
    """The normalised action, base frame, that the hand asks for. Shape: (7,)"""
    turned = state.pose_base_tcp.quaternion
    grip = KEEPS
    if reading.grips:
        grip = OPENS if state.gripper_closed else CLOSES
    linear, angular = reading.twist_wrist[:3], reading.twist_wrist[3:]
    return np.concatenate([quat_rotate(turned, linear), quat_rotate(turned, angular), [grip]])


def marked_steps(marks: Sequence[tuple[float, bool]], stamps: np.ndarray) -> list[tuple[int, bool]]:
    """Marks as an episode's notes have them, by the step that begins next or the last. stamps: of the steps (N,)."""
    last = len(stamps) - 1
    return [(min(int(np.searchsorted(stamps, stamp)), last), done) for stamp, done in marks]
