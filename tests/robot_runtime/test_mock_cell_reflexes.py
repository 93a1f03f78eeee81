"""The arm stops itself as a real one does, and the unmodified franky client sees why and how soon."""

from __future__ import annotations

from collections.abc import Iterator

import franky
import numpy as np
import pytest

from contract.tasks import LIFT_CUBE
from robot_runtime.mock_cell.cell_process import MockCell, MockCellAddresses
from robot_runtime.mock_cell.reflexes import ERRORS
from robot_runtime.mock_cell.scoring import ScoringClient
from safety.limits import FR3

from .outside import FciArm

pytestmark = pytest.mark.hil


@pytest.fixture(scope="module")
def cell() -> Iterator[MockCell]:
    with MockCell(MockCellAddresses.free(), seed=3) as running:
        yield running


@pytest.fixture(scope="module")
def connected(cell: MockCell) -> FciArm:
    return FciArm(cell.addresses.robot)


@pytest.fixture
def scoring(cell: MockCell) -> Iterator[ScoringClient]:
    with ScoringClient(cell.addresses.scoring) as client:
        yield client
        client.calm()


@pytest.fixture
def arm(connected: FciArm, scoring: ScoringClient) -> Iterator[FciArm]:
    connected.robot.set_collision_behavior(40.0, 40.0)
    yield connected
    scoring.calm()
    connected.release()


def test_every_error_of_the_table_reaches_franky_under_its_name(arm: FciArm, scoring: ScoringClient) -> None:
    for name in ERRORS:
        scoring.disturb("reflex", error=name)
        arm.until(lambda: arm.robot.has_errors)
        assert arm.errors() == {name}
        arm.robot.recover_from_errors()
        arm.until(lambda: not arm.robot.has_errors)


