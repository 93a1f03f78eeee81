"""How closely the arm follows setpoints: a circle, the same with setpoints lost, and a jump.

Through the bridge, and for comparison with franky's impedance tracker alone, which is given each setpoint as it comes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from contract.messages import RobotState, Setpoint
from contract.poses import Pose
from contract.tasks import LIFT_CUBE
from robot_runtime.bridge_client import BridgeClient
from robot_runtime.cell import Cell
from robot_runtime.franka import Arm
from robot_runtime.reference import Reference
from robot_runtime.wire import BridgeStatus

RADIUS_M, SPEED_M_S = 0.05, 0.1
CIRCLE_S, SETTLED_AFTER_S = 8.0, 1.0
JUMP_M, JUMP_S = 0.1, 1.5
LOST_SHARE, BURST = 0.1, 3
KEPT = 10_000
"""Of the arm itself, 10 s. More would take the sender of setpoints too long to look through between two of them."""
_CENTRE = np.array(LIFT_CUBE.start_position_m)
_DOWN = np.array(LIFT_CUBE.start_quaternion)


@dataclass(frozen=True)
class Wanted:
    """Position (3,) and velocity (3,) to be had at `t` seconds after the start, base frame."""

    position: np.ndarray
    velocity: np.ndarray


Path = Callable[[float], Wanted]


def circle(t: float) -> Wanted:
    """Around the task's start pose, in the horizontal plane, from where the arm is; the first half second speeds up."""
    ramp = 0.5
    angle = SPEED_M_S / RADIUS_M * (t**2 / (2 * ramp) if t < ramp else t - ramp / 2)
    rate = SPEED_M_S / RADIUS_M * min(1.0, t / ramp)
    c, s = np.cos(angle), np.sin(angle)
    return Wanted(_CENTRE + RADIUS_M * np.array([c - 1, s, 0]), RADIUS_M * rate * np.array([-s, c, 0]))


def jump(t: float) -> Wanted:
    """All at once to the side."""
    return Wanted(_CENTRE + [0.0, JUMP_M, 0.0], np.zeros(3))


def lost(count: int, seed: int) -> np.ndarray:
    """Which of `count` setpoints never arrive: bursts of BURST, LOST_SHARE of all. Shape: (count,) bool"""
    rng, gone = np.random.default_rng(seed), np.zeros(count, bool)
    for start in rng.choice(
        np.arange(BURST, count - BURST, 2 * BURST), round(LOST_SHARE * count / BURST), replace=False
    ):
        gone[start : start + BURST] = True
    return gone


@dataclass(frozen=True)
class Track:
    """t: (N,) s from the start. measured: (N, 3) m. speed: (N,) m/s, of the tool."""

    t: np.ndarray
    measured: np.ndarray
    speed: np.ndarray

    def error_mm(self, path: Path) -> np.ndarray:
        """Distance from where the tool should have been at that instant, once settled. Shape: (K,)"""
        late = self.t > SETTLED_AFTER_S
        wanted = np.array([path(t).position for t in self.t[late]])
        return 1e3 * np.linalg.norm(self.measured[late] - wanted, axis=1)

    def rms_mm(self, path: Path) -> float:
        """Root mean square of the same."""
        return float(np.sqrt(np.mean(np.square(self.error_mm(path)))))


class TrackRecorder:
    """Keeps the last KEPT states that a bridge publishes; pass `listen` as the client's `on_state`."""

    def __init__(self) -> None:
        self._rows: deque[np.ndarray] = deque(maxlen=KEPT)

    def listen(self, state: RobotState, status: BridgeStatus) -> None:
        """Keep one state."""
        self.keep(state.stamp, state.pose_base_tcp.position, state.v_base_tcp)

    def keep(self, stamp: float, position: np.ndarray, twist: np.ndarray) -> None:
        """Keep where the tool is and how it moves, once for each stamp."""
        if not self._rows or stamp > self._rows[-1][0]:
            self._rows.append(np.concatenate([[stamp], position, twist[:3]]))

    def track(self, start: float, seconds: float) -> Track:
        """What happened in the `seconds` after robot time `start`."""
        rows = np.array(list(self._rows))  # at once, since another thread keeps adding
        rows = rows[(rows[:, 0] >= start) & (rows[:, 0] <= start + seconds)]
        return Track(rows[:, 0] - start, rows[:, 1:4], np.linalg.norm(rows[:, 4:], axis=1))


def through_the_bridge(cell: Cell, path: Path, seconds: float, gone: np.ndarray | None = None) -> Track:
    """Setpoints every period to a bridge that is up, each for when the next is due."""
    recorder, period = TrackRecorder(), LIFT_CUBE.period_s
    with BridgeClient(cell, on_state=recorder.listen) as client:
        client.connect(LIFT_CUBE.contract_hash(), period)
        client.move_home(LIFT_CUBE.start_q_rad)
        client.arm()
        start = client.latest().stamp + period
        for k in range(round(seconds / period)):
            now = client.wait_until(start + k * period).stamp
            if gone is None or not gone[k]:
                ahead = now + period
                wanted = path(ahead - start)
                twist = np.concatenate([wanted.velocity, np.zeros(3)])
                client.send(Setpoint(ahead, k + 1, Pose(wanted.position, _DOWN), twist))
                client.check()
        client.stop()
    return recorder.track(start, seconds)


def with_franky_alone(cell: Cell, path: Path, seconds: float, arm: Arm) -> Track:
    """The same setpoints straight to a connected arm's impedance tracker, which holds each until the next comes."""
    recorder, period = TrackRecorder(), LIFT_CUBE.period_s
    arm.start_joint_motion(np.array(LIFT_CUBE.start_q_rad))
    while arm.is_moving():
        pass
    state = arm.read()
    arm.start_impedance(state)
    start = due = state.stamp + period
    while state.stamp < start + seconds:
        state = arm.read()
        recorder.keep(state.stamp, state.pose_base_tcp.position, state.v_base_tcp)
        if state.stamp >= due:
            pose = Pose(path(state.stamp - start).position, _DOWN)
            arm.set_target(Reference(pose, np.zeros(6), np.zeros(6)))
            due += period
    arm.start_stop()
    while arm.is_moving():
        pass
    return recorder.track(start, seconds)
