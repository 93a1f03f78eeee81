"""The fault matrix, what happens to the arm: reflexes, stops, packets, pushes, walls, loads, its hand, its bridge."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest

from contract.messages import GripperCommand, Setpoint
from contract.poses import Pose, quat_from_axis_angle, quat_multiply
from contract.tasks import LIFT_CUBE
from robot_runtime.bridge_client import BridgeClient, BridgeFaulted, BridgeRefused
from robot_runtime.cell import Cell
from robot_runtime.franka import HOMING_M_S, Arm, ArmFault
from robot_runtime.motions import Mover, by, follow, stay, swing, towards
from robot_runtime.wire import Executed
from safety.limits import arm_limits

from .matrix import Matrix
from .stage import Seen, Stage, await_serving, lease, serve, staged

pytestmark = pytest.mark.hil
Disturb = Callable[[], float]
SEEN_S = 0.01
"""A reflex must be seen this soon; the bridge publishes every 5 ms."""
GIVES_WAY_M_S = 0.7
"""How fast 36 N may move a tool that only damping holds."""
FAR_AWAY_RAD = (0.22, -0.2, 0.26, -2.09, -0.09, 2.37, 0.72)
"""From here to the start pose joints at 0.35 rad/s would move the tool at 0.5 m/s."""


def while_swinging(stage: Stage, client: BridgeClient, disturb: Disturb, seconds: float = 1.5) -> float:
    """Robot time at which the disturbance acted on a swinging arm."""
    acted: list[float] = []

    def meddle(k: int, setpoint: Setpoint) -> Setpoint:
        if k == 10:
            acted.append(disturb())
        return setpoint

    swing(client, seconds, meddle)
    assert acted, f"stopped before anything was done: {client.status().fault}"
    return acted[0]


def faults_within(
    stage: Stage, client: BridgeClient, matrix: Matrix, row: str, name: str, limit_s: float, disturb: Disturb
) -> None:
    """The disturbance, made while the arm swings, latches that fault in time; cleared, the arm goes on."""
    reactions = []
    for _ in range(matrix.repeats):
        stage.ready(client)
        acted = while_swinging(stage, client, disturb)
        reactions.append(stage.seconds_until_fault(name, acted))
        client.stop()
        with pytest.raises(BridgeRefused, match="recover|person"):
            client.arm()
        stage.scoring.calm()
    matrix.note(row, name, limit_s, reactions)
    stage.ready(client)
    assert swing(client, 0.5)[-1].refused is None


def test_a_reflex_is_seen_at_once_and_latches(stage: Stage, client: BridgeClient, matrix: Matrix) -> None:
    faults_within(
        stage, client, matrix, "reflex of the arm", "arm_reflex", SEEN_S,
        lambda: stage.scoring.disturb("reflex", error="joint_velocity_violation"),
    )  # fmt: skip


def test_the_user_stop_stops_the_arm_and_only_a_person_who_has_released_it_clears_it(
    stage: Stage, client: BridgeClient, matrix: Matrix
) -> None:
    reactions = []
    for _ in range(matrix.repeats):
        stage.ready(client)
        pressed = while_swinging(stage, client, lambda: stage.scoring.disturb("user_stop", pressed=True))
        reactions.append(stage.seconds_until_fault("user_stop", pressed))
        client.stop()
        with pytest.raises(BridgeRefused, match="A person has to look"):
            client.recover()
        with pytest.raises(BridgeRefused, match="release it"):
            client.recover(by_person=True)
        stage.scoring.disturb("user_stop", pressed=False)
    matrix.note("user stop", "user_stop; cleared by a person, once released", 0.05, reactions)


def test_packets_lost_below_the_limit_are_survived_and_above_it_stop_the_arm(
    stage: Stage, client: BridgeClient, matrix: Matrix
) -> None:
    stage.ready(client)
    lost = while_swinging(stage, client, lambda: stage.scoring.disturb("lose_packets", count=15))
    assert all(row.fault is None for row in stage.since(lost))
    matrix.note("15 control packets lost in a row", "nothing", 0.0, [0.0])
    faults_within(
        stage, client, matrix, "25 control packets lost in a row", "packets_lost", 0.05,
        lambda: stage.scoring.disturb("lose_packets", count=25),
    )  # fmt: skip


def lost(stage: Stage, client: BridgeClient, disturb: Callable[[], object]) -> float:
    """Wall seconds until the bridge knows that the arm is gone."""
    begun_s: list[float] = []

    def go() -> float:
        disturb()
        begun_s.append(time.monotonic())
        return 0.0

    stage.ready(client)
    with pytest.raises(BridgeFaulted):
        while_swinging(stage, client, go)
    fault, seconds = stage.wall_seconds_until_fault(begun_s[0])
    assert fault in ("arm_silent", "arm_unreachable")
    return seconds


def test_a_silent_robot_is_noticed_and_never_answered_for(stage: Stage, client: BridgeClient, matrix: Matrix) -> None:
    reactions = []
    for _ in range(matrix.repeats):
        reactions.append(lost(stage, client, lambda: stage.scoring.disturb("silence", seconds=2.0)))
        time.sleep(1.0)
    matrix.note("robot silent for 2 s", "arm_silent or arm_unreachable", 2.5, reactions, clock="wall")


def test_a_robot_that_restarts_is_noticed_and_connected_to_again(
    stage: Stage, client: BridgeClient, matrix: Matrix
) -> None:
    reactions = []
    for _ in range(matrix.repeats):
        reactions.append(lost(stage, client, lambda: stage.scoring.disturb("restart")))
        before = stage.seen[-1].stamp
        client.recover(by_person=True)
        assert client.latest().stamp >= before, "robot time runs on"
    matrix.note("robot restarted", "arm_unreachable; recover connects again", 2.5, reactions, clock="wall")


def test_a_second_controller_at_the_robot_does_not_disturb_the_first(
    stage: Stage, client: BridgeClient, matrix: Matrix
) -> None:
    intruder = Arm(stage.cell.robot, stage.cell.gains, stage.cell.limits)

    def intrude() -> float:
        with pytest.raises(ArmFault):
            intruder.connect()
        return client.latest().stamp

    stage.ready(client)
    came = while_swinging(stage, client, intrude, 2.0)
    assert all(row.fault is None for row in stage.since(came))
    matrix.note("second FCI controller", "turned away; nothing", 0.0, [0.0])


def seconds_until_the_hand_rests(stage: Stage, since: float) -> float:
    """By the mock cell's truth, for when no bridge tells."""
    deadline = time.monotonic() + 30
    while (truth := stage.scoring.truth()).hand_speed_m_s > 0.02 or truth.stamp < since + 0.05:
        assert time.monotonic() < deadline, truth
        time.sleep(0.005)
    return truth.stamp - since


