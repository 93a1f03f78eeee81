"""Where a cube is, from its mask and the depth under it: its known size fitted to the faces the camera sees."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from contract.poses import Pose, quat_from_yaw

MIN_POINTS = 25
_DEPTH_SIGMA_M = 0.002
"""Weighting scale of the robust fit: depth noise of a D435 at 0.9 m (datasheet 337029: below 2 % of the range)."""
_STARTS_RAD = np.deg2rad([0.0, 30.0, 60.0])
_FIRST_ITERATIONS, _LAST_ITERATIONS = 4, 8
_MAX_STEP = np.array([0.02, 0.02, 0.02, 0.2])
_NOTHING_KNOWN = np.diag([0.1, 0.1, 0.1, 1e-5])
"""Information that keeps an unseen direction where the fit started, in units of one point."""
_CENTRING_WEIGHT = 5.0
_WHOLE_SHARE = 0.7
"""Seen over this share of the edge, a cube counts as unhidden in that direction."""
_MAX_RESIDUAL_M = 0.006
_MAX_OVERSIZE_M = 0.015
_TABLE_TOLERANCE_M = 0.012
"""A cube that seems sunk into the table (z = 0 in the base frame) by more than this is no cube."""
_CORRELATION = 4.0
"""Neighbouring pixels err together: so many count as one."""
_FLOOR = np.diag([0.0005, 0.0005, 0.0005, 0.005]) ** 2


@dataclass(frozen=True)
class CubeMeasurement:
    """One cube, upright, in the base frame.

    position: centre, metres. Shape: (3,). yaw: radians, the representative nearest to the hint, modulo 90 degrees.
    covariance: of x, y, z, yaw. Shape: (4, 4). residual_m: typical distance of the points from the fitted faces.
    """

    position: np.ndarray
    yaw: float
    covariance: np.ndarray
    residual_m: float

    @property
    def pose_base_object(self) -> Pose:
        """Position and yaw as a pose."""
        return Pose(self.position, quat_from_yaw(np.asarray(self.yaw)))


def nearest_quarter_turn(yaw: float, hint: float) -> float:
    """`yaw` plus the multiple of 90 degrees that brings it nearest to `hint`."""
    return yaw + np.pi / 2 * round((hint - yaw) / (np.pi / 2))


def points_under_mask(mask: np.ndarray, depth_m: np.ndarray, K: np.ndarray, T_base_camera: Pose) -> np.ndarray:
    """Base-frame points of the mask's inside; its rim, where depth mixes two surfaces, is left out. Shape: (N, 3)"""
    # A padded border: a cube cut by the picture's edge loses its rim there as well.
    inside = cv2.erode(np.pad(mask, 1).astype(np.uint8), np.ones((3, 3), np.uint8))[1:-1, 1:-1] > 0
    v, u = np.nonzero(inside & (depth_m > 0))
    z = depth_m[v, u].astype(float)
    rays = np.stack([(u - K[0, 2]) / K[0, 0], (v - K[1, 2]) / K[1, 1], np.ones_like(z)], axis=1)
    points: np.ndarray = T_base_camera.apply(rays * z[:, None])
    return points


def _distance_and_normal(local: np.ndarray, half_m: float) -> tuple[np.ndarray, np.ndarray]:
    """Signed distance of points to a cube's surface, and its gradient. Shapes: (N, 3) -> (N,), (N, 3)"""
    beyond = np.abs(local) - half_m
    outside = np.maximum(beyond, 0.0)
    length = np.linalg.norm(outside, axis=1)
    nearest_face = np.eye(3)[np.argmax(beyond, axis=1)]
    is_outside = length > 1e-9
    direction = np.where(is_outside[:, None], outside / np.maximum(length, 1e-9)[:, None], nearest_face)
    return np.where(is_outside, length, beyond.max(axis=1)), direction * np.sign(local)


def _fit(
    points: np.ndarray, start: np.ndarray, half_m: float, iterations: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Gauss-Newton on robust distances to the cube's surface: parameters (x, y, z, yaw), information, distances."""
    guess = start.copy()
    for step in range(iterations + 1):
        c, s = np.cos(guess[3]), np.sin(guess[3])
        R = np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])
        local = (points - guess[:3]) @ R
        distance, normal = _distance_and_normal(local, half_m)
        # Moving the cube by t changes a distance by -n.t; turning it by a, by n.(local x z) a.
        turn = normal[:, 0] * local[:, 1] - normal[:, 1] * local[:, 0]
        J = np.column_stack([-(normal @ R.T), turn])
        weight = 1.0 / (1.0 + (distance / (2 * _DEPTH_SIGMA_M)) ** 2)
        information = J.T @ (weight[:, None] * J) + _NOTHING_KNOWN
        gradient = J.T @ (weight * distance)
        # Along a face seen head-on the distances say nothing; there, what is seen must lie in the middle.
        low, high = local[:, :2].min(axis=0), local[:, :2].max(axis=0)
        trust = np.where(high - low > _WHOLE_SHARE * 2 * half_m, _CENTRING_WEIGHT, 0.0)
        information[:2, :2] += R[:2, :2] @ np.diag(trust) @ R[:2, :2].T
        gradient[:2] -= R[:2, :2] @ (trust * (low + high) / 2)
        if step < iterations:
            guess = guess + np.clip(-np.linalg.solve(information, gradient), -_MAX_STEP, _MAX_STEP)
    return guess, information, distance


def measure_cube(
    mask: np.ndarray,
    depth_m: np.ndarray,
    K: np.ndarray,
    T_base_camera: Pose,
    edge_m: float,
    yaw_hint: float = 0.0,
) -> CubeMeasurement | None:
    """The cube under a mask; None when too little of it is seen or what is seen is not that cube.

    mask: bool, depth_m: metres with 0 unknown, both (H, W). K: pixels (3, 3). edge_m: the cube's known edge.
    """
    points = points_under_mask(mask, depth_m, K, T_base_camera)
    if len(points) < MIN_POINTS:
        return None
    half_m = edge_m / 2
    middle = np.median(points, axis=0)
    points = points[np.linalg.norm(points - middle, axis=1) < 1.2 * edge_m]
    if len(points) < MIN_POINTS:
        return None
    # Seen faces are in front of the centre: start half an edge further along the viewing direction.
    away = middle - T_base_camera.position
    centre = middle + away / np.linalg.norm(away) * half_m * 0.8
    starts = [_fit(points, np.array([*centre, yaw]), half_m, _FIRST_ITERATIONS) for yaw in _STARTS_RAD]
    costs = [np.minimum(distance**2, _MAX_RESIDUAL_M**2).sum() for _, _, distance in starts]
    fitted, information, distance = _fit(points, starts[int(np.argmin(costs))][0], half_m, _LAST_ITERATIONS)
    residual_m = float(np.sqrt(np.mean(np.minimum(np.abs(distance), 2 * _MAX_RESIDUAL_M) ** 2)))
    extent = np.percentile(np.abs(points - fitted[:3]).max(axis=1), 95)
    too_large = extent > half_m * np.sqrt(2) + _MAX_OVERSIZE_M
    if residual_m > _MAX_RESIDUAL_M or too_large or fitted[2] < half_m - _TABLE_TOLERANCE_M:
        return None
    covariance = _CORRELATION * np.linalg.inv(information) * max(residual_m, 0.25 * _DEPTH_SIGMA_M) ** 2 + _FLOOR
    return CubeMeasurement(fitted[:3], nearest_quarter_turn(float(fitted[3]), yaw_hint), covariance, residual_m)
