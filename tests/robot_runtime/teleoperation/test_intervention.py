"""Touch the device and the arm is yours, let go and it is the policy's; every step says whose it was."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from contract.poses import Pose, quat_from_yaw, quat_multiply
from contract.tasks import LIFT_CUBE
from robot_runtime.loop import PolicyLoop, Tick
from robot_runtime.policy import Actor, PolicyRunner
from robot_runtime.teleoperation.device import DeviceMissing, Reading, together
from robot_runtime.teleoperation.intervention import LET_GO_S, Intervention, Still, action_of, marked_steps
from tests.robot_runtime.teleoperation.hands import SyntheticHand, pushing
from tests.robot_runtime.test_loop import DOWN, Constant, IdealArm, StillObject, robot_state

POLICY = Constant(0.1, 0, 0, 0, 0, 0, 0)


def run(
    arm: IdealArm, script: dict[int, Reading], ticks: int, actor: Actor = POLICY
) -> tuple[list[Tick], Intervention]:
    """The loop, with a hand that does at each tick what the script says, else nothing."""
    said = iter([script.get(k, Reading()) for k in range(ticks)])
    hand = Intervention(actor, [SyntheticHand(lambda: next(said))], arm.latest)
    seen: list[Tick] = []

    def watch(tick: Tick) -> bool:
        seen.append(tick)
        return False

    PolicyLoop(arm, StillObject(), PolicyRunner(LIFT_CUBE, hand)).run(ticks, watch)
    return seen, hand


def test_a_touch_takes_over_within_the_tick_and_letting_go_gives_back_after_half_a_second() -> None:
    ticks, _ = run(IdealArm(), {3: pushing(0, 1), 4: pushing(0, 1)}, 25)
    human = [tick.decision.human for tick in ticks]
    last = max(k for k, was_human in enumerate(human) if was_human)
    assert human == [3 <= k <= last for k in range(25)]
    assert ticks[last].state.stamp - ticks[4].state.stamp == pytest.approx(LET_GO_S, abs=LIFT_CUBE.period_s)
    np.testing.assert_allclose(ticks[3].decision.action[:3], [0, -1, 0], atol=1e-12)
    assert not ticks[6].decision.action.any(), "a hand that has let go moves nothing"
    assert ticks[-1].decision.action[0] == 0.1, "the policy goes on"


def test_a_persons_full_speed_is_the_task_cards() -> None:
    arm = IdealArm()
    ticks, _ = run(arm, {k: pushing(1, 1, 1) for k in range(5)}, 5)
    steps = np.diff([tick.decision.setpoint.pose_base_tcp.position for tick in ticks], axis=0)
    np.testing.assert_allclose(np.linalg.norm(steps, axis=-1), LIFT_CUBE.translation_scale_m)


@pytest.mark.parametrize("yaw", [0.0, 0.7, -1.2])
def test_the_twist_is_in_the_frame_of_the_wrist(yaw: float) -> None:
    quaternion = quat_multiply(quat_from_yaw(np.float64(yaw)), DOWN)
    state = replace(robot_state(0.0, np.zeros(3)), pose_base_tcp=Pose(np.zeros(3), quaternion))
    action = action_of(pushing(1, 0, 0.5, 0, 0, 0.3), state)
    np.testing.assert_allclose(action, [np.cos(yaw), np.sin(yaw), -0.5, 0, 0, -0.3, 0], atol=1e-12)


@pytest.mark.parametrize(("closed", "grip"), [(False, -1.0), (True, 1.0)])
def test_the_gripper_button_turns_it_round(closed: bool, grip: float) -> None:
    state = replace(robot_state(0.0, np.zeros(3)), gripper_closed=closed)
    assert action_of(pushing(grips=True), state)[6] == grip
    assert action_of(pushing(1.0), state)[6] == 0.0, "without the button it stays as it is"


def test_without_a_policy_the_arm_stays_until_it_is_touched() -> None:
    arm = IdealArm()
    ticks, _ = run(arm, {6: pushing(0, 0, 1)}, 10, Still())
    heights = [tick.decision.setpoint.pose_base_tcp.position[2] for tick in ticks]
    assert heights[:6] == [heights[0]] * 6
    assert heights[6] == pytest.approx(heights[5] - LIFT_CUBE.translation_scale_m), "z of the tool points down"


def test_marks_are_kept_with_their_time_and_are_no_touch() -> None:
    ticks, hand = run(IdealArm(), {4: Reading(mark=True), 9: Reading(mark=False)}, 12)
    assert not any(tick.decision.human for tick in ticks)
    stamps = np.array([tick.state.stamp for tick in ticks])[::2]
    assert marked_steps(hand.marks, stamps) == [(2, True), (5, False)]
    assert marked_steps([(stamps[0], False), (stamps[-1] + 0.05, True)], stamps) == [(0, False), (5, True)]


def test_an_episode_begins_with_the_policy_whatever_was_done_before() -> None:
    said = iter([pushing(1), Reading(ends=True, mark=True), Reading()])
    hand = Intervention(POLICY, [SyntheticHand(lambda: next(said))], lambda: robot_state(1.0, np.zeros(3)))
    hand.act(np.zeros(0))
    assert hand.human
    hand.start()
    hand.act(np.zeros(0))
    assert (hand.human, hand.ends, hand.marks) == (False, False, [])


def test_a_device_that_is_lost_ends_the_run() -> None:
    def gone() -> Reading:
        if arm.sent:
            raise DeviceMissing("The SpaceMouse is gone.")
        return Reading()

    arm = IdealArm()
    hand = Intervention(POLICY, [SyntheticHand(gone)], arm.latest)
    with pytest.raises(DeviceMissing):
        PolicyLoop(arm, StillObject(), PolicyRunner(LIFT_CUBE, hand)).run(5, lambda tick: False)
    assert len(arm.sent) == 1


def test_two_devices_act_together() -> None:
    both = together([pushing(0.8, 0.1), Reading(np.array([0.8, 0, 0, 0, 0, 0]), stops=True, mark=False)])
    np.testing.assert_allclose(both.twist_wrist[:2], [1.0, 0.1])
    assert (both.touched, both.stops, both.mark, both.grips, both.ends) == (True, True, False, False, False)
