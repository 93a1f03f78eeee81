"""The guard, over a space of setpoints rather than examples."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contract.messages import Setpoint
from contract.poses import Pose, quat_from_axis_angle, quat_multiply, rotation_between
from safety.guard import GuardLimits, judge, violations

LIMITS = GuardLimits(
    speed_m_s=0.25,
    rotation_rad_s=1.3,
    period_s=0.05,
    low_m=(0.28, -0.36, 0.008),
    high_m=(0.80, 0.36, 0.55),
    lead_m=0.08,
    lead_rad=0.4,
    max_age_s=0.15,
    max_ahead_s=0.1,
)
DOWN = np.array([0.0, 1.0, 0.0, 0.0])
NOW = 10.0

anywhere = st.tuples(*(st.floats(-2.0, 2.0) for _ in range(3))).map(np.array)
inside = st.tuples(*(st.floats(a, b) for a, b in zip(LIMITS.low_m, LIMITS.high_m, strict=True))).map(np.array)
turn = st.tuples(*(st.floats(-1.8, 1.8) for _ in range(3))).map(
    lambda r: quat_multiply(quat_from_axis_angle(np.array(r)), DOWN)
)


def setpoint(position, quaternion=DOWN, stamp=NOW, sequence=1) -> Setpoint:
    return Setpoint(stamp, sequence, Pose(np.asarray(position, float), quaternion), np.zeros(6))


def previous(position=(0.5, 0.0, 0.25), quaternion=DOWN) -> Setpoint:
    return setpoint(position, quaternion, NOW - 0.05, 0)


HERE = Pose(np.array([0.5, 0.0, 0.25]), DOWN)


@given(asked=anywhere, q=turn, before=inside, q_before=turn, measured=inside, q_measured=turn)
@settings(max_examples=200, deadline=None)
def test_what_the_guard_lets_through_breaks_no_limit(asked, q, before, q_before, measured, q_measured):
    last, arm = previous(before, q_before), Pose(measured, q_measured)
    verdict = judge(LIMITS, setpoint(asked, q), last, arm, NOW)
    assert verdict.setpoint is not None
    executed = verdict.setpoint.pose_base_tcp
    assert np.linalg.norm(executed.position - before) <= 0.25 * 0.05 + 1e-9
    assert np.linalg.norm(rotation_between(q_before, executed.quaternion)) <= 1.3 * 0.05 + 1e-6
    assert (executed.position >= np.array(LIMITS.low_m) - 1e-12).all()
    assert (executed.position <= np.array(LIMITS.high_m) + 1e-12).all()
    assert violations(LIMITS, verdict.setpoint, last, arm) == ()


@given(asked=anywhere, before=inside)
@settings(max_examples=60, deadline=None)
def test_a_setpoint_is_changed_only_with_a_reason_given(asked, before):
    verdict = judge(LIMITS, setpoint(asked), previous(before), Pose(before, DOWN), NOW)
    changed = np.abs(verdict.setpoint.pose_base_tcp.position - asked).max() > 1e-5
    assert changed == bool(verdict.clipped)


@given(before=inside, measured=inside, asked=anywhere)
@settings(max_examples=60, deadline=None)
def test_an_arm_pushed_away_is_never_led_further(before, measured, asked):
    arm = Pose(measured, DOWN)
    executed = judge(LIMITS, setpoint(asked), previous(before), arm, NOW).setpoint.pose_base_tcp.position
    bound = max(LIMITS.lead_m, float(np.linalg.norm(before - measured)))
    assert np.linalg.norm(executed - measured) <= bound + 1e-9


def test_a_full_scale_step_of_the_contract_passes_unchanged():
    asked = setpoint([0.512, 0.0, 0.25], quat_multiply(quat_from_axis_angle(np.array([0, 0, 0.06])), DOWN))
    verdict = judge(LIMITS, asked, previous(), HERE, NOW)
    assert verdict.clipped == ()
    np.testing.assert_allclose(verdict.setpoint.pose_base_tcp.position, asked.pose_base_tcp.position, atol=1e-12)


@pytest.mark.parametrize("where", range(6))
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_number_that_is_not_finite_is_refused_and_latches(where, bad):
    values = np.concatenate([HERE.position, np.zeros(3)])
    values[where] = bad
    asked = Setpoint(NOW, 1, Pose(values[:3], DOWN), np.concatenate([values[3:], np.zeros(3)]))
    refusal = judge(LIMITS, asked, previous(), HERE, NOW).refusal
    assert refusal.name == "setpoint_not_finite"
    assert refusal.latches


@pytest.mark.parametrize(
    ("asked", "name"),
    [
        (setpoint(HERE.position, stamp=NOW - 0.2), "stale"),
        (setpoint(HERE.position, stamp=NOW + 0.2), "ahead"),
        (setpoint(HERE.position, sequence=0), "out_of_sequence"),
        (setpoint(HERE.position, stamp=NOW - 0.045), "too_soon"),
        (setpoint(HERE.position, quaternion=np.array([0.0, 2.0, 0.0, 0.0])), "setpoint_not_unit"),
    ],
)
def test_a_setpoint_from_the_wrong_time_or_form_is_refused_by_name(asked, name):
    verdict = judge(LIMITS, asked, previous(), HERE, NOW)
    assert verdict.setpoint is None
    assert verdict.refusal.name == name


def test_the_second_look_sees_a_step_that_is_too_long():
    assert "speed" in violations(LIMITS, setpoint([0.52, 0.0, 0.25]), previous(), HERE)
