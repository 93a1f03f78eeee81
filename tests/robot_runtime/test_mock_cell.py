"""The mock cell from outside: franky moves its arm, its camera keeps robot time, and it leaves nothing behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import franky
import numpy as np
import pytest

from contract.poses import Pose, quat_from_yaw, quat_multiply, rotation_between, slerp, yaw_of
from contract.tasks import LIFT_CUBE
from robot_runtime.mock_cell.cell_process import MockCell, MockCellAddresses, PortInUse
from robot_runtime.mock_cell.scene import CUBE_MASS_KG
from robot_runtime.mock_cell.scoring import ScoringClient

from .outside import Frames

pytestmark = pytest.mark.hil
DOWN = np.array(LIFT_CUBE.start_quaternion)


class Arm:
    """franky with straight impedance targets, clocked by robot time."""

    def __init__(self, address: str) -> None:
        self.robot = franky.Robot(address, realtime_config=franky.RealtimeConfig.Ignore)
        self.gripper = franky.Gripper(address)
        self.tracker = franky.CartesianImpedanceTracker(
            self.robot, translational_stiffness=1200.0, rotational_stiffness=50.0
        )
        self.command = LIFT_CUBE.start_pose_base_tcp

    @property
    def now_s(self) -> float:
        return float(self.robot.state.time.to_sec())

    @property
    def position(self) -> np.ndarray:
        return np.array(self.robot.current_pose.end_effector_pose.translation)

    def move(self, goal: Pose, speed_m_s: float = 0.2) -> None:
        start, begin = self.command, self.now_s
        distance = np.linalg.norm(goal.position - start.position)
        turn = np.linalg.norm(rotation_between(start.quaternion, goal.quaternion))
        duration = max(distance / speed_m_s, turn, 0.05)
        fraction = 0.0
        while fraction < 1.0:
            fraction = min(1.0, (self.now_s - begin) / duration)
            position = start.position + fraction * (goal.position - start.position)
            w, x, y, z = slerp(start.quaternion, goal.quaternion, fraction)
            self.tracker.set_target(franky.Affine(position, np.array([x, y, z, w])))
            time.sleep(0.005)
        self.command = goal

    def wait(self, duration_s: float) -> None:
        begin = self.now_s
        while self.now_s - begin < duration_s:
            time.sleep(0.005)


@pytest.fixture(scope="module")
def cell() -> Iterator[MockCell]:
    with MockCell(MockCellAddresses.free(), seed=3) as running:
        yield running


@pytest.fixture(scope="module")
def scoring(cell: MockCell) -> Iterator[ScoringClient]:
    with ScoringClient(cell.addresses.scoring) as client:
        yield client


@pytest.fixture(scope="module")
def arm(cell: MockCell) -> Iterator[Arm]:
    arm = Arm(cell.addresses.robot)
    yield arm
    arm.tracker.stop()


def test_franky_moves_the_arm_and_the_state_follows(arm: Arm) -> None:
    goal = Pose(np.array(LIFT_CUBE.start_position_m) + [0.04, 0.05, -0.03], DOWN)
    arm.move(goal)
    arm.wait(0.5)
    assert np.allclose(arm.position, goal.position, atol=3e-3)


def test_robot_time_is_the_cells_time(arm: Arm, scoring: ScoringClient) -> None:
    before, truth, after = arm.now_s, scoring.truth().stamp, arm.now_s
    assert before - 0.002 <= truth <= after + 0.03


def test_frames_come_at_15_hz_of_robot_time_and_none_is_dropped(cell: MockCell, arm: Arm) -> None:
    frames = Frames(cell.addresses.frames)
    arm.wait(1.5)
    frames.close()
    stamps = np.array([header["stamp_s"] for header in frames.headers])
    assert len(stamps) >= 18
    assert np.allclose(np.diff(stamps), 1 / 15, atol=1.1e-3)
    assert np.all(np.diff([header["frame"] for header in frames.headers]) == 1)
    header = frames.headers[-1]
    pixels = header["width"] * header["height"]
    assert (len(frames.rgb), len(frames.depth)) == (3 * pixels, 2 * pixels)
    depth_m = np.frombuffer(frames.depth, np.uint16) * header["depth_scale_m"]
    assert 0.5 < np.median(depth_m) < 2.0


def _grasp(arm: Arm, scoring: ScoringClient, seed: int) -> Callable[[float], None]:
    """Places the cube and closes the fingers around it; returns what raises the tool to a height (m)."""
    arm.gripper.move(0.08, 0.1)
    cube = scoring.reset(seed).pose_base_object
    nearest = (yaw_of(cube.quaternion) + np.pi / 4) % (np.pi / 2) - np.pi / 4
    tool = quat_multiply(quat_from_yaw(nearest), DOWN)
    for height, speed in ((0.15, 0.2), (0.015, 0.06)):  # faster, it would overshoot into the table: a reflex
        arm.move(Pose(np.array([*cube.position[:2], height]), tool), speed)
        arm.wait(0.4)
    assert arm.gripper.grasp(0.04, 0.1, 30.0, 0.01, 0.01)
    return lambda height: arm.move(Pose(np.array([*cube.position[:2], height]), tool), speed_m_s=0.15)


@pytest.mark.timeout(60)
def test_a_grasp_of_nothing_ends_and_the_hand_opens_again(arm: Arm) -> None:
    assert arm.gripper.move(0.08, 0.1)
    assert arm.gripper.grasp(0.0, 0.1, 30.0, 0.005, 0.08)
    assert arm.gripper.state.width < 0.002
    assert arm.gripper.move(0.08, 0.1)
    assert arm.gripper.state.width > 0.078


def test_a_scripted_grasp_lifts_the_cube_and_the_scoring_channel_says_so(arm: Arm, scoring: ScoringClient) -> None:
    raise_tool = _grasp(arm, scoring, seed=11)
    assert arm.gripper.width == pytest.approx(0.04, abs=1.5e-3)
    start = scoring.truth()
    assert not start.success
    raise_tool(0.15)
    arm.wait(0.8)
    lifted = scoring.truth()
    assert lifted.success_stamp is not None
    assert start.stamp < lifted.success_stamp <= lifted.stamp
    assert lifted.height_above_rest_m > LIFT_CUBE.lift_height_m
    assert arm.robot.state.O_F_ext_hat_K[2] == pytest.approx(CUBE_MASS_KG * 9.81, abs=0.2)  # the robot carries it
    arm.gripper.move(0.08, 0.1)
    arm.wait(0.3)
    assert not arm.gripper.state.is_grasped
    assert scoring.truth().height_above_rest_m < 0.01


def test_a_cube_taken_out_of_the_fingers_lets_them_close(arm: Arm, scoring: ScoringClient) -> None:
    _grasp(arm, scoring, seed=12)(0.10)
    assert arm.gripper.state.is_grasped
    scoring.disturb("take_object")
    arm.wait(0.8)
    assert arm.gripper.width < 0.005
    assert not arm.gripper.state.is_grasped
    assert abs(arm.robot.state.O_F_ext_hat_K[2]) < 0.2


def test_reset_is_the_same_for_the_same_seed_and_stays_in_the_tasks_area(scoring: ScoringClient) -> None:
    poses = [scoring.reset(seed).pose_base_object for seed in (1, 2, 3, 1)]
    assert np.allclose(poses[0].position, poses[3].position)
    assert np.allclose(poses[0].quaternion, poses[3].quaternion)
    assert not np.allclose(poses[0].position, poses[1].position)
    for pose in poses:
        assert np.all(pose.position[:2] >= LIFT_CUBE.object_low_m)
        assert np.all(pose.position[:2] <= LIFT_CUBE.object_high_m)


def test_a_second_start_on_the_same_addresses_is_refused_in_one_sentence(cell: MockCell) -> None:
    with pytest.raises(PortInUse, match=r"^Port \d+ on 127\..* is in use\. Another mock cell"):
        MockCell(cell.addresses).start()


def _listens(addresses: MockCellAddresses) -> bool:
    host, port = addresses.endpoints()[0]
    with socket.socket() as probe:
        return probe.connect_ex((host, port)) == 0


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z"
    except FileNotFoundError:
        return True


_HOLD_A_CELL = """
import signal, sys, time
from robot_runtime.mock_cell.cell_process import MockCell, MockCellAddresses
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs start with it ignored
with MockCell(MockCellAddresses(*sys.argv[1:])):
    print("started", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGKILL])
def test_no_process_or_port_is_left_when_the_starter_ends(ending: signal.Signals) -> None:
    addresses = MockCellAddresses.free()
    command = [sys.executable, "-c", _HOLD_A_CELL, addresses.robot, addresses.frames, addresses.scoring]
    path = os.pathsep.join([str(Path(__file__).resolve().parents[2]), os.environ.get("PYTHONPATH", "")])
    starter = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env={**os.environ, "PYTHONPATH": path}
    )
    assert starter.stdout is not None
    assert starter.stdout.readline() == b"started\n"
    children = _children(starter.pid)
    assert len(children) == 2
    assert _listens(addresses)
    starter.send_signal(ending)
    starter.wait(20)
    deadline = time.monotonic() + 10
    while not all(_is_gone(child) for child in children) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert all(_is_gone(child) for child in children)
    assert not _listens(addresses)
