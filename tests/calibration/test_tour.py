"""Tours turn the wrist far, keep board and hand clear of the table and inside the workspace, and in the picture."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from calibration import kinematics, tour
from calibration.board import Board
from calibration.hand_eye import Mount, check_spread
from contract.poses import Pose, rotation_between
from contract.tasks import LIFT_CUBE
from robot_runtime.cell import Cell, load_cell
from robot_runtime.cell_limits import guard_limits

from .simulated import K

BOARD = Board()
MOUNTS: list[Mount] = ["fixed", "wrist"]


def room(cell: Cell, mount: Mount) -> tour.Room:
    q = np.array([0.0, -0.04, 0.0, -2.33, 0.0, 2.29, 0.785 if mount == "wrist" else -0.785])
    return tour.Room(cell.workspace, guard_limits(cell, 0.05).joints, q)


def eye(cell: Cell, mount: Mount) -> tour.Eye:
    if mount == "fixed":
        T = Pose.from_matrix(cell.camera.T_base_camera_matrix)
        return tour.Eye(mount, T, tour.held_board(BOARD), K, (424, 240))
    flat = Pose(np.array([0.55, 0.0, 0.0]), np.array([0.0, 1.0, -1.0, 0.0]) / np.sqrt(2))
    return tour.Eye(mount, tour.wrist_mount(), flat, K, (424, 240))


@pytest.fixture(scope="module", params=MOUNTS)
def planned(request: pytest.FixtureRequest) -> tuple[tour.Eye, tour.Room, Pose, list[Pose]]:
    cell = load_cell("mock")
    space, seen = room(cell, request.param), eye(cell, request.param)
    first = tour.first_looks(request.param, BOARD, space)[0][0]
    return seen, space, first, tour.plan(seen, BOARD, space, first)


def test_a_tour_has_enough_poses_with_enough_turning(planned) -> None:
    _, _, _, poses = planned
    assert 15 <= len(poses) <= 25
    check_spread(poses)
    turns = [np.linalg.norm(rotation_between(poses[0].quaternion, pose.quaternion)) for pose in poses]
    assert max(turns) > np.deg2rad(35)


def test_board_and_hand_stay_clear_of_the_table_and_inside_on_the_way_too(planned) -> None:
    seen, space, _, poses = planned
    low = space.workspace.low_m[2]
    for a, b in zip([poses[0], *poses], poses, strict=False):
        for share in np.linspace(0, 1, 5):
            position = a.position + share * (b.position - a.position)
            assert space.workspace.outside_m(position) <= 0.0
    for pose in poses:
        assert pose.apply(tour._HAND)[:, 2].min() > low + tour.CLEAR_M
        if seen.mount == "fixed":
            corners = (pose @ seen.T_other_board).apply(BOARD.outline_board())
            assert corners[:, 2].min() >= low + tour.CLEAR_M - 1e-9
            assert max(space.workspace.outside_m(corner) for corner in corners) <= 1e-9


def test_every_pose_is_within_reach_and_away_from_singular_ones(planned) -> None:
    _, space, _, poses = planned
    limits = space.joints
    for pose in poses:
        q = kinematics.joints_for(pose, space.q_near, limits.q_low, limits.q_high)
        assert q is not None
        assert np.linalg.norm(kinematics.tool_pose(q).position - pose.position) < 2e-4
        assert np.linalg.svd(kinematics.tool_jacobian(q), compute_uv=False)[-1] > limits.singular_value


def test_the_whole_board_is_in_the_picture_at_every_pose(planned) -> None:
    seen, _, _, poses = planned
    for pose in poses:
        A = pose if seen.mount == "fixed" else pose.inverse()
        p = (seen.T_reference_camera.inverse() @ A @ seen.T_other_board).apply(BOARD.outline_board())
        px = p[:, :2] / p[:, 2:] * [K[0, 0], K[1, 1]] + K[:2, 2]
        assert (px > 0).all()
        assert (px < [423, 239]).all()


def test_a_tour_is_the_same_for_the_same_seed(planned) -> None:
    seen, space, first, poses = planned
    again = tour.plan(seen, BOARD, space, first)
    assert all(np.array_equal(a.position, b.position) for a, b in zip(poses, again, strict=True))


def test_where_nothing_can_be_seen_there_is_no_tour() -> None:
    cell = load_cell("mock")
    space, seen = room(cell, "fixed"), eye(cell, "fixed")
    away = replace(seen, T_reference_camera=Pose(np.array([3.0, 3.0, 1.0]), np.array([1.0, 0.0, 0.0, 0.0])))
    first = tour.first_looks("fixed", BOARD, space)[0][0]
    with pytest.raises(tour.NoTour, match="poses show the whole board"):
        tour.plan(away, BOARD, space, first)


def test_forward_kinematics_agree_with_the_task_card() -> None:
    q = np.array(LIFT_CUBE.start_q_rad)
    tool = kinematics.tool_pose(q)
    assert np.allclose(tool.position, LIFT_CUBE.start_position_m, atol=1e-4)
    assert abs(tool.quaternion @ LIFT_CUBE.start_quaternion) > 1 - 1e-6


def test_the_jacobian_is_the_derivative_of_the_tool_pose() -> None:
    q, step = np.array([0.3, -0.4, 0.2, -2.0, 0.4, 2.1, 0.5]), 1e-6
    here, J = kinematics.tool_pose(q), kinematics.tool_jacobian(q)
    for i in range(7):
        moved = kinematics.tool_pose(q + step * np.eye(7)[i])
        turn = rotation_between(here.quaternion, moved.quaternion)
        change = np.concatenate([moved.position - here.position, turn]) / step
        assert np.allclose(change, J[:, i], atol=1e-4)
