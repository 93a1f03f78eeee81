"""Where a cube is, from its mask and the depth under it: its known size fitted to the faces the camera sees."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from contract.poses import Pose, quat_from_yaw
from perception.measurement import (
    DEPTH_SIGMA_M,
    OUTLINE_SIGMA_PX,
    TABLE_SIGMA_M,
    Measurement,
    on_plane,
    own_rim,
    points_under_mask,
)

MIN_POINTS = 25
_STARTS_RAD = np.deg2rad([0.0, 30.0, 60.0])
_FIRST_ITERATIONS, _LAST_ITERATIONS = 3, 4
_MAX_STEP = np.array([0.02, 0.02, 0.02, 0.2])
_NOTHING_KNOWN = np.diag([0.1, 0.1, 0.1, 1e-5])
"""Information that keeps an unseen direction where the fit started, in units of one point."""
_OUTLINE_WEIGHT = 0.5
_CORNERS = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], float)
_MAX_RESIDUAL_M = 0.006
_MAX_OVERSIZE_M = 0.015
_TABLE_TOLERANCE_M = 0.012
"""A cube that seems sunk into the table (z = 0 in the base frame) by more than this is no cube."""
_MIN_RIM, _OUTLINE_ITERATIONS = 20, 8
_MAX_OUTLINE_PX, _MIN_AREA = 1.5, 0.8
"""Of a fit to the outline alone: root mean square distance, and least share of mask and silhouette in each other."""
_CORRELATION = 8.5
"""So many of its pixels count as one: fitted, with the floor, to the errors in 500 renders (bench perception)."""
_FLOOR = np.diag([0.00012, 0.00012, 0.00012, 0.001]) ** 2


def nearest_quarter_turn(yaw: float, hint: float) -> float:
    """`yaw` plus the multiple of 90 degrees that brings it nearest to `hint`."""
    return yaw + np.pi / 2 * round((hint - yaw) / (np.pi / 2))


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

    def _hull(self, guess: np.ndarray, half_m: float) -> np.ndarray:
        """Corners of the projected cube's silhouette, pixels. Shape: (C, 2)"""
        c, s = np.cos(guess[3]), np.sin(guess[3])
        R = np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])
        corners = self.T_camera_base.apply(half_m * _CORNERS @ R.T + guess[:3]) @ self.K.T
        hull: np.ndarray = cv2.convexHull((corners[:, :2] / corners[:, 2:]).astype(np.float32))[:, 0].astype(float)
        return hull

    def area(self, guess: np.ndarray, half_m: float) -> float:
        """Of the silhouette, pixels."""
        return float(cv2.contourArea(self._hull(guess, half_m).astype(np.float32)))

    def distance(self, guess: np.ndarray, half_m: float) -> np.ndarray:
        """How far outside the projected cube each point lies, metres at the cube. Shape: (M,)"""
        hull = self._hull(guess, half_m)
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
    """Where the object's own outline is seen, and how large a pixel is there."""
    known = mask & (depth_m > 0)
    return _Outline(own_rim(mask, depth_m), float(np.median(depth_m[known])) / K[0, 0], K, T_camera_base)


