"""On the mock cell somebody must fasten the board, and may put the camera elsewhere: through the scoring channel."""

from __future__ import annotations

import numpy as np

from calibration import tour
from calibration.board import Board
from calibration.hand_eye import Mount
from contract.poses import Pose, quat_from_axis_angle, quat_multiply
from robot_runtime.mock_cell import scene
from robot_runtime.mock_cell.scoring import ScoringClient

_OFF_M, _OFF_RAD = 0.015, np.deg2rad(5.0)
"""Standard deviations of how a person clamps a board, or mounts a wrist camera."""
_TABLE_M = (0.52, 0.0)


def plain(pose: Pose) -> list[float]:
    """As the scoring channel wants it."""
    return [*map(float, pose.position), *map(float, pose.quaternion)]


def _off(pose: Pose, random: np.random.Generator) -> Pose:
    turn = quat_from_axis_angle(random.normal(0.0, _OFF_RAD, 3))
    return Pose(pose.position + random.normal(0.0, _OFF_M, 3), np.asarray(quat_multiply(turn, pose.quaternion)))


def show(scoring: ScoringClient, mount: Mount, board: Board, seed: int) -> None:
    """Clamps the board into the hand, or lays it on the table, not quite as planned; the cube is put out of sight."""
    random = np.random.default_rng(seed)
    scoring.disturb("take_object")
    if mount == "fixed":
        scoring.disturb("show_board", board=str(board), on="tool", pose=plain(_off(tour.held_board(board), random)))
        return
    yaw = random.normal(-np.pi / 2, 0.2)
    flat = quat_multiply(quat_from_axis_angle(np.array([0.0, 0.0, yaw])), np.array([0.0, 1.0, 0.0, 0.0]))
    place = np.array([*(np.array(_TABLE_M) + random.normal(0.0, 0.02, 2)), scene.BOARD_THICKNESS_M])
    scoring.disturb("show_board", board=str(board), on="table", pose=plain(Pose(place, np.asarray(flat))))


def take_away(scoring: ScoringClient) -> None:
    """Takes the board out of the pictures."""
    scoring.disturb("show_board")


def random_camera(mount: Mount, seed: int) -> Pose:
    """Where a laboratory might have put its camera: T_base_camera, or T_tcp_camera of a wrist camera."""
    random = np.random.default_rng([seed, 1])
    if mount == "wrist":
        return _off(scene.nominal_T_tcp_camera(), random)
    azimuth, elevation = np.deg2rad(random.uniform(-60, 60)), np.deg2rad(random.uniform(20, 55))
    away = np.array([np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation)])
    target = np.array([0.52, 0.0, 0.22]) + random.normal(0.0, 0.03, 3)
    roll = float(random.normal(0.0, np.deg2rad(5.0)))
    return scene.look_at(target + random.uniform(0.75, 1.0) * away, target, roll)


def place(scoring: ScoringClient, mount: Mount, pose: Pose) -> None:
    """Puts the camera there."""
    scoring.disturb("place_camera", pose=plain(pose), wrist=mount == "wrist")
