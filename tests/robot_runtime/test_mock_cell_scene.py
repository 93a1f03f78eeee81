"""The scene and its labelled renders agree with each other and with the cell file."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest

from calibration.board import Board
from calibration.kinematics import joints_for, tool_pose
from calibration.tour import held_board
from contract.poses import Pose, quat_from_axis_angle
from contract.tasks import LIFT_CUBE
from robot_runtime.cell import load_cell
from robot_runtime.mock_cell import looks, renders, scene
from robot_runtime.mock_cell.camera import Pictures
from robot_runtime.mock_cell.snapshots import PlainPose, ShownBoard, Snapshot, View


@pytest.fixture(scope="module")
def samples() -> list[renders.Sample]:
    return list(renders.render_samples(8, seed=5))


def test_every_visible_point_of_the_cube_lies_on_its_labelled_faces(samples: list[renders.Sample]) -> None:
    seen = [sample for sample in samples if sample.mask.sum() > 40]
    assert len(seen) >= 4
    for sample in seen:
        v, u = np.nonzero(sample.mask)
        rays = np.linalg.solve(sample.K, np.stack([u, v, np.ones_like(u)]).astype(float)).T
        points = sample.T_base_camera.apply(rays * sample.depth_m[v, u][:, None])
        on_cube = np.abs(sample.pose_base_object.inverse().apply(points)).max(axis=1)
        assert np.allclose(on_cube, scene.CUBE_EDGE_M / 2, atol=2e-4)


def test_the_same_seed_gives_the_same_pictures(samples: list[renders.Sample]) -> None:
    again = next(renders.render_samples(1, seed=5))
    assert np.array_equal(again.rgb, samples[0].rgb)
    assert not np.array_equal(samples[0].rgb, samples[1].rgb)


def test_the_arm_starts_at_the_tasks_tool_pose() -> None:
    model = scene.build_model()
    data = mujoco.MjData(model)
    data.qpos[:7] = LIFT_CUBE.start_q_rad
    mujoco.mj_kinematics(model, data)
    hand = data.body("robot0_hand")
    tool = hand.xpos + hand.xmat.reshape(3, 3)[:, 2] * scene.TCP_FROM_HAND_M
    assert np.allclose(tool, LIFT_CUBE.start_position_m, atol=1e-4)
    assert abs(hand.xquat @ LIFT_CUBE.start_quaternion) > 1 - 1e-6


def test_no_distractor_has_the_cubes_colour() -> None:
    rng = np.random.default_rng(0)
    for _ in range(300):
        red, green, blue = looks.distractor_rgb(rng)
        assert red < 2.6 * max(green, blue) + 0.02


@pytest.mark.parametrize("name", ["apriltag:4x3:60:48", "charuco:5x4:45:33"])
def test_a_shown_board_is_rendered_where_it_is(name: str) -> None:
    board, pictures = Board.parse(name), Pictures()
    K = scene.intrinsics(scene.CAMERA_WIDTH, scene.CAMERA_HEIGHT).matrix()
    camera = scene.look_at(np.array([1.15, -0.2, 0.6]), np.array([0.5, 0.0, 0.2]))
    T_tcp_board = held_board(board) @ Pose(
        np.array([0.01, -0.02, 0.01]), quat_from_axis_angle(np.array([0.1, 0.2, -0.1]))
    )
    qpos = pictures._data.qpos.copy()
    qpos[:7] = joints_for(_towards(camera, board), np.array([0, 0, 0, -2.3, 0, 2.3, -0.8]), -2.9 * ONES, 3.7 * ONES)
    view = View(camera=_plain(camera), board=ShownBoard(name, "tool", _plain(T_tcp_board)))
    try:
        rgb, depth_m = pictures.of(Snapshot(1, 0.0, qpos, view))
    finally:
        pictures.close()
    found = board.find(rgb)
    p = (camera.inverse() @ tool_pose(qpos[:7]) @ T_tcp_board).apply(found.points_board)
    expected = p[:, :2] / p[:, 2:] * [K[0, 0], K[1, 1]] + K[:2, 2]
    assert np.sqrt(((found.corners_px - expected) ** 2).sum(axis=1).mean()) < 0.3
    u, v = np.round(expected).astype(int).T
    known = depth_m[v, u] > 0
    assert known.mean() > 0.7
    assert np.abs(depth_m[v, u] - p[:, 2])[known].max() < 0.01


ONES = np.ones(7)


def _plain(pose: Pose) -> PlainPose:
    x = [*pose.position.tolist(), *pose.quaternion.tolist()]
    return (x[0], x[1], x[2], x[3], x[4], x[5], x[6])


def _towards(camera: Pose, board: Board) -> Pose:
    """The tool over the table, the held board's face to the camera."""
    turned = Pose(np.zeros(3), camera.quaternion) @ held_board(board).inverse()
    return Pose(np.array([0.45, 0.0, 0.35]), turned.quaternion)


def test_the_wrist_camera_moves_with_the_hand() -> None:
    board, pictures = Board(), Pictures()
    K = scene.intrinsics(scene.CAMERA_WIDTH, scene.CAMERA_HEIGHT).matrix()
    T_base_board = Pose(np.array([0.55, 0.0, 0.003]), np.array([0.0, 1.0, -1.0, 0.0]) / np.sqrt(2))
    qpos = pictures._data.qpos.copy()
    qpos[:7] = LIFT_CUBE.start_q_rad
    shown = View(board=ShownBoard(str(board), "table", _plain(T_base_board)))
    try:
        rgb, _ = pictures.of(Snapshot(1, 0.0, qpos, shown), scene.WRIST_CAMERA_NAME)
    finally:
        pictures.close()
    found = board.find(rgb)
    p = (scene.nominal_T_tcp_camera().inverse() @ tool_pose(qpos[:7]).inverse() @ T_base_board).apply(
        found.points_board
    )
    expected = p[:, :2] / p[:, 2:] * [K[0, 0], K[1, 1]] + K[:2, 2]
    assert np.sqrt(((found.corners_px - expected) ** 2).sum(axis=1).mean()) < 0.3


def test_the_cell_file_says_where_the_cameras_are() -> None:
    wrist = load_cell("mock").wrist_camera
    assert wrist is not None
    assert np.allclose(wrist.T_tcp_camera_matrix, scene.nominal_T_tcp_camera().matrix(), atol=1e-6)
    T = scene.nominal_T_base_camera().matrix()
    written = load_cell("mock").camera.T_base_camera_matrix
    assert np.allclose(written, T, atol=1e-3), f"launch/cells/mock.yaml: T_base_camera must be {T.round(5).tolist()}"
