"""Ticks of trials that nothing has run, and cameras that see nothing, for whatever records them."""

from __future__ import annotations

import threading
import time

import numpy as np

from contract.messages import ObjectState, RobotState, Setpoint
from contract.poses import Pose, quat_from_axis_angle, quat_multiply
from contract.tasks import LIFT_CUBE
from perception.camera import CameraStalled, Frame
from robot_runtime.loop import Tick
from robot_runtime.policy import Decision
from robot_runtime.wire import Executed

PERIOD_S = LIFT_CUBE.period_s
UPRIGHT = np.array([1.0, 0.0, 0.0, 0.0])


def walk(count: int, seed: int = 0, let_pass: float = 1.0, closes_at: int = 7) -> list[Tick]:
    """A random walk of commands, of each of which the bridge lets that share pass."""
    rng = np.random.default_rng(seed)
    command, ticks = LIFT_CUBE.start_pose_base_tcp, []
    for k in range(count):
        stamp = 100.0 + k * PERIOD_S
        step, turn = rng.normal(0.0, 0.005, 3), rng.normal(0.0, 0.02, 3)
        asked, executed = (
            Pose(
                command.position + share * step,
                quat_multiply(quat_from_axis_angle(share * turn), command.quaternion),
            )
            for share in (1.0, let_pass)
        )
        tool = command if k == 0 else Pose(command.position + [0.0, 0.0, -0.001], command.quaternion)
        state = RobotState(
            stamp, rng.normal(size=7), rng.normal(size=7), tool, rng.normal(size=6), rng.normal(size=6), 0.08, stamp,
            k > closes_at,
        )  # fmt: skip
        seen = ObjectState(
            stamp - 0.06, "cube", Pose(np.array([0.5, 0.1, 0.02]), UPRIGHT), 1e-6 * np.eye(4), 0.9, False
        )
        decision = Decision(
            Setpoint(stamp + PERIOD_S, k + 1, asked, np.zeros(6)), k >= closes_at, np.zeros(7), np.zeros(26)
        )
        ticks.append(Tick(k, state, seen, decision, Executed(k + 1, stamp + PERIOD_S, executed)))
        command = executed
    return ticks


class Reel:
    """A camera that has taken pictures at those instants, each as bright as its number. shown: once all are taken."""

    def __init__(self, stamps: list[float]) -> None:
        self._frames = [_frame(number, stamp) for number, stamp in enumerate(stamps)]
        self._next, self.shown, self.stalled = 0, threading.Event(), False

    def read_latest(self, max_age_s: float) -> Frame:
        if self.stalled:
            raise CameraStalled("Camera 7 has sent no frame.")
        return self._frames[-1]

    def wait_newer(self, number: int | None, timeout_s: float) -> Frame | None:
        if self._next == len(self._frames):
            self.shown.set()
            time.sleep(0.001)
            return None
        self._next += 1
        return self._frames[self._next - 1]


def _frame(number: int, stamp: float) -> Frame:
    rgb = np.full((60, 90, 3), number, np.uint8)
    return Frame(rgb, np.ones((60, 90), np.float32), np.eye(3), number, stamp, "synthetic", 0.0)
