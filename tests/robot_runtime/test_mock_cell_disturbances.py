"""What can go wrong goes wrong on command, and the unmodified franky client and the frame stream see it."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import franky
import numpy as np
import pytest

from contract.poses import yaw_of
from robot_runtime.mock_cell.cell_process import MockCell, MockCellAddresses
from robot_runtime.mock_cell.scoring import ScoringClient

from .outside import FciArm, Frames

pytestmark = pytest.mark.hil


@pytest.fixture(scope="module")
def cell() -> Iterator[MockCell]:
    with MockCell(MockCellAddresses.free(), seed=3) as running:
        yield running


@pytest.fixture
def scoring(cell: MockCell) -> Iterator[ScoringClient]:
    with ScoringClient(cell.addresses.scoring) as client:
        yield client
        client.calm()


@pytest.fixture
def arm(cell: MockCell, scoring: ScoringClient) -> Iterator[FciArm]:
    arm = FciArm(cell.addresses.robot)
    yield arm
    scoring.calm()
    try:
        arm.release()
    finally:
        arm.disconnect()


def test_an_unknown_disturbance_or_value_is_refused_with_the_nearest_name(scoring: ScoringClient) -> None:
    for name, values, words in (
        ("pusch", {}, "did you mean 'push'"),
        ("push", {"force": [1.0, 0.0, 0.0], "seconds": 1.0}, "did you mean 'force_n'"),
        ("push", {"force_n": [1.0, 0.0], "seconds": 1.0}, "three numbers"),
        ("push", {"force_n": [1.0, 0.0, 0.0]}, "needs force_n, seconds"),
        ("delay", {"seconds": -1.0}, "between 0 and 10"),
        ("delay", {"seconds": "long"}, "must be a number"),
        ("reflex", {"error": "joint_reflexes"}, "did you mean 'joint_reflex'"),
        ("variant", {"kind": "red_cubes"}, "did you mean 'red_cube'"),
        ("camera", {"kind": "unpluged"}, "did you mean 'unplugged'"),
        ("place_camera", {"pose": [1.0, 0.0, 0.5]}, "seven numbers"),
        ("place_camera", {"pose": [1.0, 0.0, 0.5, 1.0, 1.0, 0.0, 0.0]}, "unit length"),
        ("show_board", {"board": "chess:8x8:20:10", "pose": [0.0] * 3 + [1.0] + [0.0] * 3}, "is no board"),
        ("show_board", {"board": "apriltag:4x3:60:48", "on": "wall"}, "'tool' or 'table'"),
    ):
        with pytest.raises(ValueError, match=words):
            scoring.disturb(name, **values)


def test_fewer_than_twenty_lost_answers_lower_the_success_rate_and_more_end_the_motion(
    arm: FciArm, scoring: ScoringClient
) -> None:
    arm.hold()
    arm.wait(0.15)
    assert arm.robot.state.control_command_success_rate == 1.0
    acts = scoring.disturb("lose_packets", count=18)
    arm.until(lambda: arm.now_s > acts + 0.03)
    assert arm.robot.state.control_command_success_rate == pytest.approx(0.82, abs=0.011)
    arm.until(lambda: arm.now_s > acts + 0.2)
    assert arm.robot.state.control_command_success_rate == 1.0
    assert arm.mode == "Move"
    acts = scoring.disturb("lose_packets", count=25)
    arm.until(lambda: arm.mode == "Reflex")
    stopped = scoring.truth().reflex_stamp
    assert stopped is not None
    assert stopped - acts == pytest.approx(0.020, abs=0.0025)
    assert arm.errors() == {"communication_constraints_violation"}
    assert "communication_constraints_violation" in arm.ended_with()
    arm.robot.recover_from_errors()
    arm.hold()


def test_random_loss_shows_in_the_success_rate(arm: FciArm, scoring: ScoringClient) -> None:
    arm.hold()
    scoring.disturb("packet_loss", share=0.3, seed=1)
    rates = []
    for _ in range(5):
        arm.wait(0.1)
        rates.append(arm.robot.state.control_command_success_rate)
    assert np.mean(rates) == pytest.approx(0.7, abs=0.1)
    assert arm.mode == "Move"


def test_a_delay_holds_states_and_answers_back_and_a_long_one_breaks_the_link(
    arm: FciArm, scoring: ScoringClient
) -> None:
    arm.hold()
    scoring.disturb("delay", seconds=0.008)  # each way: sixteen answers are missed at its onset
    arm.wait(0.2)
    seen = arm.now_s
    assert scoring.truth().stamp - seen >= 0.008
    assert arm.robot.state.control_command_success_rate == 1.0
    assert arm.mode == "Move"
    scoring.disturb("delay", seconds=0.03)
    arm.until(lambda: arm.mode == "Reflex")
    assert arm.errors() == {"communication_constraints_violation"}


_MOVE_UNTIL_STOPPED = """
import sys, time, franky
robot = franky.Robot(sys.argv[1], realtime_config=franky.RealtimeConfig.Ignore)
robot.recover_from_errors()
motion = franky.CartesianImpedanceTrackingMotion(translational_stiffness=1200.0, rotational_stiffness=50.0)
motion.set_reference(franky.CartesianReference(target=robot.current_pose.end_effector_pose))
robot.move(motion, asynchronous=True)
while robot.state.control_command_success_rate == 0.0:
    time.sleep(0.01)