def _fit(
    points: np.ndarray, start: np.ndarray, half_m: float, iterations: int, outline: _Outline | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Gauss-Newton on robust distances to faces and outline: parameters (x, y, z, yaw), information, face distances."""
    guess = start.copy()
    for step in range(iterations + 1):
        distance, J = _face_equations(points, guess, half_m)
        weight = 1.0 / (1.0 + (distance / (2 * DEPTH_SIGMA_M)) ** 2)
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


def _measured(
    fitted: np.ndarray, covariance: np.ndarray, residual_m: float, yaw_hint: float, from_table: bool = False
) -> Measurement:
    yaw = nearest_quarter_turn(float(fitted[3]), yaw_hint)
    return Measurement(Pose(fitted[:3], quat_from_yaw(np.asarray(yaw))), covariance, residual_m, from_table)


def measure_cube(
    mask: np.ndarray,
    depth_m: np.ndarray,
    K: np.ndarray,
    T_base_camera: Pose,
    edge_m: float,
    yaw_hint: float = 0.0,
) -> Measurement | None:
    """The cube under a mask; None when too little of it is seen or what is seen is not that cube.

    mask: bool, depth_m: metres with 0 unknown, both (H, W). K: pixels (3, 3). edge_m: the cube's known edge.
    """
    points = points_under_mask(mask, depth_m, K, T_base_camera)
    if len(points) < MIN_POINTS:
        return _measure_by_outline(mask, depth_m, K, T_base_camera, edge_m, yaw_hint, points)
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
    covariance = _CORRELATION * np.linalg.inv(information) * max(residual_m, 0.25 * DEPTH_SIGMA_M) ** 2 + _FLOOR
    return _measured(fitted, covariance, residual_m, yaw_hint)


def _measure_by_outline(
    mask: np.ndarray,
    depth_m: np.ndarray,
    K: np.ndarray,
    T_base_camera: Pose,
    edge_m: float,
    yaw_hint: float,
    points: np.ndarray,
) -> Measurement | None:
    """A cube that stands on the table, where depth has a hole; None if its size or what depth there is deny that.

    points: the few that there are (N, 3). Hidden in part, its outline is too small and gives None.
    """
    half_m, seen = edge_m / 2, np.argwhere(mask)[:, ::-1].astype(float)
    if len(seen) < MIN_POINTS:
        return None
    centre = on_plane(seen.mean(axis=0)[None], K, T_base_camera, half_m)[0]
    if not np.isfinite(centre).all():
        return None
    own_depth_m = float(T_base_camera.inverse().apply(centre)[2])
    rim = own_rim(mask, depth_m, own_depth_m)
    if len(rim) < _MIN_RIM:
        return None
    outline = _Outline(rim, own_depth_m / K[0, 0], K, T_base_camera.inverse())
    fits = [_fit_outline(outline, np.array([*centre, yaw]), half_m) for yaw in _STARTS_RAD]
    fitted, information, beyond = min(fits, key=lambda fit: float(np.abs(fit[2]).sum()))
    residual_m = float(np.sqrt(np.mean(beyond**2)))
    # The silhouette of the cube where it is taken to stand must be as large as the mask.
    share = mask.sum() / outline.area(fitted, half_m)
    off = np.abs(_face_equations(points, fitted, half_m)[0])
    if residual_m > _MAX_OUTLINE_PX * outline.px_m or not _MIN_AREA < share < 1 / _MIN_AREA:
        return None
    if len(off) and np.median(off) > _TABLE_TOLERANCE_M:
        return None
    sigma_m = max(OUTLINE_SIGMA_PX * outline.px_m, residual_m)
    # Four sides: however many pixels the rim has, so many of its errors are independent.
    covariance = len(rim) / 4 * sigma_m**2 * np.linalg.inv(information) + _FLOOR
    # A table that is higher moves the cube along the ray.
    ray = (centre - T_base_camera.position) / (centre - T_base_camera.position)[2]
    slide = np.array([ray[0], ray[1], 1.0, 0.0])
    return _measured(fitted, covariance + TABLE_SIGMA_M**2 * np.outer(slide, slide), residual_m, yaw_hint, True)


def _fit_outline(outline: _Outline, start: np.ndarray, half_m: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Gauss-Newton on the outline alone, at a fixed height: parameters, information (4, 4), distances."""
    guess, fixed = start.copy(), np.diag([0.0, 0.0, 1e9, 0.0])
    for _ in range(_OUTLINE_ITERATIONS):
        beyond, J = outline.equations(guess, half_m)
        weight = 1.0 / (1.0 + (beyond / (1.5 * outline.px_m)) ** 2)
        information = J.T @ (weight[:, None] * J) + fixed + _NOTHING_KNOWN
        guess = guess + np.clip(-np.linalg.solve(information, J.T @ (weight * beyond)), -_MAX_STEP, _MAX_STEP)
    return guess, information, outline.distance(guess, half_m)
