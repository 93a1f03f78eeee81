"""The mock cell's truth in place of camera and detector: what a run would be with perfect perception."""

from __future__ import annotations

import numpy as np

from contract.grasp import is_holding, within_reach
from contract.messages import ObjectState, RobotState
from contract.task_spec import TaskSpec
from robot_runtime.mock_cell.scoring import ScoringClient


class TruePoses:
    """Where the object really is, as an `ObjectSource`."""

    def __init__(self, spec: TaskSpec, scoring: ScoringClient) -> None:
        self._spec, self._scoring = spec, scoring

    def latest(self, state: RobotState) -> ObjectState:
        """Never older than the state it is asked for."""
        truth = self._scoring.truth()
        pose = truth.pose_base_object
        held = bool(is_holding(self._spec, state.gripper_width, state.gripper_closed))
        held &= bool(within_reach(state.pose_base_tcp, pose))
        stamp = min(truth.stamp, state.stamp)
        return ObjectState(stamp, self._spec.object_name, pose, 1e-8 * np.eye(4), 1.0, held)
