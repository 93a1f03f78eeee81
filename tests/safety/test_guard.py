"""The guard, over a space of setpoints and arms rather than examples."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contract.messages import Setpoint
from contract.poses import Pose, quat_from_axis_angle, quat_multiply, rotation_between
from safety.guard import Trail, judge, violations
from safety.workspace import Plane, Workspace
from tests.safety.arms import ARM, LIMITS, READY, arm_at

DOWN = np.array([0.0, 1.0, 0.0, 0.0])
NOW = 10.0

nearby = st.tuples(*(st.floats(-0.17, 0.17) for _ in range(3))).map(np.array)
inside = st.tuples(
    *(st.floats(a, b) for a, b in zip(LIMITS.workspace.low_m, LIMITS.workspace.high_m, strict=True))
).map(np.array)
turn = st.tuples(*(st.floats(-0.8, 0.8) for _ in range(3))).map(lambda r: quat_from_axis_angle(np.array(r)))
joints = st.tuples(*(st.floats(a, b) for a, b in zip(ARM.q_low, ARM.q_high, strict=True))).map(np.array)
forces = st.tuples(*(st.floats(-60.0, 60.0) for _ in range(3))).map(np.array)
twists = st.tuples(*(st.floats(-3.0, 3.0) for _ in range(6))).map(np.array)


def setpoint(position, quaternion=DOWN, stamp=NOW, sequence=1, twist=None) -> Setpoint:
    return Setpoint(
        stamp, sequence, Pose(np.asarray(position, float), quaternion), np.zeros(6) if twist is None else twist
    )


def after(position=(0.5, 0.0, 0.25), quaternion=DOWN, steps=()) -> Trail:
    return Trail(setpoint(position, quaternion, NOW - 0.05, 0), steps)


HERE = READY.pose_base_tcp


def elsewhere(position, quaternion=DOWN):
    """An arm whose tool is measured somewhere else; its joints are those of the ready pose."""
    return replace(READY, pose_base_tcp=Pose(np.asarray(position, float), quaternion))


@given(away=nearby, turned=turn, twist=twists, q_arm=joints, lag=forces, force=forces, gone=st.floats(0.0, 0.25))
@settings(max_examples=300, deadline=None)
def test_what_the_guard_lets_through_breaks_no_limit(away, turned, twist, q_arm, lag, force, gone):
    arm = replace(arm_at(q_arm), force_base=force)
    here = arm.pose_base_tcp
    before = LIMITS.workspace.nearest(here.position + lag / 1000)
    trail = after(before, here.quaternion, ((NOW - 0.5, gone, gone), (NOW - 0.05, 0.0, 0.0)))
    asked = setpoint(here.position + away, quat_multiply(turned, here.quaternion), twist=twist)
    verdict = judge(LIMITS, asked, trail, arm, NOW)
    assert verdict.setpoint is not None
    executed = verdict.setpoint.pose_base_tcp
    step = np.linalg.norm(executed.position - before)
    assert step <= 0.25 * 0.05 + 1e-9
    assert gone + step <= 0.25 + 1e-9
    assert np.linalg.norm(rotation_between(here.quaternion, executed.quaternion)) <= 1.3 * 0.05 + 1e-6
    assert (executed.position >= np.array(LIMITS.workspace.low_m) - 1e-12).all()
    assert (executed.position <= np.array(LIMITS.workspace.high_m) + 1e-12).all()
    assert violations(LIMITS, verdict.setpoint, trail, arm, NOW) == ()


@given(away=nearby, before=inside)
@settings(max_examples=60, deadline=None)
def test_a_setpoint_is_changed_only_with_a_reason_given(away, before):
    asked = before + away
    verdict = judge(LIMITS, setpoint(asked), after(before), elsewhere(before), NOW)
    changed = np.abs(verdict.setpoint.pose_base_tcp.position - asked).max() > 1e-5
    assert changed == bool(verdict.clipped)


@given(before=inside, measured=inside, away=nearby)
@settings(max_examples=60, deadline=None)
def test_an_arm_pushed_away_is_never_led_further(before, measured, away):
    verdict = judge(LIMITS, setpoint(measured + away), after(before), elsewhere(measured), NOW)
    executed = verdict.setpoint.pose_base_tcp.position
    bound = max(LIMITS.lead_m, float(np.linalg.norm(before - measured)))
    assert np.linalg.norm(executed - measured) <= bound + 1e-9


def test_a_full_scale_step_of_the_contract_passes_unchanged():
    asked = setpoint([0.512, 0.0, 0.25], quat_multiply(quat_from_axis_angle(np.array([0, 0, 0.06])), DOWN))
    verdict = judge(LIMITS, asked, after(), READY, NOW)
    assert verdict.clipped == ()
    np.testing.assert_allclose(verdict.setpoint.pose_base_tcp.position, asked.pose_base_tcp.position, atol=1e-12)


def test_a_flood_of_setpoints_gets_no_further_than_one_seconds_speed_allows():
    trail, x = after(HERE.position, HERE.quaternion), HERE.position[0]
    for k in range(58):  # for a second, every 17 ms, each a full step ahead
        now = NOW + 0.017 * k
        asked = setpoint(trail.previous.pose_base_tcp.position + [0.0, 0.0125, 0.0], HERE.quaternion, now, k + 1)
        arm = replace(READY, pose_base_tcp=trail.previous.pose_base_tcp)
        verdict = judge(LIMITS, asked, trail, arm, now)
        trail = trail.extended(verdict.setpoint, now)
    assert 0.24 < trail.previous.pose_base_tcp.position[1] - HERE.position[1] <= 0.2501
    assert trail.previous.pose_base_tcp.position[0] == pytest.approx(x)


def test_after_lost_setpoints_the_next_may_be_as_much_further_as_the_speed_allows_but_for_a_quarter_second_at_most():
    for since, allowed in ((0.05, 0.0125), (0.2, 0.05), (3.0, 0.0625)):
        trail = after(HERE.position, HERE.quaternion, ((NOW - since, 0.0, 0.0),))
        verdict = judge(LIMITS, setpoint(HERE.position + [0.0, 0.07, 0.0], HERE.quaternion), trail, READY, NOW)
        gone = verdict.setpoint.pose_base_tcp.position[1] - HERE.position[1]
        assert gone == pytest.approx(allowed)


def test_a_tilted_plane_bounds_the_workspace_and_is_slid_along():
    wall = Plane((-np.sqrt(0.5), -np.sqrt(0.5), 0.0), -0.4)
    limits = replace(LIMITS, workspace=Workspace(LIMITS.workspace.low_m, LIMITS.workspace.high_m, (wall,)))
    trail = after([0.5, 0.06, 0.25])
    for k in range(10):
        before = trail.previous.pose_base_tcp.position
        asked = setpoint(before + [0.01, 0.0, 0.0], stamp=NOW + 0.05 * k, sequence=k + 1)
        verdict = judge(limits, asked, trail, elsewhere(before), NOW + 0.05 * k)
        trail = trail.extended(verdict.setpoint, NOW + 0.05 * k)
        assert limits.workspace.outside_m(trail.previous.pose_base_tcp.position) <= 1e-9
    assert any("workspace" in note for note in verdict.clipped)
    assert trail.previous.pose_base_tcp.position[0] > 0.52
    assert trail.previous.pose_base_tcp.position[1] < 0.06


def test_what_presses_the_tool_is_not_pressed_harder_but_can_be_left():
    table = replace(READY, force_base=np.array([0.0, 0.0, 25.0]))
    below, above = HERE.position - [0.005, 0.0, 0.008], HERE.position + [0.0, 0.0, 0.008]
    trail = after(HERE.position - [0.0, 0.0, 0.002], HERE.quaternion)
    pressed = judge(LIMITS, setpoint(below, HERE.quaternion), trail, table, NOW)
    assert pressed.setpoint.pose_base_tcp.position[2] == pytest.approx(HERE.position[2] - 0.002)
    assert pressed.setpoint.pose_base_tcp.position[0] == pytest.approx(below[0])  # along the table it may go
    assert any("force: 25 N" in note for note in pressed.clipped)
    assert judge(LIMITS, setpoint(above, HERE.quaternion), trail, table, NOW).clipped == ()


def test_a_moving_setpoint_keeps_its_twist_only_where_it_may_go_on():
    forward = np.array([0.2, 0.0, 0.0, 0.0, 0.0, 0.0])
    kept = judge(LIMITS, setpoint([0.51, 0.0, 0.25], twist=forward), after(), READY, NOW)
    np.testing.assert_allclose(kept.setpoint.twist_base_tcp, forward)
    clipped = judge(LIMITS, setpoint([0.53, 0.0, 0.25], twist=forward), after(), READY, NOW)
    assert not clipped.setpoint.twist_base_tcp.any()
    near_edge = judge(
        LIMITS, setpoint([0.795, 0.0, 0.25], twist=forward), after([0.79, 0.0, 0.25]), elsewhere([0.79, 0.0, 0.25]), NOW
    )
    reached = near_edge.setpoint.pose_base_tcp.position + near_edge.setpoint.twist_base_tcp[:3] * LIMITS.coast_s
    assert LIMITS.workspace.outside_m(reached) <= 1e-9


@pytest.mark.parametrize("where", range(6))
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_number_that_is_not_finite_is_refused_and_latches(where, bad):
    values = np.concatenate([HERE.position, np.zeros(3)])
    values[where] = bad
    asked = Setpoint(NOW, 1, Pose(values[:3], DOWN), np.concatenate([values[3:], np.zeros(3)]))
    refusal = judge(LIMITS, asked, after(), READY, NOW).refusal
    assert refusal.name == "setpoint_not_finite"
    assert refusal.latches


@pytest.mark.parametrize(
    ("asked", "name"),
    [
        (setpoint(HERE.position, stamp=NOW - 0.2), "stale"),
        (setpoint(HERE.position, stamp=NOW + 0.2), "ahead"),
        (setpoint(HERE.position, sequence=0), "out_of_sequence"),
        (setpoint(HERE.position, quaternion=np.array([0.0, 2.0, 0.0, 0.0])), "setpoint_not_unit"),
        (setpoint(1000 * HERE.position), "setpoint_far"),  # millimetres
        (setpoint(HERE.position - [0.5, 0.0, 0.0]), "setpoint_far"),  # another origin
        (setpoint(HERE.position, quaternion=np.array([1.0, 0.0, 0.0, 0.0])), "setpoint_far"),  # another tool frame
    ],
)
def test_a_setpoint_from_the_wrong_time_or_form_is_refused_by_name(asked, name):
    verdict = judge(LIMITS, asked, after(), READY, NOW)
    assert verdict.setpoint is None
    assert verdict.refusal.name == name


def test_a_setpoint_right_after_another_is_refused():
    verdict = judge(LIMITS, setpoint(HERE.position), after(steps=((NOW - 0.01, 0.0, 0.0),)), READY, NOW)
    assert verdict.refusal.name == "too_soon"


def test_the_second_look_sees_a_step_that_is_too_long():
    assert "speed" in violations(LIMITS, setpoint([0.52, 0.0, 0.25]), after(), READY, NOW)
