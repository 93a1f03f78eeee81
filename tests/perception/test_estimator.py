"""Frames in, belief out: SDK, detector, pose fit and tracker together, on robot time."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import pytest

from contract.messages import ObjectState, RobotState
from contract.poses import Pose, yaw_of
from contract.tasks import LIFT_CUBE
from perception.camera import Frame
from perception.detector import Detector, weights_folder
from perception.estimator import Estimator, EstimatorFailed, RobotClock
from perception.pose_estimation import nearest_quarter_turn
from perception.realsense import open_camera
from robot_runtime.mock_cell.renders import Sample, render_samples
from tests.perception.frame_sender import DEPTH_SCALE_M, HEIGHT, RATE_HZ, SERIAL, WIDTH, FrameSender


@pytest.fixture(scope="module")
def sample() -> Sample:
    """A picture of a cube on the table in plain sight."""
    return next(s for s in render_samples(20, seed=990_100) if s.mask.sum() > 260 and not s.held)


@pytest.fixture(scope="module")
def detector() -> Detector:
    return Detector(weights_folder(LIFT_CUBE.name))


def eventually(condition: Callable[[], bool], timeout_s: float = 20.0) -> bool:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.02)
    return False


def robot(stamp: float, width: float = 0.08, closed: bool = False, position: np.ndarray | None = None) -> RobotState:
    pose = Pose(np.array([0.5, 0.0, 0.3]) if position is None else position, np.array([0.0, 1.0, 0.0, 0.0]))
    return RobotState(stamp, np.zeros(7), np.zeros(7), pose, np.zeros(6), np.zeros(6), width, stamp, closed)


def test_a_streamed_cube_is_believed_where_it_is_with_the_stamp_of_its_frame(
    sample: Sample, detector: Detector
) -> None:
    random = np.random.default_rng(1)

    def picture(_: int) -> tuple[np.ndarray, np.ndarray]:
        noisy = sample.depth_m + random.normal(0.0, 0.002, sample.depth_m.shape)
        return sample.rgb, np.clip(noisy / DEPTH_SCALE_M, 0, 65535).astype(np.uint16)

    sender = FrameSender(picture, sample.K)
    sender.start()
    told: list[tuple[float, ObjectState | None]] = []
    try:
        with (
            open_camera(sender.address, SERIAL, WIDTH, HEIGHT, RATE_HZ) as camera,
            Estimator(LIFT_CUBE, camera, detector, sample.T_base_camera, "robot") as estimator,
        ):
            estimator.on_estimate = lambda stamp, seen: told.append((stamp, seen))
            assert eventually(lambda: estimator.statistics.measured >= 5 and len(told) >= 3)
            belief = estimator.latest(robot(100.0))
            assert belief is not None
            frame = camera.read_latest(5.0)
            assert 100.0 < belief.stamp <= frame.stamp_s + 1e-6
    finally:
        sender.close()
    truth = sample.pose_base_object
    yaw, true_yaw = float(yaw_of(belief.pose_base_object.quaternion)), float(yaw_of(truth.quaternion))
    assert np.linalg.norm(belief.pose_base_object.position - truth.position) < 0.004
    assert abs(nearest_quarter_turn(true_yaw, yaw) - yaw) < np.deg2rad(5)
    assert all(seen is not None and seen.stamp == stamp for stamp, seen in told), "each frame's estimate, once"
    assert len({stamp for stamp, _ in told}) == len(told)
    assert not belief.held
    assert belief.confidence > 0.4


def test_calibrated_intrinsics_replace_the_cameras_own(sample: Sample, detector: Detector) -> None:
    """A camera that takes its lens for 3 % stronger than it is: 2 cm at this distance."""
    wrong = sample.K * np.array([[1.03, 1.0, 1.0], [1.0, 1.03, 1.0], [1.0, 1.0, 1.0]])
    frame = Frame(sample.rgb, sample.depth_m, wrong, 1, 100.0, "made up", 0.0)
    off_m = {}
    for name, K in (("own", None), ("calibrated", sample.K)):
        estimator = Estimator(LIFT_CUBE, NoCamera(), detector, sample.T_base_camera, "robot", K)
        measured = max(estimator.look(frame), key=lambda one: one[1])[0]
        off_m[name] = float(np.linalg.norm(measured.position - sample.pose_base_object.position))
    assert off_m["calibrated"] < 0.004
    assert off_m["own"] > 2 * off_m["calibrated"]


class NoCamera:
    """A camera whose driver has failed."""

    def read_latest(self, max_age_s: float) -> Frame:
        raise RuntimeError("device disconnected")

    def wait_newer(self, number: int | None, timeout_s: float) -> Frame | None:
        raise RuntimeError("device disconnected")


def test_a_dead_thread_is_reported_to_whoever_asks_next(detector: Detector) -> None:
    with Estimator(LIFT_CUBE, NoCamera(), detector, Pose(np.zeros(3), np.eye(4)[0]), "robot") as estimator:

        def failed() -> bool:
            try:
                return estimator.latest() is not None
            except EstimatorFailed as error:
                return "device disconnected" in str(error)

        assert eventually(failed, 5.0)


def test_host_time_maps_to_robot_time_by_the_state_that_arrived_fastest() -> None:
    clock = RobotClock()
    assert clock.robot_time(5.0) is None
    random = np.random.default_rng(0)
    for k in range(100):
        clock.see(10.0 + k / 100, 1000.0 + k / 100 + 0.001 + random.exponential(0.01))
    assert clock.robot_time(1002.0) == pytest.approx(12.0 - 0.001, abs=0.001)
