"""The whole chain on real parts: frames through the SDK, detector, bridge, Franka protocol, physics."""

from __future__ import annotations

import numpy as np
import pytest

from contract.grasp import is_holding
from contract.messages import ObjectState, RobotState
from contract.tasks import LIFT_CUBE
from robot_runtime.mock_cell.scoring import ScoringClient
from robot_runtime.trials import TrialRunner

from .conftest import WholeCell
from .scripted import ScriptedLift

pytestmark = pytest.mark.hil


class PerfectSight:
    """The truth in place of a camera, to test the rest of the chain without it."""

    def __init__(self, scoring: ScoringClient) -> None:
        self._scoring = scoring

    def latest(self, state: RobotState) -> ObjectState:
        truth = self._scoring.truth()
        held = bool(is_holding(LIFT_CUBE, state.gripper_width, state.gripper_closed))
        stamp = min(truth.stamp, state.stamp)
        return ObjectState(stamp, "cube", truth.pose_base_object, 1e-6 * np.eye(4), 1.0, held)


def test_a_scripted_policy_lifts_the_cube_through_bridge_and_franka_protocol(whole_cell: WholeCell) -> None:
    runner = TrialRunner(whole_cell.client, PerfectSight(whole_cell.scoring), LIFT_CUBE, ScriptedLift(LIFT_CUBE))
    runner.go_to_start()
    whole_cell.scoring.reset(seed=3)
    runner.wait_for_object()
    trial = runner.run(index=0, seed=3)
    truth = whole_cell.scoring.truth()
    assert truth.success, trial.failure
    assert trial.believed_success
    assert (trial.faults, trial.loop.refused, trial.loop.clipped) == (0, 0, 0), trial.loop.notes
    assert trial.loop.jitter_ms()["p95"] < 15.0
    counters = whole_cell.client.status().counters
    assert counters.limit_violations == 0
    assert counters.peak_speed_m_s < 2 * whole_cell.cell.limits.speed_m_s
