"""Filtered while seen, carried by the tool while held, never silently wrong."""

from __future__ import annotations

import numpy as np
import pytest

from contract.messages import RobotState
from contract.poses import Pose, quat_from_yaw, quat_multiply, yaw_of
from contract.tasks import LIFT_CUBE
from perception.object_filter import Candidate
from perception.tracker import ObjectTracker

CUBE = np.array([0.55, 0.05, 0.02])
SIGMA = np.diag([0.001, 0.001, 0.001, 0.02]) ** 2
DOWN = np.array([0.0, 1.0, 0.0, 0.0])


def robot(
    stamp: float, position: np.ndarray, width: float = 0.08, closed: bool = False, yaw: float = 0.0
) -> RobotState:
    pose = Pose(np.asarray(position, float), quat_multiply(quat_from_yaw(np.asarray(yaw)), DOWN))
    return RobotState(stamp, np.zeros(7), np.zeros(7), pose, np.zeros(6), np.zeros(6), width, stamp, closed)


def sight(position: np.ndarray = CUBE, yaw: float = 0.3, covariance: np.ndarray = SIGMA) -> Candidate:
    return Candidate(Pose(np.asarray(position, float), quat_from_yaw(np.asarray(yaw))), covariance, 0.9)


def seen(tracker: ObjectTracker, stamps: np.ndarray, position: np.ndarray = CUBE, yaw: float = 0.3) -> None:
    for stamp in stamps:
        tracker.see(float(stamp), [sight(position, yaw)])


def grasped() -> ObjectTracker:
    """A tracker that has seen the cube and then a grasp at t = 2 s."""
    tracker = ObjectTracker(LIFT_CUBE)
    seen(tracker, np.arange(1.0, 1.9, 1 / 15))
    tracker.see_robot(robot(1.9, CUBE, 0.08, True))
    tracker.see_robot(robot(2.0, CUBE, 0.04, True))
    return tracker


def test_nothing_is_believed_before_the_first_sight() -> None:
    tracker = ObjectTracker(LIFT_CUBE)
    assert tracker.belief(robot(1.0, CUBE)) is None


def test_noise_is_averaged_and_the_covariance_says_so() -> None:
    random = np.random.default_rng(0)
    tracker = ObjectTracker(LIFT_CUBE)
    raw, filtered = [], []
    for stamp in np.arange(0.0, 20.0, 1 / 15):
        noise = random.normal(0.0, np.sqrt(np.diag(SIGMA)))
        tracker.see(float(stamp), [sight(CUBE + noise[:3], 0.3 + noise[3])])
        belief = tracker.belief()
        assert belief is not None
        raw.append(noise[:3])
        filtered.append(belief.pose_base_object.position - CUBE)
    measured_sigma = np.std(filtered[15:])
    assert measured_sigma < 0.6 * np.std(raw)
    assert measured_sigma == pytest.approx(np.sqrt(belief.covariance[0, 0]), rel=0.35)


def test_the_belief_keeps_the_stamp_of_its_measurement() -> None:
    tracker = ObjectTracker(LIFT_CUBE)
    seen(tracker, np.array([1.0, 1.1]))
    belief = tracker.belief(robot(5.0, CUBE + [0, 0, 0.2]))
    assert belief is not None
    assert belief.stamp == 1.1


def test_an_outlier_that_comes_late_changes_nothing() -> None:
    tracker = ObjectTracker(LIFT_CUBE)
    seen(tracker, np.array([1.0, 1.1]))
    tracker.see(1.05, [sight(CUBE + 0.1, 0.0)])
    belief = tracker.belief()
    assert belief is not None
    np.testing.assert_allclose(belief.pose_base_object.position, CUBE, atol=1e-9)


def test_one_outlier_is_ignored_and_two_in_a_row_are_believed() -> None:
    tracker = ObjectTracker(LIFT_CUBE)
    seen(tracker, np.arange(1.0, 2.0, 1 / 15))
    moved = CUBE + [0.08, 0.0, 0.0]
    tracker.see(2.0, [sight(moved)])
    before = tracker.belief()
    tracker.see(2.07, [sight(moved)])
    after = tracker.belief()
    assert before is not None
    assert after is not None
    np.testing.assert_allclose(before.pose_base_object.position, CUBE, atol=1e-6)
    np.testing.assert_allclose(after.pose_base_object.position, moved, atol=1e-6)