def test_a_bridge_that_is_killed_leaves_an_arm_that_stops_itself_and_a_new_one_takes_over(
    stage: Stage, matrix: Matrix
) -> None:
    rests = []
    for _ in range(matrix.repeats):
        with BridgeClient(stage.cell, name="the test") as client:
            lease(client)
            stage.ready(client)
            swing(client, 0.8)
            killed = stage.scoring.truth().stamp  # not the bridge's, which lets time run on where a robot restarts
            stage.bridge.send_signal(signal.SIGKILL)
            stage.bridge.wait()
            try:
                rests.append(seconds_until_the_hand_rests(stage, killed))
            finally:  # whoever comes next needs a bridge
                stage.bridge = serve(stage.file)
                await_serving(stage.bridge)
        with BridgeClient(stage.cell, name="the test") as client:
            lease(client)
            stage.ready(client)
            assert swing(client, 0.5)[-1].refused is None
    matrix.note("bridge killed while moving", "the arm stops itself; a new bridge takes over", 0.5, rests)


def test_a_bridge_starved_of_its_cpu_makes_no_jump(stage: Stage, client: BridgeClient, matrix: Matrix) -> None:
    begun = stage.seen[-1].stamp

    def starve() -> float:
        stage.bridge.send_signal(signal.SIGSTOP)
        time.sleep(0.3)
        stage.bridge.send_signal(signal.SIGCONT)
        return client.latest().stamp

    while_swinging(stage, client, starve, 2.0)
    rows = stage.since(begun)
    assert max(row.speed_m_s for row in rows) < 1.06 * stage.cell.limits.speed_m_s
    assert rows[-1].fault in (None, "packets_lost", "setpoints_stopped")
    matrix.note("bridge starved of its CPU for 300 ms", "goes on, or the arm stops itself; no jump", 0.0, [0.0])


