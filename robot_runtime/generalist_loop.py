"""A generalist on the arm: pictures at its own rate, each answer spread evenly over setpoints at the bridge's rate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from contract.action import command_pose, gripper_closed
from contract.generalist import Generalist, Gripper
from contract.messages import GripperCommand, RobotState, Setpoint
from contract.poses import Pose
from contract.task_spec import TaskSpec
from robot_runtime.loop import Arm, LoopStatistics, OperatorStopped

See = Callable[[], dict[str, np.ndarray]]
"""The newest picture of every camera, as an episode has them: (SIDE_PX, SIDE_PX, 3) uint8 RGB."""


@dataclass(frozen=True)
class Step:
    """What a watcher is shown after every setpoint. action: the generalist's answer that it is part of (7,)."""

    index: int
    state: RobotState
    action: np.ndarray
    closed: bool


class GeneralistLoop:
    """Runs one generalist on one arm, with the contract's own bounds on what it commands, as in the simulator."""

    def __init__(self, arm: Arm, see: See, model: Generalist, spec: TaskSpec, instruction: str) -> None:
        """Raises contract.generalist.UnknownInstruction."""
        model.check(instruction)
        self._arm, self._see, self._model = arm, see, model
        self._spec, self._instruction = spec, instruction
        self._ticks = round(spec.rate_hz / model.card.rate_hz)
        self.statistics = LoopStatistics()
        self._scale = np.array([spec.translation_scale_m] * 3 + [s or np.inf for s in spec.rotation_scale_rad])

    def run(
        self, steps: int, finished: Callable[[Step], bool], stop_asked: Callable[[], bool] = lambda: False
    ) -> LoopStatistics:
        """Up to so many answers, fewer when `finished` says so. The arm must be armed; it is left holding.

        Raises OperatorStopped, BridgeFaulted, BridgeLost, CameraStalled.
        """
        arm, spec = self._arm, self._spec
        self.statistics = statistics = LoopStatistics()
        state = arm.latest()
        command, due, closed = state.pose_base_tcp, state.stamp, False
        gripper = Gripper(self._model.card.rate_hz)
        for index in range(steps * self._ticks):
            if stop_asked():
                raise OperatorStopped("Stopped by the operator.")
            state = arm.wait_until(due)
            statistics.ticks += 1
            statistics.lateness_s.append(state.stamp - due)
            if index % self._ticks == 0:
                answer = self._model.act(self._see(), self._instruction)
                action = self._normalised(answer, gripper.tell(answer[6:]))
            wanted = command_pose(spec, action, command, state.pose_base_tcp)
            command = self._send(arm.latest(), index + 1, wanted, statistics)
            told = bool(gripper_closed(spec, action, np.bool_(closed)))
            if told != closed:
                arm.gripper(GripperCommand(told, spec.gripper_force_n))
                closed = told
            arm.check()
            if finished(Step(index, state, answer, closed)):
                break
            due = max(due + spec.period_s, state.stamp + 0.5 * spec.period_s)
        return statistics

    def _normalised(self, answer: np.ndarray, grip: np.ndarray) -> np.ndarray:
        """One tick's share of an answer. Shapes: (7,), (1,) -> (7,)"""
        return np.clip(np.append(answer[:6] / self._scale / self._ticks, grip), -1.0, 1.0)

    def _send(self, state: RobotState, sequence: int, wanted: Pose, statistics: LoopStatistics) -> Pose:
        """What is commanded in truth. Thinking took time, so the setpoint counts from now."""
        executed = self._arm.send(Setpoint(state.stamp + self._spec.period_s, sequence, wanted, np.zeros(6)))
        statistics.clipped += bool(executed.clipped)
        statistics.refused += executed.refused is not None
        return executed.pose_base_tcp
