"""When a motion is an error by itself, after the FR3's datasheet."""

from __future__ import annotations

import numpy as np
import pytest

from contract.tasks import LIFT_CUBE
from robot_runtime.mock_cell.reflexes import ERRORS, Motion, Reflexes, UnknownError, motion_errors, torque_jumped
from safety.limits import FR3


def moving(joint: int, q: float, dq: float) -> Motion:
    angles, speeds = np.array(LIFT_CUBE.start_q_rad), np.zeros(7)
    angles[joint], speeds[joint] = q, dq
    return Motion(angles, speeds, np.zeros(6))


@pytest.mark.parametrize("joint", range(7))
def test_a_joint_may_not_go_further_beyond_either_end_but_may_come_back(joint: int) -> None:
    for end, outward in ((FR3.q_high[joint], 1.0), (FR3.q_low[joint], -1.0)):
        beyond = end + 0.001 * outward
        assert "joint_position_limits_violation" in motion_errors(moving(joint, beyond, 0.01 * outward))
        assert motion_errors(moving(joint, beyond, -0.01 * outward)) == []
        assert motion_errors(moving(joint, end - 0.1 * outward, 0.01 * outward)) == []


@pytest.mark.parametrize("joint", range(7))
def test_the_speed_a_joint_may_have_shrinks_towards_its_ends(joint: int) -> None:
    middle = (FR3.q_high[joint] + FR3.q_low[joint]) / 2
    fast = 0.9 * (2.62, 2.62, 2.62, 2.62, 5.26, 4.18, 5.26)[joint]
    for direction, end in ((1.0, FR3.q_high[joint]), (-1.0, FR3.q_low[joint])):
        assert motion_errors(moving(joint, middle - 0.2 * direction, 0.8 * fast * direction)) == []
        near = moving(joint, end - 0.05 * direction, fast * direction)
        assert motion_errors(near) == ["joint_velocity_violation"]
        assert motion_errors(moving(joint, end - 0.05 * direction, -0.8 * fast * direction)) == []


def test_the_tool_may_not_be_faster_than_the_datasheet_says() -> None:
    q = np.array(LIFT_CUBE.start_q_rad)
    for axis, limit in ((1, FR3.translation[0]), (4, FR3.rotation[0])):
        twist = np.zeros(6)
        twist[axis] = 0.99 * limit
        assert motion_errors(Motion(q, np.zeros(7), twist)) == []
        twist[axis] = -1.01 * limit
        assert motion_errors(Motion(q, np.zeros(7), twist)) == ["cartesian_velocity_violation"]


def test_torques_may_change_by_one_newton_metre_per_cycle_that_went_by() -> None:
    step = np.array([0.0, 0.0, 1.0, 0.0, -1.0, 0.0, 0.0])
    assert not torque_jumped(np.zeros(7), step, cycles=1)
    assert torque_jumped(np.zeros(7), 2.0 * step, cycles=1)
    assert not torque_jumped(np.zeros(7), 2.0 * step, cycles=2)


def test_a_recovery_clears_errors_and_the_reason_stays_until_the_next_motion() -> None:
    reflexes = Reflexes()
    reflexes.trip("joint_reflex")
    reflexes.recover()
    assert not reflexes.active
    assert reflexes.reasons[ERRORS.index("joint_reflex")]
    reflexes.begin_motion()
    assert not reflexes.reasons.any()


def test_an_unknown_error_is_refused_with_the_nearest_name() -> None:
    reflexes = Reflexes()
    with pytest.raises(UnknownError, match="did you mean 'joint_reflex'"):
        reflexes.trip("joint_reflexes")
    assert not reflexes.active