def clipped_in(answers: list[Executed]) -> str:
    """Everything that was clipped, and why."""
    return "; ".join(note for answer in answers for note in answer.clipped)


@pytest.mark.parametrize("side", [1.0, -1.0])
def test_a_joint_is_stopped_before_its_end_from_either_side(
    stage: Stage, client: BridgeClient, matrix: Matrix, side: float
) -> None:
    """Turning the tool about its own axis drives joint 7; tests/safety has the other joints, from both sides."""

    def turn(here: Pose) -> Pose:
        turned = quat_multiply(quat_from_axis_angle(np.array([0.0, 0.0, side * 0.06])), here.quaternion)
        return Pose(here.position, turned)

    clipped = clipped_in(stage.follow(client, turn, 110))
    arm, q = arm_limits(stage.cell.robot.model), client.latest().q
    assert "joint 7 limit" in clipped
    margin = min(arm.q_high[6] - q[6], q[6] - arm.q_low[6])
    assert 0.5 * stage.cell.limits.joint_margin_rad < margin < 0.5
    assert client.status().fault is None
    end = "upper" if side < 0 else "lower"
    matrix.note(f"joint limit approached, {end} end", "slows down, never reaches it", 0.0, [0.0])
    client.move_home(LIFT_CUBE.start_q_rad)


def test_a_singular_pose_is_approached_ever_more_slowly(stage: Stage, client: BridgeClient, matrix: Matrix) -> None:
    """Stretched out to the far upper corner of the workspace, beyond what the arm reaches."""
    begun = stage.seen[-1].stamp
    clipped = clipped_in(stage.follow(client, towards(np.array(stage.cell.workspace.high_m)), 100))
    assert "singular" in clipped or "limit" in clipped
    assert client.status().fault is None
    fastest = np.max([np.abs(row.state.dq) for row in stage.since(begun)], axis=0)
    assert (fastest < arm_limits(stage.cell.robot.model).dq).all()
    matrix.note("singular pose approached", "slows down; no joint faster than allowed", 0.0, [0.0])
    client.move_home(LIFT_CUBE.start_q_rad)


def test_the_workspace_is_not_left_by_setpoints(stage: Stage, client: BridgeClient, matrix: Matrix) -> None:
    high = stage.cell.workspace.high_m[1]
    begun = stage.seen[-1].stamp
    assert "workspace" in clipped_in(stage.follow(client, by(0.0, 0.012, 0.0), 50)[-1:])
    assert max(row.state.pose_base_tcp.position[1] for row in stage.since(begun)) < high + 0.005
    matrix.note("workspace left by setpoints", "clipped to the wall", 0.0, [0.0])
    client.move_home(LIFT_CUBE.start_q_rad)


@contextmanager
def served_as(stage: Stage, cell: Cell) -> Iterator[Stage]:
    """Another bridge for the same arm, with other gains or limits."""
    stage.bridge.terminate()
    stage.bridge.wait(15)
    file = stage.file.with_name("other.yaml")
    cell.write(file)
    try:
        with staged(cell, file) as other:
            yield other
    finally:
        stage.bridge = serve(stage.file)
        await_serving(stage.bridge)


