"""Samples of a camera and a board that exist only as numbers: random geometry, noise on pixels and tool poses."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from calibration.board import Board, BoardView
from calibration.hand_eye import Mount, Sample
from contract.poses import Pose, quat_from_axis_angle, quat_multiply, rotation_between

K = np.array([[312.6, 0.0, 211.5], [0.0, 312.6, 119.5], [0.0, 0.0, 1.0]])


def corners(board: Board) -> np.ndarray:
    """All corners of a tag board, its own frame. Shape: (N, 3)"""
    half = board.marker_m / 2
    across, down = np.meshgrid(np.arange(board.columns), np.arange(board.rows))
    tags = np.stack([across.ravel(), down.ravel(), 0 * across.ravel()], axis=1) * board.square_m
    tags = tags - tags.mean(axis=0)
    ring = np.array([[-half, -half, 0], [half, -half, 0], [half, half, 0], [-half, half, 0]])
    return (tags[:, None] + ring).reshape(-1, 3)


def random_pose(random: np.random.Generator, most_m: float, most_rad: float) -> Pose:
    axis = random.normal(size=3)
    turn = axis / np.linalg.norm(axis) * random.uniform(0, most_rad)
    return Pose(random.uniform(-most_m, most_m, 3), quat_from_axis_angle(turn))


def collect(
    seed: int,
    mount: Mount = "fixed",
    count: int = 20,
    noise_px: float = 0.2,
    tilt_rad: float = np.deg2rad(45),
    lens: np.ndarray = K,
) -> tuple[list[Sample], Pose]:
    """Samples, and T_reference_camera as it truly is."""
    random = np.random.default_rng(seed)
    points = corners(Board())
    near = 0.6 if mount == "fixed" else 0.3
    T_reference_camera = random_pose(random, 1.0 if mount == "fixed" else 0.1, np.pi)
    T_other_board = random_pose(random, 0.1 if mount == "fixed" else 0.6, np.pi)
    samples = []
    for _ in range(count):
        turn = random_pose(random, 0.0, tilt_rad).quaternion
        place = np.array([*random.uniform(-0.1, 0.1, 2), random.uniform(near, near + 0.3)])
        T_camera_board = Pose(place, turn)
        A = T_reference_camera @ T_camera_board @ T_other_board.inverse()
        p = T_camera_board.apply(points)
        px = p[:, :2] / p[:, 2:] * [lens[0, 0], lens[1, 1]] + lens[:2, 2] + random.normal(0, noise_px, (len(p), 2))
        tool = A if mount == "fixed" else A.inverse()
        shaken = Pose(
            tool.position + random.normal(0, 1e-4, 3),
            quat_multiply(quat_from_axis_angle(random.normal(0, 2e-4, 3)), tool.quaternion),
        )
        samples.append(Sample(shaken, BoardView(np.arange(len(points)), px, points)))
    return samples, T_reference_camera


def spoil(samples: list[Sample], share: float, seed: int) -> list[Sample]:
    """That share of them with the tool elsewhere, or with corners taken for others."""
    random = np.random.default_rng(seed)
    spoilt = list(samples)
    for k, i in enumerate(random.choice(len(samples), round(share * len(samples)), replace=False)):
        if k % 2:
            view = samples[i].view
            spoilt[i] = replace(samples[i], view=replace(view, corners_px=np.roll(view.corners_px, 4, axis=0)))
        else:
            off = random_pose(random, 0.08, 0.3)
            tool = samples[i].pose_base_tcp
            moved = Pose(tool.position + off.position, quat_multiply(off.quaternion, tool.quaternion))
            spoilt[i] = replace(samples[i], pose_base_tcp=moved)
    return spoilt


def error_mm(found: Pose, truth: Pose) -> float:
    return 1e3 * float(np.linalg.norm(found.position - truth.position))


def error_deg(found: Pose, truth: Pose) -> float:
    return float(np.rad2deg(np.linalg.norm(rotation_between(found.quaternion, truth.quaternion))))
