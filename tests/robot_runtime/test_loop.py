"""The loop keeps the robot's time, shows the policy what training showed it, and stops when it cannot see."""

from __future__ import annotations

import numpy as np
import pytest

from contract.messages import GripperCommand, ObjectState, RobotState, Setpoint
from contract.observation import MOST_SIGMA_M, layout
from contract.poses import Pose, quat_from_yaw
from contract.tasks import LIFT_CUBE
from robot_runtime.bridge_client import BridgeFaulted
from robot_runtime.loop import OperatorStopped, PolicyLoop, StaleEstimate, Tick
from robot_runtime.policy import PolicyRunner
from robot_runtime.wire import Executed

DOWN = np.array([0.0, 1.0, 0.0, 0.0])


def robot_state(stamp: float, position: np.ndarray) -> RobotState:
    return RobotState(
        stamp, np.zeros(7), np.zeros(7), Pose(position, DOWN), np.zeros(6), np.zeros(6), 0.08, stamp, False
    )


class IdealArm:
    """Is where it was told to be one tick later; its clock moves only by waiting and by `busy_s` per setpoint."""

    def __init__(self, busy_s: float = 0.0, late_s: float = 0.0) -> None:
        self.now, self.busy_s, self.late_s = 100.0, busy_s, late_s
        self.position = np.array(LIFT_CUBE.start_position_m)
        self.sent: list[Setpoint] = []
        self.grips: list[bool] = []
        self.sights: list[ObjectState] = []
        self.clip_to: np.ndarray | None = None
        self.fault_after: int | None = None

    def latest(self) -> RobotState:
        return robot_state(self.now, self.position)

    def wait_until(self, robot_time: float) -> RobotState:
        self.now = max(self.now, robot_time + self.late_s)
        return self.latest()

    def send(self, setpoint: Setpoint) -> Executed:
        self.sent.append(setpoint)
        self.now += self.busy_s
        pose, clipped = setpoint.pose_base_tcp, ()
        if self.clip_to is not None:
            pose, clipped = Pose(self.clip_to, DOWN), ("workspace: 10 mm outside",)
        self.position = pose.position
        return Executed(setpoint.sequence, self.now, pose, clipped)

    def gripper(self, command: GripperCommand) -> None:
        self.grips.append(command.closed)

    def saw(self, seen: ObjectState) -> None:
        self.sights.append(seen)

    def check(self) -> None:
        if self.fault_after is not None and len(self.sent) > self.fault_after:
            raise BridgeFaulted("The tool moved at 3.00 m/s. (overspeed)")


class StillObject:
    """A cube seen `age_s` ago, or not at all."""

    def __init__(self, age_s: float | None = 0.1) -> None:
        self.age_s = age_s
        self.covariance = np.eye(4) * 1e-6

    def latest(self, state: RobotState) -> ObjectState | None:
        if self.age_s is None:
            return None
        pose = Pose(np.array([0.55, 0.1, 0.02]), quat_from_yaw(np.float64(0.3)))
        return ObjectState(state.stamp - self.age_s, "cube", pose, self.covariance, 0.9, False)


class Constant:
    """Always the same action; remembers what it was shown."""

    def __init__(self, *action: float) -> None:
        self.action = np.array(action)
        self.shown: list[dict[str, np.ndarray]] = []

    def act(self, observation: np.ndarray) -> np.ndarray:
        ends = np.cumsum([field["size"] for field in layout(LIFT_CUBE)])
        names = [field["name"] for field in layout(LIFT_CUBE)]
        self.shown.append(dict(zip(names, np.split(observation, ends[:-1]), strict=True)))
        return self.action


FORWARD = Constant(1, 0, 0, 0, 0, 0, 0)


def run(arm: IdealArm, actor: Constant, ticks: int = 5, objects: StillObject | None = None) -> PolicyLoop:
    loop = PolicyLoop(arm, objects or StillObject(), PolicyRunner(LIFT_CUBE, actor))
    loop.run(ticks, finished=lambda tick: False)
    return loop


def test_a_full_scale_action_moves_the_command_by_the_cards_scale_every_tick() -> None:
    arm = IdealArm()
    run(arm, Constant(1, 0, 0, 0, 0, 0, 0))
    steps = np.diff([LIFT_CUBE.start_position_m, *(s.pose_base_tcp.position for s in arm.sent)], axis=0)
    np.testing.assert_allclose(steps, np.tile([LIFT_CUBE.translation_scale_m, 0, 0], (5, 1)), atol=1e-12)
    assert not arm.sent[0].twist_base_tcp.any(), "nobody knows how it goes on after the next tick"


