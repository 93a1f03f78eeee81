from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from contract.poses import Pose, quat_from_axis_angle, quat_multiply, rotation_between
from robot_runtime.reference import SmoothReference

DOWN = np.array([0.0, 1.0, 0.0, 0.0])
START = Pose(np.array([0.5, 0.0, 0.25]), DOWN)
PERIOD = 0.05
steps = st.lists(st.tuples(*(st.floats(-0.012, 0.012) for _ in range(3)), st.floats(-0.06, 0.06)), max_size=12)


def play(goals, wait=lambda k: PERIOD, dt=0.005, after_s=0.3):
    """The reference's (time, position, yaw turned, twist, acceleration) while the goals come one after the other."""
    reference, now, rows = SmoothReference(START, 0.0, 0.25, 1.3), 0.0, []
    for k, goal in enumerate([*goals, None]):
        if goal is not None:
            reference.set_goal(goal, now, PERIOD)
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


@given(steps, st.randoms(use_true_random=False))
@settings(max_examples=40, deadline=None)
def test_the_reference_is_never_faster_than_the_limit_and_its_acceleration_stays_small(moves, random):
    rows = play(path(moves), wait=lambda k: random.uniform(0.02, 0.12))
    if len(rows):
        assert np.linalg.norm(rows[:, 7:10], axis=1).max() <= 0.25 * 1.03
        assert np.linalg.norm(rows[:, 10:13], axis=1).max() <= 1.3 * 1.03
        assert np.linalg.norm(rows[:, 13:16], axis=1).max() <= 13.0


@given(steps)
@settings(max_examples=40, deadline=None)
def test_when_setpoints_stop_the_reference_settles_on_the_last_one(moves):
    goals = path(moves)
    rows = play(goals, after_s=0.4)
    last = goals[-1] if goals else START
    assert np.abs(rows[-1, 1:4] - last.position).max() < 1e-5
    assert np.abs(rows[-1, 7:13]).max() < 1e-3


def test_a_move_and_hold_does_not_overshoot_and_lags_as_documented():
    rows = play(path([(0.012, 0, 0, 0)] * 8))
    assert rows[:, 1].max() <= START.position[0] + 0.096 + 1e-9
    ramp = (rows[:, 0] > 0.2) & (rows[:, 0] < 0.39)
    lag_s = (START.position[0] + 0.24 * rows[ramp, 0] - rows[ramp, 1]) / 0.24
    assert np.abs(lag_s - 2 / 60).max() < 0.003


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
    assert np.abs(coarse[-1, 1:7] - fine[-1, 1:7]).max() < 1e-6
    at = np.searchsorted(fine[:, 0], coarse[:, 0] - 1e-6)
    assert np.abs(coarse[:, 1:4] - fine[at, 1:4]).max() < 5e-4
