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
_FIRST_ITERATIONS, _LAST_ITERATIONS = 3, 4
_MAX_STEP = np.array([0.02, 0.02, 0.02, 0.2])
_NOTHING_KNOWN = np.diag([0.1, 0.1, 0.1, 1e-5])
"""Information that keeps an unseen direction where the fit started, in units of one point."""
_OUTLINE_WEIGHT = 0.5
_HIDING_M = 0.008
"""A surface beside the mask that is this much nearer hides part of the object."""
_CORNERS = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], float)
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


def _face_equations(points: np.ndarray, guess: np.ndarray, half_m: float) -> tuple[np.ndarray, np.ndarray]:
    """Distances of points to the surface of the cube (x, y, z, yaw), and how they change with it. (N,), (N, 4)"""
    c, s = np.cos(guess[3]), np.sin(guess[3])
    R = np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])
    local = (points - guess[:3]) @ R
    distance, normal = _distance_and_normal(local, half_m)
    # Moving the cube by t changes a distance by -n.t; turning it by a, by n.(local x z) a.
    turn = normal[:, 0] * local[:, 1] - normal[:, 1] * local[:, 0]
    return distance, np.column_stack([-(normal @ R.T), turn])


@dataclass(frozen=True)
class _Outline:
    """Where the cube's outline was seen. edge_px: points on it, pixels (M, 2). px_m: size of a pixel there, metres."""

    edge_px: np.ndarray
    px_m: float
    K: np.ndarray
    T_camera_base: Pose

    def distance(self, guess: np.ndarray, half_m: float) -> np.ndarray:
        """How far outside the projected cube each point lies, metres at the cube. Shape: (M,)"""
        c, s = np.cos(guess[3]), np.sin(guess[3])
        R = np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])
        corners = self.T_camera_base.apply(half_m * _CORNERS @ R.T + guess[:3]) @ self.K.T
        hull = cv2.convexHull((corners[:, :2] / corners[:, 2:]).astype(np.float32))[:, 0].astype(float)
        along = np.roll(hull, -1, axis=0) - hull
        outward = np.stack([along[:, 1], -along[:, 0]], axis=1) / np.linalg.norm(along, axis=1)[:, None]
        outward *= np.sign(np.sum((hull - hull.mean(axis=0)) * outward, axis=1))[:, None]
        beyond = self.edge_px @ outward.T - np.sum(hull * outward, axis=1)
        inside_or_out: np.ndarray = beyond.max(axis=1) * self.px_m
        return inside_or_out

    def equations(self, guess: np.ndarray, half_m: float) -> tuple[np.ndarray, np.ndarray]:
        """Distances and how they change with (x, y, z, yaw), by differences. Shapes: (M,), (M, 4)"""
        distance = self.distance(guess, half_m)
        steps = np.diag([1e-4, 1e-4, 1e-4, 1e-3])
        change = [(self.distance(guess + step, half_m) - distance) / step.sum() for step in steps]
        return distance, np.stack(change, axis=1)


def _find_outline(mask: np.ndarray, depth_m: np.ndarray, K: np.ndarray, T_camera_base: Pose) -> _Outline:
    """The parts of a mask's rim that are the object's own: not where something nearer hides the rest of it."""
    rim = []
    for du, dv in ((1, 0), (-1, 0), (0, 1), (0, -1)):
        v, u = np.nonzero(mask[1:-1, 1:-1])
        v, u = v + 1, u + 1
        inside, beyond = depth_m[v, u], depth_m[v + dv, u + du]
        own = ~mask[v + dv, u + du] & (inside > 0) & (beyond > inside - _HIDING_M)
        rim.append(np.stack([u[own] + 0.5 * du, v[own] + 0.5 * dv], axis=1))
    known = mask & (depth_m > 0)
    return _Outline(np.concatenate(rim), float(np.median(depth_m[known])) / K[0, 0], K, T_camera_base)


def _fit(
    points: np.ndarray, start: np.ndarray, half_m: float, iterations: int, outline: _Outline | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Gauss-Newton on robust distances to faces and outline: parameters (x, y, z, yaw), information, face distances."""
    guess = start.copy()
    for step in range(iterations + 1):
        distance, J = _face_equations(points, guess, half_m)
        weight = 1.0 / (1.0 + (distance / (2 * _DEPTH_SIGMA_M)) ** 2)
        information = J.T @ (weight[:, None] * J) + _NOTHING_KNOWN
        gradient = J.T @ (weight * distance)
        if outline is not None:
            beyond, J = outline.equations(guess, half_m)
            weight = _OUTLINE_WEIGHT / (1.0 + (beyond / (1.5 * outline.px_m)) ** 2)
            information += J.T @ (weight[:, None] * J)
            gradient += J.T @ (weight * beyond)
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
    outline = _find_outline(mask, depth_m, K, T_base_camera.inverse())
    best = starts[int(np.argmin(costs))][0]
    fitted, information, distance = _fit(points, best, half_m, _LAST_ITERATIONS, outline)
    residual_m = float(np.sqrt(np.mean(np.minimum(np.abs(distance), 2 * _MAX_RESIDUAL_M) ** 2)))
    extent = np.percentile(np.abs(points - fitted[:3]).max(axis=1), 95)
    too_large = extent > half_m * np.sqrt(2) + _MAX_OVERSIZE_M
    if residual_m > _MAX_RESIDUAL_M or too_large or fitted[2] < half_m - _TABLE_TOLERANCE_M:
        return None
    covariance = _CORRELATION * np.linalg.inv(information) * max(residual_m, 0.25 * _DEPTH_SIGMA_M) ** 2 + _FLOOR
    return CubeMeasurement(fitted[:3], nearest_quarter_turn(float(fitted[3]), yaw_hint), covariance, residual_m)
