"""The reference, over a space of setpoint sequences: limits, settling, tracking of moving setpoints."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from contract.poses import Pose, quat_from_axis_angle, quat_multiply, rotation_between
from robot_runtime.reference import LEAD_S, ReferenceLimits, SmoothReference

DOWN = np.array([0.0, 1.0, 0.0, 0.0])
START = Pose(np.array([0.5, 0.0, 0.25]), DOWN)
PERIOD = 0.05
LIMITS = ReferenceLimits(speed=(0.25, 1.3), acceleration=(9.0, 17.0), jerk=(4500.0, 8500.0))
steps = st.lists(st.tuples(*(st.floats(-0.012, 0.012) for _ in range(3)), st.floats(-0.06, 0.06)), max_size=12)
wild = st.lists(
    st.tuples(*(st.floats(-0.3, 0.3) for _ in range(3)), st.floats(-1.0, 1.0), st.floats(-0.4, 0.4)), max_size=12
)


def play(goals, twists=None, wait=lambda k: PERIOD, dt=0.005, after_s=0.4, coast_s=0.0):
    """Rows of (time, position, turned, twist, acceleration) while the goals come one after the other. Shape: (N, 19)"""
    reference, now, rows = SmoothReference(START, 0.0, LIMITS), 0.0, []
    for k, goal in enumerate([*goals, None]):
        if goal is not None:
            reference.set_goal(goal, now + PERIOD, None if twists is None else twists[k], coast_s)
        end = now + (wait(k) if goal is not None else after_s)
        while now < end - 1e-9:
            now = min(now + dt, end)
            r = reference.advance(now)
            turned = rotation_between(DOWN, r.pose_base_tcp.quaternion)
            rows.append(
                np.concatenate([[now], r.pose_base_tcp.position, turned, r.twist_base_tcp, r.acceleration_base_tcp])
            )
    return np.array(rows)


def path(moves):
    pose, goals = START, []
    for x, y, z, yaw in moves:
        turned = quat_multiply(quat_from_axis_angle(np.array([0.0, 0.0, yaw])), pose.quaternion)
        pose = Pose(pose.position + [x, y, z], turned)
        goals.append(pose)
    return goals


@given(wild, st.randoms(use_true_random=False))
@settings(max_examples=80, deadline=None)
def test_whatever_comes_speed_acceleration_and_jerk_stay_within_their_limits(moves, random):
    goals = [
        Pose(START.position + m[:3], quat_multiply(quat_from_axis_angle(np.array([0.3 * m[3], 0, m[3]])), DOWN))
        for m in moves
    ]
    twists = [np.array([m[4], -m[4], 0.0, 0.0, 0.0, 2 * m[4]]) * 0.5 for m in moves]
    rows = play(goals, twists, wait=lambda k: random.uniform(0.01, 0.12), dt=0.002, coast_s=0.05)
    for part, (speed, acceleration, jerk) in enumerate(
        zip(LIMITS.speed, LIMITS.acceleration, LIMITS.jerk, strict=True)
    ):
        v, a = rows[:, 7 + 3 * part : 10 + 3 * part], rows[:, 13 + 3 * part : 16 + 3 * part]
        a = np.concatenate([np.zeros((1, 3)), a])
        assert np.linalg.norm(v, axis=1).max() <= 1.02 * speed
        assert np.linalg.norm(a, axis=1).max() <= acceleration * (1 + 1e-9)
        elapsed = np.diff(np.concatenate([[0.0], rows[:, 0]]))
        assert (np.linalg.norm(np.diff(a, axis=0), axis=1) <= jerk * elapsed * (1 + 1e-9) + 1e-9).all()


@given(steps)
@settings(max_examples=40, deadline=None)
def test_when_setpoints_stop_the_reference_settles_on_the_last_one(moves):
    goals = path(moves)
    rows = play(goals, after_s=0.5)
    last = goals[-1] if goals else START
    assert np.abs(rows[-1, 1:4] - last.position).max() < 1e-5
    assert np.abs(rows[-1, 7:13]).max() < 1e-3


def test_a_move_and_hold_does_not_overshoot_and_lags_as_documented():
    rows = play(path([(0.012, 0, 0, 0)] * 8))
    assert rows[:, 1].max() <= START.position[0] + 0.096 + 1e-6
    ramp = (rows[:, 0] > 0.25) & (rows[:, 0] < 0.39)
    lag_s = (START.position[0] + 0.24 * rows[ramp, 0] - rows[ramp, 1]) / 0.24
    assert np.abs(lag_s - LEAD_S[0]).max() < 0.003


def test_a_far_setpoint_is_gone_to_at_the_speed_limit_without_overshoot():
    rows = play([Pose(START.position + [0.1, 0.0, 0.0], DOWN)], after_s=1.0)
    assert 0.24 < rows[:, 7].max() <= 0.25
    assert rows[:, 1].max() - START.position[0] < 0.1 + 1e-6
    assert abs(rows[-1, 1] - START.position[0] - 0.1) < 1e-5


def test_a_setpoint_that_moves_is_followed_without_delay():
    twist = np.array([0.1, 0.0, 0.0, 0.0, 0.0, 0.4])
    turned = [quat_multiply(quat_from_axis_angle(twist[3:] * PERIOD * (k + 1)), DOWN) for k in range(20)]
    goals = [Pose(START.position + twist[:3] * PERIOD * (k + 1), turned[k]) for k in range(20)]
    rows = play(goals, [twist] * 20, after_s=0.01)
    late = rows[rows[:, 0] > 0.4]
    assert np.abs(late[:, 1] - START.position[0] - 0.1 * late[:, 0]).max() < 1e-4
    assert np.abs(late[:, 6] - 0.4 * late[:, 0]).max() < 1e-3


def test_a_moving_setpoint_without_a_successor_is_carried_on_for_so_long_and_no_longer():
    twist = np.array([0.2, 0.0, 0.0, 0.0, 0.0, 0.0])
    goal = Pose(START.position + [0.01, 0.0, 0.0], DOWN)
    rested, coasted = (play([goal], [twist], coast_s=s)[-1, 1] - START.position[0] for s in (0.0, 0.07))
    assert abs(rested - 0.01 - 0.2 * LEAD_S[0]) < 1e-4
    assert abs(coasted - rested - 0.2 * 0.07) < 1e-4


def test_told_to_hold_it_comes_to_rest_within_a_quarter_of_a_second():
    reference = SmoothReference(START, 0.0, LIMITS)
    reference.set_goal(Pose(START.position + [0.2, 0.0, 0.0], DOWN), 0.05)
    reference.advance(0.3)
    reference.hold()
    assert np.abs(reference.advance(0.55).twist_base_tcp).max() < 2e-3
    assert reference.advance(0.7).pose_base_tcp.position[0] < START.position[0] + 0.3 * 0.25 + 1e-6


def test_twist_and_acceleration_are_the_derivatives_of_the_pose():
    rows = play(path([(0.012, -0.004, 0.002, 0.05)] * 4 + [(0, 0, 0, 0)] * 4), dt=0.002)
    t = rows[:, 0]
    for pose_columns, twist_columns in ((slice(1, 4), slice(7, 10)), (slice(4, 7), slice(10, 13))):
        velocity = np.gradient(rows[:, pose_columns], t, axis=0)
        assert np.abs(velocity - rows[:, twist_columns])[2:-2].max() < 0.03
    acceleration = np.diff(rows[:, 7:10], axis=0) / np.diff(t)[:, None]
    assert np.abs(acceleration - rows[1:, 13:16]).max() < 1e-6


def test_it_does_not_matter_how_often_it_is_asked():
    goals = path([(0.012, 0, 0, 0.03)] * 5)
    coarse, fine = play(goals, dt=0.025), play(goals, dt=0.001)
    assert np.abs(coarse[-1, 1:7] - fine[-1, 1:7]).max() < 1e-5
    at = np.searchsorted(fine[:, 0], coarse[:, 0] - 1e-6)
    assert np.abs(coarse[:, 1:4] - fine[at, 1:4]).max() < 5e-4