def test_setpoints_are_stamped_for_the_end_of_their_tick_and_count_up() -> None:
    arm = IdealArm()
    run(arm, Constant(*[0.0] * 7))
    np.testing.assert_allclose([s.stamp for s in arm.sent], 100.05 + 0.05 * np.arange(5))
    assert [s.sequence for s in arm.sent] == [1, 2, 3, 4, 5]


def test_the_flight_record_is_told_of_every_sight_that_a_decision_rests_on() -> None:
    arm = IdealArm()
    run(arm, Constant(*[0.0] * 7))
    np.testing.assert_allclose([seen.stamp for seen in arm.sights], 100.0 - 0.1 + 0.05 * np.arange(5))


def test_the_policy_sees_its_own_last_action_and_the_age_of_the_estimate() -> None:
    actor = Constant(0.5, 0, 0, 0, 0, 0.25, -1)
    run(IdealArm(), actor, objects=StillObject(age_s=0.12))
    assert not actor.shown[0]["previous_action"].any(), "an episode begins with no action"
    np.testing.assert_allclose(actor.shown[1]["previous_action"], actor.action)
    np.testing.assert_allclose([shown["object_age"][0] for shown in actor.shown], 0.12)
    assert [shown["gripper_closed"][0] for shown in actor.shown] == [0, 1, 1, 1, 1]


@pytest.mark.parametrize(("variance_m2", "shown_m"), [(1e-6, 0.001), (4e-6, 0.002), (1.0, MOST_SIGMA_M)])
def test_the_policy_sees_how_certain_the_estimate_is(variance_m2: float, shown_m: float) -> None:
    objects = StillObject()
    objects.covariance = np.diag([variance_m2] * 3 + [9.0])
    actor = Constant(*[0.0] * 7)
    run(IdealArm(), actor, objects=objects)
    np.testing.assert_allclose([shown["object_sigma"][0] for shown in actor.shown], shown_m)


def test_the_next_delta_starts_at_what_was_executed_not_at_what_was_asked() -> None:
    arm, actor = IdealArm(), Constant(1, 0, 0, 0, 0, 0, 0)
    arm.clip_to = np.array([0.5, 0.0, 0.25])
    loop = run(arm, actor)
    np.testing.assert_allclose(arm.sent[-1].pose_base_tcp.position, [0.512, 0, 0.25])
    assert loop.statistics.clipped == 5
    assert loop.statistics.notes[0].startswith("workspace")


def test_the_gripper_is_told_only_when_its_command_changes() -> None:
    arm = IdealArm()
    run(arm, Constant(0, 0, 0, 0, 0, 0, -1))
    assert arm.grips == [True]


def test_lateness_is_measured_in_robot_time_and_missed_ticks_are_skipped_not_caught_up() -> None:
    arm = IdealArm(busy_s=0.12)
    loop = run(arm, Constant(*[0.0] * 7))
    gaps = np.diff([s.stamp for s in arm.sent])
    assert (gaps >= LIFT_CUBE.period_s - 1e-9).all(), "no burst of setpoints after a late tick"
    assert loop.statistics.skipped_ticks > 0
    late = run(IdealArm(late_s=0.004), Constant(*[0.0] * 7))
    assert late.statistics.jitter_ms()["median"] == pytest.approx(4.0)


@pytest.mark.parametrize(("age_s", "words"), [(1.2, "last seen 1.20 s ago"), (None, "has not been seen yet")])
def test_without_a_fresh_estimate_nothing_is_commanded(age_s: float | None, words: str) -> None:
    arm = IdealArm()
    with pytest.raises(StaleEstimate, match=words):
        run(arm, Constant(*[1.0] * 7), objects=StillObject(age_s))
    assert arm.sent == []


def test_the_operator_and_a_fault_end_the_loop_before_the_next_setpoint() -> None:
    arm = IdealArm()
    loop = PolicyLoop(arm, StillObject(), PolicyRunner(LIFT_CUBE, FORWARD))
    with pytest.raises(OperatorStopped):
        loop.run(10, lambda tick: False, stop_asked=lambda: len(arm.sent) == 3)
    assert len(arm.sent) == 3
    arm.fault_after = 5
    with pytest.raises(BridgeFaulted, match="overspeed"):
        loop.run(10, lambda tick: False)
    assert loop.statistics.ticks == 3, "figures up to the fault are kept"


def test_a_watcher_ends_the_loop() -> None:
    arm = IdealArm()
    ticks: list[Tick] = []

    def watch(tick: Tick) -> bool:
        ticks.append(tick)
        return tick.index == 2

    PolicyLoop(arm, StillObject(), PolicyRunner(LIFT_CUBE, FORWARD)).run(50, watch)
    assert [tick.index for tick in ticks] == [0, 1, 2]
