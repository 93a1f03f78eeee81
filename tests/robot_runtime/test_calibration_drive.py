"""The drive of a calibration: smooth ways from where the arm really is, pictures of rest only, no waiting for ever."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from contract.messages import Setpoint
from contract.poses import Pose
from perception.camera import CameraStalled, Frame
from robot_runtime.calibration_drive import Drive, _eased
from robot_runtime.wire import Executed

DOWN = np.array([0.0, 1.0, 0.0, 0.0])


class Arm:
    """A bridge whose arm is at once where it is told to be, but never beyond x = wall_m."""

    def __init__(self, wall_m: float = 10.0) -> None:
        self.wall_m, self.now, self.pose = wall_m, 0.0, Pose(np.array([0.5, 0.0, 0.3]), DOWN)
        self.asked: list[Setpoint] = []

    def stop(self) -> None: ...
    def arm(self) -> None: ...
    def check(self) -> None: ...
    def move_home(self, q: np.ndarray) -> None: ...

    def latest(self) -> SimpleNamespace:
        return SimpleNamespace(stamp=self.now, pose_base_tcp=self.pose, v_base_tcp=np.zeros(6))

    def status(self) -> SimpleNamespace:
        return SimpleNamespace(command_base_tcp=self.pose)

    def wait_until(self, due: float) -> SimpleNamespace:
        self.now = max(self.now, due)
        return self.latest()

    def send(self, setpoint: Setpoint) -> Executed:
        self.asked.append(setpoint)
        x, y, z = setpoint.pose_base_tcp.position
        self.pose = Pose(np.array([min(x, self.wall_m), y, z]), setpoint.pose_base_tcp.quaternion)
        return Executed(setpoint.sequence, self.now, self.pose)


class Camera:
    """A picture at every look, stamped with the arm's time, late by a constant."""

    def __init__(self, arm: Arm, late_s: float = 0.0) -> None:
        self._arm, self._late_s, self._count = arm, late_s, 0

    def wait_newer(self, number: int | None, timeout_s: float) -> Frame:
        self._count += 1
        pixel = np.zeros((1, 1))
        return Frame(pixel, pixel, np.eye(3), self._count, self._arm.now - self._late_s, "hardware_clock", 0.0)

    def read_latest(self, max_age_s: float) -> Frame:
        return self.wait_newer(None, 0.0)


def drive(arm: Arm, late_s: float = 0.0) -> Drive:
    driven = Drive(arm, Camera(arm, late_s), "robot")
    driven.begin(np.zeros(7))
    return driven


@pytest.mark.parametrize("ramp", [0.1, 0.3, 0.5])
def test_speed_rises_and_falls_evenly_and_the_whole_way_is_gone(ramp: float) -> None:
    shares = np.linspace(0.0, 1.0, 401)
    way, rate = np.array([_eased(float(share), ramp) for share in shares]).T
    assert (way[0], way[-1]) == pytest.approx((0.0, 1.0))
    assert (rate[0], rate[-1]) == pytest.approx((0.0, 0.0))
    assert np.allclose(np.gradient(way, shares)[1:-1], rate[1:-1], atol=0.02)


def test_setpoints_keep_below_the_speeds_of_shared_spaces() -> None:
    arm = Arm()
    driven = drive(arm)
    driven.go(Pose(np.array([0.6, 0.2, 0.4]), np.array([0.0, np.cos(0.4), np.sin(0.4), 0.0])))
    positions = np.array([setpoint.pose_base_tcp.position for setpoint in arm.asked])
    assert np.linalg.norm(np.diff(positions, axis=0), axis=1).max() <= 0.25 * driven.period_s
    assert max(np.linalg.norm(setpoint.twist_base_tcp[:3]) for setpoint in arm.asked) <= 0.25
    assert np.allclose(positions[-1], [0.6, 0.2, 0.4])


def test_a_way_begins_where_the_guard_let_the_arm_go_to() -> None:
    arm = Arm(wall_m=0.55)
    driven = drive(arm)
    driven.go(Pose(np.array([0.7, 0.0, 0.3]), DOWN))
    sent = len(arm.asked)
    driven.go(Pose(np.array([0.5, 0.0, 0.3]), DOWN))
    assert arm.asked[sent].pose_base_tcp.position[0] <= 0.55


def test_only_pictures_of_rest_are_taken() -> None:
    arm = Arm()
    driven = drive(arm, late_s=0.07)
    driven.go(Pose(np.array([0.55, 0.0, 0.3]), DOWN))
    rested = arm.now
    frames, pose = driven.frames_at_rest()
    assert len(frames) == 2
    assert all(frame.stamp_s >= rested - 1e-9 for frame in frames)
    assert np.allclose(pose.position, [0.55, 0.0, 0.3])


def test_a_camera_on_another_clock_is_not_waited_for_without_end() -> None:
    arm = Arm()
    driven = drive(arm, late_s=1000.0)
    with pytest.raises(CameraStalled, match=r"camera\.clock"):
        driven.frames_at_rest()