def test_a_reflex_ends_the_motion_within_10_ms_and_franky_says_which(
    arm: FciArm, scoring: ScoringClient, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(3):  # a busy machine lets this process look late; then three others are taken
        delays = []
        for _ in range(3):
            arm.hold()
            acts = scoring.disturb("reflex", error="joint_reflex")
            delays.append(arm.until(lambda: arm.mode == "Reflex") - acts)
            assert 'motion aborted by reflex! ["joint_reflex"]' in arm.ended_with()
            arm.release()
        if np.median(delays) <= 0.010:
            break
    with capsys.disabled():
        print(f"\nreflex → seen by franky: {np.round(1e3 * np.array(delays), 1).tolist()} ms of robot time")
    assert np.median(delays) <= 0.010


def test_a_push_is_felt_with_libfrankas_sign_and_a_push_over_the_threshold_is_a_reflex(
    arm: FciArm, scoring: ScoringClient, capsys: pytest.CaptureFixture[str]
) -> None:
    arm.hold()
    acts = scoring.disturb("push", force_n=[0.0, 15.0, 0.0], seconds=0.3)
    arm.until(lambda: arm.now_s > acts + 0.1)
    # What the robot applies to its surroundings is positive (libfranka, RobotState).
    np.testing.assert_allclose(arm.force[:3], [0.0, -15.0, 0.0], atol=0.3)
    state = arm.robot.state
    jacobian = arm.robot.model.zero_jacobian(franky.Frame.EndEffector, state)
    np.testing.assert_allclose(state.tau_ext_hat_filtered, jacobian.T @ np.array(state.O_F_ext_hat_K), atol=0.3)
    arm.until(lambda: arm.now_s > acts + 0.4)
    np.testing.assert_allclose(arm.force, 0.0, atol=0.1)
    assert arm.mode == "Move"
    delays = []
    for _ in range(3):
        acts = scoring.disturb("push", force_n=[0.0, 90.0, 0.0], seconds=0.2)
        delays.append(arm.until(lambda: arm.mode == "Reflex") - acts)
        assert arm.errors() == {"cartesian_reflex"}
        assert np.array(arm.robot.state.cartesian_collision)[:3].tolist() == [0.0, 1.0, 0.0]
        assert "cartesian_reflex" in arm.ended_with()
        arm.wait(0.3)
        arm.release()
        arm.hold()
    with capsys.disabled():
        print(f"\npush of 90 N, threshold 40 N → reflex seen: {np.round(1e3 * np.array(delays), 1).tolist()} ms")
    assert np.median(delays) <= 0.03


def test_contact_is_shown_between_the_thresholds_and_goes_with_the_push(arm: FciArm, scoring: ScoringClient) -> None:
    low, high = [10.0] * 7, [60.0] * 7
    arm.robot.set_collision_behavior(low, high, [10.0] * 6, [60.0] * 6)
    arm.hold()
    acts = scoring.disturb("push", force_n=[0.0, 0.0, 20.0], seconds=0.2)
    arm.until(lambda: arm.now_s > acts + 0.1)
    assert np.array(arm.robot.state.cartesian_contact)[2] == 1.0
    assert not np.any(arm.robot.state.cartesian_collision)
    arm.until(lambda: arm.now_s > acts + 0.3)
    assert not np.any(arm.robot.state.cartesian_contact)
    assert arm.mode == "Move"


def test_motions_are_refused_until_the_recovery_and_the_arm_holds_by_itself(
    arm: FciArm, scoring: ScoringClient
) -> None:
    arm.hold()
    before = np.array(arm.robot.state.q)
    scoring.disturb("reflex", error="power_limit_violation")
    arm.until(lambda: arm.mode == "Reflex")
    arm.ended_with()
    with pytest.raises(franky.CommandException, match="not possible in the current mode"):
        arm.robot.move(franky.JointStopMotion())
    arm.wait(0.3)
    np.testing.assert_allclose(arm.robot.state.q, before, atol=2e-3)
    arm.robot.recover_from_errors()
    arm.until(lambda: arm.mode == "Idle")
    assert not arm.robot.has_errors
    assert "power_limit_violation" in str(arm.robot.state.last_motion_errors)
    arm.hold()


def test_the_user_stop_aborts_forbids_and_lets_go_only_when_released(arm: FciArm, scoring: ScoringClient) -> None:
    arm.hold()
    scoring.disturb("user_stop", pressed=True)
    arm.until(lambda: arm.mode == "UserStopped")
    assert "User Stop pressed" in arm.ended_with()
    assert not arm.robot.has_errors
    with pytest.raises(franky.CommandException, match="not possible in the current mode"):
        arm.robot.recover_from_errors()
    with pytest.raises(franky.CommandException, match="not possible in the current mode"):
        arm.robot.move(franky.JointStopMotion())
    scoring.disturb("user_stop", pressed=False)
    arm.until(lambda: arm.mode == "Idle")
    arm.hold()


def test_weight_nobody_told_of_is_external_until_set_load_tells(arm: FciArm, scoring: ScoringClient) -> None:
    scoring.disturb("payload", mass_kg=0.5)
    arm.hold()
    arm.wait(1.0)
    assert arm.force[2] == pytest.approx(0.5 * 9.81, abs=0.3)  # the robot carries it: upwards
    arm.release()
    arm.robot.set_load(0.5, [0.0, 0.0, 0.05], [0.001, 0.0, 0.0, 0.0, 0.001, 0.0, 0.0, 0.0, 0.001])
    try:
        arm.hold()
        arm.wait(0.3)
        assert abs(arm.force[2]) < 0.3
    finally:
        arm.release()
        arm.robot.set_load(0.0, [0.0, 0.0, 0.0], [0.0] * 9)


def _turn_last_joint(arm: FciArm, torque_nm: float, max_delta_tau: float = 1.0) -> str:
    """Commands a torque to joint 7 until the arm stops itself; returns what franky raises."""
    motion = franky.SimpleTorqueMotion(signal_timeout=None, max_delta_tau=max_delta_tau)
    arm.robot.move(motion, asynchronous=True)
    arm.until(lambda: arm.robot.state.control_command_success_rate > 0.0)
    motion.set_torque(np.array([0.0] * 6 + [torque_nm]))
    arm.until(lambda: arm.mode == "Reflex")
    return arm.ended_with()


def _joint_drive(arm: FciArm, q: np.ndarray) -> None:
    arm.robot.relative_dynamics_factor = 0.3
    arm.robot.move(franky.JointMotion(q.tolist()))


def test_a_torque_that_jumps_is_a_discontinuity(arm: FciArm) -> None:
    assert "controller_torque_discontinuity" in _turn_last_joint(arm, 4.0, max_delta_tau=10.0)


def test_a_tool_that_turns_too_fast_is_stopped(arm: FciArm) -> None:
    assert "cartesian_velocity_violation" in _turn_last_joint(arm, -2.0)
    arm.release()
    _joint_drive(arm, np.array(LIFT_CUBE.start_q_rad))


def test_a_joint_that_runs_towards_its_end_is_stopped_before_it(arm: FciArm) -> None:
    q = np.array(LIFT_CUBE.start_q_rad)
    q[6] = FR3.q_high[6] - 0.1
    _joint_drive(arm, q)
    assert "joint_velocity_violation" in _turn_last_joint(arm, 1.5)
    arm.wait(0.2)
    assert arm.robot.state.q[6] < FR3.q_high[6]
    arm.release()
    _joint_drive(arm, np.array(LIFT_CUBE.start_q_rad))