print("moving", flush=True)
try:
    robot.join_motion()
except franky.ControlException as error:
    print(str(error).replace(chr(10), " "), flush=True)
"""


def test_a_client_that_freezes_while_it_moves_the_arm_ends_in_the_violation(
    cell: MockCell, scoring: ScoringClient
) -> None:
    client = subprocess.Popen(
        [sys.executable, "-c", _MOVE_UNTIL_STOPPED, cell.addresses.robot], stdout=subprocess.PIPE, text=True
    )
    assert client.stdout is not None
    assert client.stdout.readline() == "moving\n"
    client.send_signal(signal.SIGSTOP)
    frozen = scoring.truth().stamp
    deadline = time.monotonic() + 20
    while scoring.truth().stamp < frozen + 0.3:
        assert time.monotonic() < deadline, "the robot waits for ever"
    client.send_signal(signal.SIGCONT)
    assert "communication_constraints_violation" in client.stdout.readline()
    assert client.wait(20) == 0


def test_a_client_that_is_killed_while_it_moves_the_arm_leaves_an_arm_that_holds(
    cell: MockCell, scoring: ScoringClient
) -> None:
    client = subprocess.Popen(
        [sys.executable, "-c", _MOVE_UNTIL_STOPPED, cell.addresses.robot], stdout=subprocess.PIPE, text=True
    )
    assert client.stdout is not None
    assert client.stdout.readline() == "moving\n"
    client.kill()
    client.wait()
    arm = FciArm(cell.addresses.robot)
    assert arm.mode == "Idle"
    before = np.array(arm.robot.state.q)
    arm.wait(0.3)
    np.testing.assert_allclose(arm.robot.state.q, before, atol=1e-3)


def test_a_second_client_is_turned_away_and_the_first_notices_nothing(cell: MockCell, arm: FciArm) -> None:
    arm.hold()
    second = "import franky, sys; franky.Robot(sys.argv[1], realtime_config=franky.RealtimeConfig.Ignore)"
    refused = subprocess.run(
        [sys.executable, "-c", second, cell.addresses.robot], capture_output=True, text=True, timeout=60
    )
    assert refused.returncode != 0
    assert "NetworkException" in refused.stderr or "connection" in refused.stderr.lower()
    assert arm.mode == "Move"
    assert arm.robot.state.control_command_success_rate > 0.98


def test_a_silent_robot_stops_its_own_time_and_a_long_silence_costs_the_connection(
    cell: MockCell, scoring: ScoringClient
) -> None:
    arm = FciArm(cell.addresses.robot)
    arm.hold()
    scoring.disturb("silence", seconds=0.3)
    before = arm.now_s
    time.sleep(0.15)
    assert arm.now_s - before <= 0.006
    arm.until(lambda: arm.now_s > before + 0.1)
    assert arm.mode == "Move"
    scoring.disturb("silence", seconds=2.0)
    time.sleep(1.5)
    with pytest.raises((franky.NetworkException, RuntimeError)):
        arm.robot.join_motion(timeout=5.0)


def test_a_restart_drops_connections_and_counts_time_from_zero(cell: MockCell, scoring: ScoringClient) -> None:
    arm = FciArm(cell.addresses.robot)
    arm.wait(1.0)
    assert scoring.disturb("restart") == 0.0
    with pytest.raises((franky.NetworkException, RuntimeError)):
        arm.robot.recover_from_errors()
    del arm
    again = FciArm(cell.addresses.robot)
    assert again.now_s == pytest.approx(scoring.truth().stamp, abs=0.05)
    assert again.now_s < 10.0
    again.hold()
    again.release()


def test_a_stuck_gripper_neither_moves_nor_answers(cell: MockCell, arm: FciArm, scoring: ScoringClient) -> None:
    gripper = franky.Gripper(cell.addresses.robot)
    gripper.move(0.06, 0.1)
    scoring.disturb("gripper_stuck", seconds=0.6)
    opening = gripper.move_async(0.02, 0.1)
    assert not opening.wait(0.3)
    scoring.disturb("gripper_stuck", seconds=0.0)
    assert opening.wait(10.0)
    assert gripper.width == pytest.approx(0.02, abs=2e-3)


def test_the_cube_can_be_moved_and_taken_away(scoring: ScoringClient) -> None:
    before = scoring.reset(seed=1).pose_base_object.position
    scoring.disturb("move_object", dx=0.03, dy=-0.02)
    np.testing.assert_allclose(scoring.truth().pose_base_object.position - before, [0.03, -0.02, 0.0], atol=1e-3)
    scoring.disturb("take_object")
    away = scoring.truth()
    assert abs(away.pose_base_object.position[1]) == pytest.approx(0.30, abs=0.01)
    assert away.height_above_rest_m == pytest.approx(0.0, abs=2e-3)


def test_another_cube_lies_where_it_is_put_and_a_trial_may_begin_there(scoring: ScoringClient) -> None:
    try:
        for kind, edge_m in (("magenta_cube", 0.042), ("orange_cube", 0.038)):
            scoring.disturb("variant", kind=kind)
            scoring.disturb("place_object", x=0.6, y=-0.1, yaw_rad=0.5)
            began = scoring.begin()
            np.testing.assert_allclose(began.pose_base_object.position, [0.6, -0.1, edge_m / 2], atol=1e-3)
            assert float(yaw_of(began.pose_base_object.quaternion)) == pytest.approx(0.5, abs=0.01)
            assert began.height_above_rest_m == pytest.approx(0.0, abs=5e-4)
            assert not began.success
            assert began.reset_stamp == pytest.approx(began.stamp)
    finally:
        scoring.disturb("variant")


@pytest.fixture
def frames(cell: MockCell) -> Iterator[Frames]:
    stream = Frames(cell.addresses.frames)
    yield stream
    stream.close()


def _until_frames(frames: Frames, count: int) -> None:
    deadline = time.monotonic() + 20
    wanted = len(frames.headers) + count
    while len(frames.headers) < wanted:
        assert time.monotonic() < deadline, "no frames"
        time.sleep(0.01)


def test_a_frozen_camera_repeats_its_picture_with_fresh_stamps(frames: Frames, scoring: ScoringClient) -> None:
    _until_frames(frames, 1)
    scoring.disturb("camera", kind="frozen")
    _until_frames(frames, 2)
    picture, stamp = frames.rgb, frames.headers[-1]["stamp_s"]
    scoring.disturb("move_object", dx=0.0, dy=0.10)
    _until_frames(frames, 3)
    assert frames.rgb == picture
    assert frames.headers[-1]["stamp_s"] > stamp
    scoring.disturb("camera", kind="none")
    _until_frames(frames, 3)
    assert frames.rgb != picture


def test_a_slow_camera_gives_one_frame_in_five_and_an_unplugged_one_none(
    frames: Frames, scoring: ScoringClient
) -> None:
    _until_frames(frames, 1)
    scoring.disturb("camera", kind="slow")
    _until_frames(frames, 4)
    assert np.diff([header["frame"] for header in frames.headers[-3:]]).tolist() == [5, 5]
    scoring.disturb("camera", kind="unplugged")
    time.sleep(0.5)  # what is under way arrives
    count, begin = len(frames.headers), scoring.truth().stamp
    while scoring.truth().stamp < begin + 0.6:
        time.sleep(0.02)
    assert len(frames.headers) == count


def test_a_dark_camera_is_black_and_a_lookalike_is_there_only_for_the_camera(
    frames: Frames, scoring: ScoringClient
) -> None:
    def red_pixels() -> int:
        _until_frames(frames, 3)
        r, g, b = np.frombuffer(frames.rgb, np.uint8).reshape(-1, 3).T.astype(int)
        return int(((r > 90) & (g < 0.4 * r) & (b < 0.4 * r)).sum())

    scoring.disturb("take_object")
    alone = red_pixels()
    assert alone > 50
    place = scoring.truth().pose_base_object.position
    scoring.disturb("lookalike", x=0.5, y=-float(place[1]))
    assert red_pixels() > 1.5 * alone
    np.testing.assert_allclose(scoring.truth().pose_base_object.position, place, atol=1e-3)
    scoring.disturb("lookalike")
    assert red_pixels() == pytest.approx(alone, rel=0.1)
    scoring.disturb("camera", kind="dark")
    assert red_pixels() == 0
    assert not any(frames.rgb)


def test_a_finger_pushes_the_cube_along_the_table_and_leaves_it_there(scoring: ScoringClient) -> None:
    scoring.reset(seed=5)
    before = scoring.truth().pose_base_object.position
    begin = scoring.disturb("push_object", velocity_m_s=[0.0, 0.1], seconds=0.3)
    while scoring.truth().stamp < begin + 0.8:
        time.sleep(0.02)
    moved = scoring.truth().pose_base_object.position - before
    assert 0.02 < moved[1] < 0.04
    assert abs(moved[0]) < 0.005
    assert scoring.truth().speed_m_s < 0.01


def test_another_laboratory_looks_different_and_is_the_same_for_the_same_seed(
    frames: Frames, scoring: ScoringClient
) -> None:
    def picture(seed: int | None) -> np.ndarray:
        scoring.disturb("looks", seed=seed)
        _until_frames(frames, 3)
        return np.frombuffer(frames.rgb, np.uint8).astype(int)

    nominal, other, another = picture(None), picture(3), picture(4)
    for a, b in ((nominal, other), (other, another)):
        assert np.abs(a - b).mean() > 10
    assert np.abs(picture(3) - other).mean() < 1
    assert np.abs(picture(None) - nominal).mean() < 1


def test_an_arm_at_rest_that_is_pushed_tells_where_it_is_and_not_where_it_should_be(
    arm: FciArm, scoring: ScoringClient
) -> None:
    before = np.array(arm.robot.state.q)
    scoring.disturb("push", force_n=[0.0, 80.0, 0.0], seconds=1.0)
    arm.wait(0.5)
    state = arm.robot.state
    assert np.abs(np.array(state.q) - before).max() > 0.01
    told, computed = state.O_T_EE, arm.robot.model.pose(franky.Frame.EndEffector, state)
    np.testing.assert_allclose(told.translation, computed.translation, atol=1e-4)
