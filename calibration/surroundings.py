"""What the same pictures tell besides: where the table is, and how late the camera is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from calibration.hand_eye import HandEye
from contract.poses import Pose, slerp
from safety.workspace import Workspace

LEAST_DEPTH = 0.02
"""Part of a picture whose depth must be known."""
_NEAR_TABLE_M = 0.04
"""Points so far from z = 0 may be the table's."""
_ON_PLANE_M = 0.008
_LEAST_POINTS = 500
_LATEST_S, _EARLIEST_S = 0.25, -0.10
_LAG_STEP_S = 0.002


class NoDepth(RuntimeError):
    """The camera gives no depth: uncover both of its lenses, and turn its emitter on."""


@dataclass(frozen=True)
class Table:
    """The plane normal · p = offset_m in the base frame; height_m: of it at the workspace's middle.

    rms_m: of the points on it.
    """

    normal: tuple[float, float, float]
    offset_m: float
    height_m: float
    rms_m: float
    points: int


@dataclass(frozen=True)
class Look:
    """The board's centre in one picture taken in motion. stamp_s: of the picture, robot time as far as it is known."""

    stamp_s: float
    corners_px: np.ndarray
    points_board: np.ndarray


def check_depth(depth_m: np.ndarray) -> None:
    """Raises NoDepth for an image without."""
    known = float(np.mean(depth_m > 0))
    if known < LEAST_DEPTH:
        raise NoDepth(f"Depth is known in {known:.0%} of the picture. {NoDepth.__doc__}")


def points_in_base(depth_m: np.ndarray, K: np.ndarray, T_base_camera: Pose, stride: int = 3) -> np.ndarray:
    """Of every third row and column. Shape: (H, W) -> (N, 3)"""
    v, u = np.mgrid[0 : depth_m.shape[0] : stride, 0 : depth_m.shape[1] : stride]
    z = depth_m[::stride, ::stride]
    known = z > 0
    rays = np.stack([(u - K[0, 2]) / K[0, 0], (v - K[1, 2]) / K[1, 1], np.ones_like(u)], axis=-1)
    return np.asarray(T_base_camera.apply((rays * z[..., None])[known]))


def without_board(depth_m: np.ndarray, corners_px: np.ndarray) -> np.ndarray:
    """The depth image with nothing where the board is, which is no table. Shapes: (H, W), (N, 2)"""
    middle = corners_px.mean(axis=0)
    hull = cv2.convexHull((middle + 1.4 * (corners_px - middle)).astype(np.float32).reshape(-1, 1, 2))
    left = depth_m.copy()
    cv2.fillConvexPoly(left, np.round(hull).astype(np.int32), 0.0)
    return left


def table_plane(points_base: np.ndarray, workspace: Workspace) -> Table | None:
    """The plane that most points near z = 0 in the workspace lie on; None where there are too few. Shape: (N, 3)"""
    low, high = np.array(workspace.low_m), np.array(workspace.high_m)
    inside = ((points_base[:, :2] > low[:2]) & (points_base[:, :2] < high[:2])).all(axis=1)
    near = points_base[inside & (np.abs(points_base[:, 2]) < _NEAR_TABLE_M)]
    if len(near) < _LEAST_POINTS:
        return None
    random, best = np.random.default_rng(0), np.zeros(len(near), bool)
    for _ in range(100):
        three = near[random.choice(len(near), 3, replace=False)]
        normal = np.cross(three[1] - three[0], three[2] - three[0])
        if (length := np.linalg.norm(normal)) < 1e-4:
            continue
        on = np.abs((near - three[0]) @ (normal / length)) < _ON_PLANE_M
        if on.sum() > best.sum():
            best = on
    if best.sum() < _LEAST_POINTS:
        return None
    on_it = near[best]
    middle = on_it.mean(axis=0)
    normal = np.linalg.svd(on_it - middle, full_matrices=False)[2][2]
    normal = normal if normal[2] > 0 else -normal
    rms = float(np.sqrt(np.mean(((on_it - middle) @ normal) ** 2)))
    offset = float(normal @ middle)
    centre = (low[:2] + high[:2]) / 2
    height = (offset - float(normal[:2] @ centre)) / float(normal[2])
    return Table((float(normal[0]), float(normal[1]), float(normal[2])), offset, height, rms, len(on_it))


def pose_at(stamps: np.ndarray, poses: Sequence[Pose], when: float) -> Pose:
    """Of a recorded way, between two of its poses. Shape of stamps: (N,)"""
    after = int(np.clip(np.searchsorted(stamps, when), 1, len(stamps) - 1))
    a, b = poses[after - 1], poses[after]
    span = max(float(stamps[after] - stamps[after - 1]), 1e-9)
    share = float(np.clip((when - stamps[after - 1]) / span, 0.0, 1.0))
    return Pose(a.position + share * (b.position - a.position), slerp(a.quaternion, b.quaternion, share))


def camera_delay(looks: Sequence[Look], stamps: np.ndarray, poses: Sequence[Pose], solved: HandEye) -> float | None:
    """Seconds by which pictures are older than their stamps say; None where too little moved.

    Cross-correlation of where the board's centre was seen with where the tool's motion puts it, over lags.
    """
    first, last = stamps[0] + _LATEST_S, stamps[-1] + _EARLIEST_S
    inside = [look for look in looks if first < look.stamp_s < last]
    if len(inside) < 8:
        return None
    seen = np.array([look.corners_px.mean(axis=0) for look in inside])
    lags = np.arange(_EARLIEST_S, _LATEST_S, _LAG_STEP_S)
    scores = np.array([_likeness(seen, _expected(inside, stamps, poses, solved, lag)) for lag in lags])
    best = int(np.argmax(scores))
    if not np.isfinite(scores).all() or not 0 < best < len(lags) - 1 or scores[best] < 0.9:
        return None
    left, peak, right = scores[best - 1 : best + 2]
    bend = left - 2 * peak + right
    return float(lags[best] + (0.0 if bend == 0 else 0.5 * _LAG_STEP_S * (left - right) / bend))


def _expected(
    looks: Sequence[Look], stamps: np.ndarray, poses: Sequence[Pose], solved: HandEye, lag: float
) -> np.ndarray:
    """Mean corner of each look if it was taken `lag` before its stamp. Shape: (N, 2)"""
    rows = []
    for look in looks:
        tool = pose_at(stamps, poses, look.stamp_s - lag)
        A = tool if solved.mount == "fixed" else tool.inverse()
        p = (solved.T_reference_camera.inverse() @ A @ solved.T_other_board).apply(look.points_board)
        rows.append((p[:, :2] / p[:, 2:]).mean(axis=0) * solved.K[[0, 1], [0, 1]])
    return np.array(rows)


def _likeness(a: np.ndarray, b: np.ndarray) -> float:
    """Normalised correlation of two paths (N, 2)."""
    a, b = a - a.mean(axis=0), b - b.mean(axis=0)
    size = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float((a * b).sum()) / size if size > 10.0 else float("nan")