def pushed(stage: Stage, matrix: Matrix, from_y: float, force_n: float, name: str, row: str) -> None:
    """A push along y, from there, latches that fault within 50 ms of what the fault is about."""
    wall, limit = stage.cell.workspace.high_m[1] + 0.05, 2 * stage.cell.limits.speed_m_s

    def too_much(seen: Seen) -> bool:
        if name == "left_workspace":
            return bool(seen.state.pose_base_tcp.position[1] > wall)
        return seen.speed_m_s > limit

    reactions = []
    for _ in range(matrix.repeats):
        with BridgeClient(stage.cell, name="the test") as client:
            lease(client)
            stage.follow(client, towards(np.array(LIFT_CUBE.start_position_m) + [0.0, from_y, 0.0]), 40)
            begun = stage.scoring.disturb("push", force_n=[0.0, force_n, 0.0], seconds=0.6)
            follow(client, stay, 14, first=41)
            cause = stage.seconds_until(too_much, begun) + begun
            reactions.append(stage.seconds_until_fault(name, cause - 1e-3))
            stage.scoring.calm()
            stage.seconds_until_rest(begun)
            stage.ready(client)
    matrix.note(row, name, 0.05, reactions)


def test_a_push_out_of_the_workspace_stops_the_arm(stage: Stage, matrix: Matrix) -> None:
    """A soft arm, or the force would stop it first."""
    with served_as(stage, replace(stage.cell, gains=replace(stage.cell.gains, translational_n_per_m=250.0))) as other:
        pushed(other, matrix, 0.355, 28.0, "left_workspace", "pushed out of the workspace")


def test_a_tool_too_fast_stops_the_arm(stage: Stage, matrix: Matrix) -> None:
    """With force limits so high that they do not stop it first."""
    forces = {"soft_force_n": 90.0, "hard_force_n": 145.0, "contact_force_n": 199.0, "contact_torque_nm": 86.0}
    with served_as(stage, replace(stage.cell, limits=replace(stage.cell.limits, **forces))) as other:
        pushed(other, matrix, 0.0, 140.0, "overspeed", "tool too fast")


def test_a_tool_that_is_pressed_is_not_pressed_harder_and_above_the_hard_limit_the_arm_stops(
    stage: Stage, client: BridgeClient, matrix: Matrix
) -> None:
    stage.ready(client)
    stage.scoring.disturb("push", force_n=[0.0, -25.0, 0.0], seconds=1.5)
    client.wait_until(client.latest().stamp + 0.3)
    assert "force" in clipped_in(follow(client, by(0.0, 0.012, 0.0), 15))
    assert client.status().fault is None
    stage.scoring.calm()
    matrix.note("force above the soft limit", "not pressed harder, may be left", 0.0, [0.0])
    stage.ready(client)
    begun = stage.scoring.disturb("push", force_n=[0.0, 0.0, 38.0], seconds=0.014)
    follow(client, stay, 8)
    assert max(np.linalg.norm(row.state.wrench_base[:3]) for row in stage.since(begun)) > 20.0
    assert client.status().fault is None
    matrix.note("an impact above the hard limit for 7 ms", "goes on", 0.0, [0.0])
    faults_within(
        stage, client, matrix, "force above the hard limit", "contact_force", 0.05,
        lambda: stage.scoring.disturb("push", force_n=[0.0, 0.0, 36.0], seconds=1.0),
    )  # fmt: skip


def test_an_arm_that_is_pushed_on_while_it_stops_gives_way_slowly(
    stage: Stage, client: BridgeClient, matrix: Matrix
) -> None:
    for _ in range(matrix.repeats):
        stage.ready(client)
        pushed_at = while_swinging(
            stage, client, lambda: stage.scoring.disturb("push", force_n=[0, 0, 36], seconds=1.0)
        )
        stage.await_robot_time(pushed_at + 1.3)
        assert max(row.speed_m_s for row in stage.since(pushed_at)) < GIVES_WAY_M_S
        stage.scoring.calm()
    matrix.note("pushed on with 36 N while it stops", "gives way slowly", 0.0, [0.0])


