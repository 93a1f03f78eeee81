"""What the joints can follow: near their ends, near singular poses, and how a Jacobian changes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from safety.joints import change_between, possible
from tests.safety.arms import ARM, JOINTS, READY, arm_at

joints = st.tuples(*(st.floats(a, b) for a, b in zip(ARM.q_low, ARM.q_high, strict=True))).map(np.array)
directions = st.tuples(*(st.floats(-1.0, 1.0) for _ in range(7))).map(np.array)
STILL = np.zeros(6)


@given(joints, directions, directions, directions)
@settings(max_examples=60, deadline=None)
def test_a_singular_value_s_change_is_its_derivative(q, direction, left, right):
    small = 1e-5 * direction
    by_difference = (arm_at(q + small).jacobian - arm_at(q - small).jacobian) / 2
    found = change_between(left[:6], arm_at(q).jacobian, right, small)
    np.testing.assert_allclose(found, left[:6] @ by_difference @ right, atol=1e-11)


@pytest.mark.parametrize("joint", range(7))
@pytest.mark.parametrize("side", [-1, 1])
def test_a_joint_s_end_is_approached_ever_more_slowly_never_passed_and_left_freely(joint, side):
    limits = replace(JOINTS, singular_value=1e-6)  # joint 4 ends near a singular pose
    q = READY.q.copy()
    end = JOINTS.q_high[joint] if side > 0 else JOINTS.q_low[joint]
    q[joint] = end - 0.1 * side
    pace = np.zeros(7)
    pace[joint] = 0.03 * side
    shares = []
    for _ in range(60):
        jacobian = arm_at(q).jacobian
        share = possible(limits, q, jacobian, STILL, jacobian @ pace, 0.05).share
        q = q + share * np.linalg.lstsq(jacobian, jacobian @ pace, rcond=None)[0]
        shares.append(share)
        assert side * (q[joint] - end) < 1e-3
    assert shares[-1] < 0.1
    away = arm_at(q).jacobian @ -pace
    assert possible(limits, q, arm_at(q).jacobian, STILL, away, 0.05).share == 1.0


def test_a_stretched_arm_is_approached_ever_more_slowly_and_left_freely():
    q, out = READY.q.copy(), np.array([0.012, 0.0, 0.0, 0.0, 0.0, 0.0])
    least = []
    for _ in range(80):
        jacobian = arm_at(q).jacobian
        share = possible(JOINTS, q, jacobian, STILL, out, 0.05).share
        q = q + share * np.linalg.lstsq(jacobian, out, rcond=None)[0]
        least.append(np.linalg.svd(arm_at(q).jacobian)[1][-1])
    assert share < 0.1
    assert min(least) > 0.9 * JOINTS.singular_value
    back = possible(JOINTS, q, arm_at(q).jacobian, STILL, -out, 0.05)
    assert back.share > 0.2
    assert "speed" in back.reason  # of the elbow, which is what the pose leaves it


@given(joints, st.tuples(*(st.floats(-0.02, 0.02) for _ in range(6))).map(np.array))
@settings(max_examples=60, deadline=None)
def test_no_joint_is_asked_to_be_faster_than_it_may(q, step):
    jacobian = arm_at(q).jacobian
    can = possible(JOINTS, q, jacobian, STILL, step, 0.05)
    damped = jacobian.T @ np.linalg.solve(jacobian @ jacobian.T + 0.02**2 * np.eye(6), can.share * step)
    assert (np.abs(damped) / 0.05 <= JOINTS.dq * (1 + 1e-6)).all()
    assert (can.share == 1.0) == (can.reason == "")