@pytest.mark.parametrize("quarters", [-1, 1, 2])
def test_a_quarter_turn_of_a_cube_is_no_turn(quarters: int) -> None:
    tracker = ObjectTracker(LIFT_CUBE)
    seen(tracker, np.arange(1.0, 2.0, 1 / 15))
    seen(tracker, np.arange(2.0, 2.5, 1 / 15), yaw=0.3 + quarters * np.pi / 2)
    belief = tracker.belief()
    assert belief is not None
    assert yaw_of(belief.pose_base_object.quaternion) == pytest.approx(0.3, abs=1e-6)


def test_a_held_object_moves_and_turns_with_the_tool_and_is_never_old() -> None:
    tracker = grasped()
    belief = tracker.belief(robot(3.0, CUBE + [0.1, 0.0, 0.2], 0.04, True, yaw=0.5))
    assert belief is not None
    assert belief.held
    assert belief.stamp == 3.0
    np.testing.assert_allclose(belief.pose_base_object.position, CUBE + [0.1, 0.0, 0.2], atol=1e-6)
    assert yaw_of(belief.pose_base_object.quaternion) == pytest.approx(0.8, abs=1e-6)


def test_opening_the_gripper_leaves_the_object_where_the_tool_was_and_less_certain() -> None:
    tracker = grasped()
    held = tracker.belief(robot(3.0, CUBE + [0, 0, 0.1], 0.04, True))
    tracker.see_robot(robot(3.1, CUBE + [0, 0, 0.1], 0.04, False))
    belief = tracker.belief(robot(4.0, CUBE + [0, 0, 0.3], 0.08, False))
    assert held is not None
    assert belief is not None
    assert not belief.held
    np.testing.assert_allclose(belief.pose_base_object.position, CUBE + [0, 0, 0.1], atol=1e-6)
    assert belief.stamp == 3.1
    assert belief.covariance[0, 0] > held.covariance[0, 0] + 0.004**2
    seen(tracker, np.arange(4.0, 4.5, 1 / 15), CUBE + [0.01, 0.0, 0.0])
    again = tracker.belief()
    assert again is not None
    np.testing.assert_allclose(again.pose_base_object.position, CUBE + [0.01, 0.0, 0.0], atol=0.001)


def test_a_frame_from_before_the_release_is_not_taken_for_one_after_it() -> None:
    tracker = grasped()
    tracker.see_robot(robot(3.1, CUBE + [0, 0, 0.1], 0.04, False))
    seen(tracker, np.array([2.9, 3.0]), CUBE)
    belief = tracker.belief()
    assert belief is not None
    np.testing.assert_allclose(belief.pose_base_object.position, CUBE + [0, 0, 0.1], atol=1e-6)


def test_fingers_closing_far_from_the_object_hold_nothing() -> None:
    tracker = ObjectTracker(LIFT_CUBE)
    seen(tracker, np.arange(1.0, 2.0, 1 / 15))
    belief = tracker.belief(robot(2.0, CUBE + [0.0, 0.0, 0.2], 0.04, True))
    assert belief is not None
    assert not belief.held


def test_an_object_seen_lying_elsewhere_is_held_no_longer() -> None:
    tracker = grasped()
    for k, stamp in enumerate(np.arange(2.0, 4.0, 1 / 15)):
        tracker.see_robot(robot(float(stamp) + 0.001, CUBE + [0, 0, 0.01 * k], 0.04, True))
    seen(tracker, np.arange(3.0, 3.9, 1 / 15), CUBE)
    belief = tracker.belief(robot(4.1, CUBE + [0, 0, 0.3], 0.04, True))
    assert belief is not None
    assert not belief.held
    np.testing.assert_allclose(belief.pose_base_object.position, CUBE, atol=1e-6)


def test_the_tool_pose_of_a_frame_lies_between_the_states_around_it() -> None:
    tracker = ObjectTracker(LIFT_CUBE)
    tracker.see_robot(robot(1.0, np.array([0.5, 0.0, 0.2])))
    tracker.see_robot(robot(1.1, np.array([0.6, 0.0, 0.2]), yaw=0.2))
    pose = tracker.tool_at(1.05)
    assert pose is not None
    np.testing.assert_allclose(pose.position, [0.55, 0.0, 0.2])
    assert tracker.tool_at(1.2) is None