def test_an_object_that_is_lost_while_carried_stops_the_arm_and_a_held_one_is_kept_off_the_table(
    stage: Stage, client: BridgeClient, matrix: Matrix
) -> None:
    reactions = []
    for seed in range(matrix.repeats):
        stage.ready(client)
        client.move_home(LIFT_CUBE.start_q_rad)
        client.gripper(GripperCommand(False, 30.0))
        while client.wait_until(client.latest().stamp + 0.05).gripper_width < 0.07:
            pass
        stage.scoring.reset(seed)
        client.arm()
        move = Mover(client)
        move.lift(stage.scoring.truth().pose_base_object)
        assert stage.scoring.truth().height_above_rest_m > 0.03
        clipped = clipped_in(move(by(0.0, 0.0, -0.004), 25))
        assert "workspace" in clipped, "it would be pushed through the table"
        move(by(0.0, 0.0, 0.011), 8)
        taken = stage.scoring.disturb("take_object")
        move(stay, 12)
        reactions.append(stage.seconds_until_fault("object_lost", taken))
        client.stop()
        client.recover(by_person=True)
        client.gripper(GripperCommand(False, 30.0))
    matrix.note("object lost while carried", "object_lost", 0.3, reactions)


def test_a_gripper_that_tells_nothing_stops_the_arm(stage: Stage, client: BridgeClient, matrix: Matrix) -> None:
    reactions = []
    for _ in range(matrix.repeats):
        stage.ready(client)
        stuck = while_swinging(stage, client, lambda: stage.scoring.disturb("gripper_stuck", seconds=2.5), 2.2)
        reactions.append(stage.seconds_until_fault("gripper_silent", stuck))
        stage.scoring.calm()
        client.wait_until(client.latest().stamp + 0.5)
    matrix.note("gripper times out", "gripper_silent", 1.2, reactions)


def test_a_load_nobody_told_of_keeps_the_arm_from_being_armed(
    stage: Stage, client: BridgeClient, matrix: Matrix
) -> None:
    client.stop()
    stage.scoring.disturb("payload", mass_kg=1.0)
    client.wait_until(client.latest().stamp + 1.0)
    asked = client.latest().stamp
    with pytest.raises(BridgeRefused, match="At rest the tool feels"):
        client.arm()
    stage.seconds_until_fault("wrong_payload", asked)
    stage.scoring.calm()
    client.wait_until(client.latest().stamp + 1.0)
    with pytest.raises(BridgeRefused, match="A person has to look"):
        client.recover()
    matrix.note("wrong payload", "wrong_payload; not armed", 0.0, [0.0])


def test_a_drive_home_from_far_away_keeps_the_tool_slow(stage: Stage, client: BridgeClient) -> None:
    stage.ready(client)
    client.move_home(FAR_AWAY_RAD)
    begun = stage.seen[-1].stamp
    client.move_home(LIFT_CUBE.start_q_rad)
    fastest = max(row.speed_m_s for row in stage.since(begun))
    assert 0.15 < fastest < 1.1 * HOMING_M_S


def test_a_drive_home_from_far_away_begins_by_rising(stage: Stage, client: BridgeClient) -> None:
    stage.ready(client)
    move = Mover(client)
    move(by(0.0, 0.0, -0.012), 15)
    move(stay, 8)
    low = client.latest().pose_base_tcp.position[2]
    begun = stage.seen[-1].stamp
    client.move_home(LIFT_CUBE.start_q_rad)
    heights = [row.state.pose_base_tcp.position[2] for row in stage.since(begun)]
    assert min(heights) > low - 0.005
