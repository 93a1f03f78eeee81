"""Where a ball or a spot on the table is, from its mask and depth: known radii fitted to points and outlines."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from contract.poses import Pose
from perception.measurement import (
    ANY_TURN_RAD2,
    CORRELATION,
    DEPTH_SIGMA_M,
    OUTLINE_SIGMA_PX,
    TABLE_SIGMA_M,
    Measurement,
    on_plane,
    own_rim,
    points_under_mask,
    project,
    rays,
)

_MIN_POINTS, _MIN_RIM = 25, 16
_ITERATIONS = 8
_MAX_RESIDUAL_M = 0.006
_MAX_OUTLINE_PX = 1.5
_TABLE_TOLERANCE_M = 0.012
"""What seems sunk into the table, or painted on it and is that far above it, is not the object."""
_LEAST_ARC = 0.5
"""Of an outline, as a share: what shows less may as well be a part of something else."""
_FLOOR_M2 = 0.0005**2
_LEVEL = np.array([1.0, 0.0, 0.0, 0.0])


def _measured(centre: np.ndarray, covariance: np.ndarray, residual_m: float, from_table: bool = False) -> Measurement:
    """A pose without a heading. covariance: of x, y, z (3, 3)"""
    whole = np.diag([0.0, 0.0, 0.0, ANY_TURN_RAD2])
    whole[:3, :3] = covariance + _FLOOR_M2 * np.eye(3)
    return Measurement(Pose(centre, _LEVEL), whole, residual_m, from_table)


def _fit_sphere(points: np.ndarray, start: np.ndarray, radius_m: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Gauss-Newton on robust distances to the surface: centre, information (3, 3), distances."""
    centre = start.copy()
    for _ in range(_ITERATIONS):
        away = points - centre
        length = np.linalg.norm(away, axis=1)
        distance, J = length - radius_m, -away / np.maximum(length, 1e-9)[:, None]
        weight = 1.0 / (1.0 + (distance / (2 * DEPTH_SIGMA_M)) ** 2)
        information = J.T @ (weight[:, None] * J) + 0.01 * np.eye(3)
        centre = centre - np.clip(np.linalg.solve(information, J.T @ (weight * distance)), -0.03, 0.03)
    return centre, information, np.linalg.norm(points - centre, axis=1) - radius_m


def measure_ball(
    mask: np.ndarray, depth_m: np.ndarray, K: np.ndarray, T_base_camera: Pose, radius_m: float
) -> Measurement | None:
    """The ball under a mask; None when too little of it is seen or what is seen is not that ball.

    mask: bool, depth_m: metres with 0 unknown, both (H, W). K: pixels (3, 3).
    """
    points = points_under_mask(mask, depth_m, K, T_base_camera)
    if len(points) < _MIN_POINTS:
        return _ball_by_outline(mask, depth_m, K, T_base_camera, radius_m, points)
    middle = np.median(points, axis=0)
    away = (middle - T_base_camera.position) / np.linalg.norm(middle - T_base_camera.position)
    centre, information, distance = _fit_sphere(points, middle + 0.8 * radius_m * away, radius_m)
    residual_m = float(np.sqrt(np.mean(np.minimum(np.abs(distance), 2 * _MAX_RESIDUAL_M) ** 2)))
    if residual_m > _MAX_RESIDUAL_M or centre[2] < radius_m - _TABLE_TOLERANCE_M:
        return None
    # A piece of a plane or of a larger ball also fits a small cap: the outline must be as large as the ball's.
    rim = own_rim(mask, depth_m)
    if len(rim) and abs(np.median(_beyond_silhouette(rim, centre, radius_m, K, T_base_camera))) > 0.15 * radius_m:
        return None
    sigma_m = max(residual_m, 0.25 * DEPTH_SIGMA_M)
    return _measured(centre, CORRELATION * sigma_m**2 * np.linalg.inv(information), residual_m)


def _beyond_silhouette(
    rim_px: np.ndarray, centre: np.ndarray, radius_m: float, K: np.ndarray, T_base_camera: Pose
) -> np.ndarray:
    """How far from a ball the rays of an outline pass, metres, less than 0 through it. Shape: (M,)"""
    directions = rays(rim_px, K)
    directions /= np.linalg.norm(directions, axis=1)[:, None]
    seen = T_base_camera.inverse().apply(centre)
    passing: np.ndarray = np.linalg.norm(np.cross(directions, seen), axis=1) - radius_m
    return passing


def _ball_by_outline(
    mask: np.ndarray, depth_m: np.ndarray, K: np.ndarray, T_base_camera: Pose, radius_m: float, points: np.ndarray
) -> Measurement | None:
    """A ball that lies on the table, where depth has a hole; None if its size or what depth there is deny that."""

    def beyond(rim_px: np.ndarray, xy: np.ndarray) -> np.ndarray:
        return _beyond_silhouette(rim_px, np.array([*xy, radius_m]), radius_m, K, T_base_camera)

    measured = _fit_on_table(mask, depth_m, K, T_base_camera, radius_m, beyond)
    if measured is None or not len(points):
        return measured
    off = np.abs(np.linalg.norm(points - measured.position, axis=1) - radius_m)
    return measured if np.median(off) < _TABLE_TOLERANCE_M else None


def measure_spot(
    mask: np.ndarray, depth_m: np.ndarray, K: np.ndarray, T_base_camera: Pose, radius_m: float
) -> Measurement | None:
    """The centre of a disc painted on the table, z = 0; None if it is not round, of another size, or not on the table.

    mask: bool, depth_m: metres with 0 unknown, both (H, W). K: pixels (3, 3).
    """
    points = points_under_mask(mask, depth_m, K, T_base_camera)
    if len(points) >= _MIN_POINTS and abs(np.median(points[:, 2])) > _TABLE_TOLERANCE_M:
        return None

    def beyond(rim_px: np.ndarray, xy: np.ndarray) -> np.ndarray:
        distance: np.ndarray = np.linalg.norm(on_plane(rim_px, K, T_base_camera, 0.0)[:, :2] - xy, axis=1) - radius_m
        return distance

    return _fit_on_table(mask, depth_m, K, T_base_camera, 0.0, beyond)


def _fit_on_table(
    mask: np.ndarray,
    depth_m: np.ndarray,
    K: np.ndarray,
    T_base_camera: Pose,
    height_m: float,
    beyond: Callable[[np.ndarray, np.ndarray], np.ndarray],
) -> Measurement | None:
    """The centre at that height whose outline is the mask's; None if none is.

    beyond: how far pixels (M, 2) lie outside the outline around x, y; metres (M,).
    """
    seen = np.argwhere(mask)[:, ::-1].astype(float)
    start = on_plane(seen.mean(axis=0)[None], K, T_base_camera, height_m)[0] if len(seen) >= _MIN_POINTS else None
    if start is None or not np.isfinite(start).all():
        return None
    own_depth_m = float(T_base_camera.inverse().apply(start)[2])
    rim, px_m = own_rim(mask, depth_m, own_depth_m), own_depth_m / K[0, 0]
    if len(rim) < _MIN_RIM:
        return None
    xy, information = start[:2].copy(), np.eye(2)
    for _ in range(_ITERATIONS):
        distance = beyond(rim, xy)
        J = np.stack([(beyond(rim, xy + step) - distance) / 1e-4 for step in 1e-4 * np.eye(2)], axis=1)
        weight = 1.0 / (1.0 + (distance / (1.5 * px_m)) ** 2)
        information = J.T @ (weight[:, None] * J) + 0.01 * np.eye(2)
        xy = xy - np.clip(np.linalg.solve(information, J.T @ (weight * distance)), -0.05, 0.05)
    distance = beyond(rim, xy)
    residual_m = float(np.sqrt(np.mean(distance**2)))
    centre_px = project(np.array([[*xy, height_m]]), K, T_base_camera.inverse())
    if residual_m > _MAX_OUTLINE_PX * px_m or _arc(rim, centre_px) < _LEAST_ARC:
        return None
    # Four sides: however many pixels the rim has, so many of its errors are independent.
    covariance = np.zeros((3, 3))
    covariance[:2, :2] = len(rim) / 4 * max(OUTLINE_SIGMA_PX * px_m, residual_m) ** 2 * np.linalg.inv(information)
    # A table that is higher moves the object along the ray.
    ray = (start - T_base_camera.position) / (start - T_base_camera.position)[2]
    covariance += TABLE_SIGMA_M**2 * np.outer(ray, ray)
    return _measured(np.array([*xy, height_m]), covariance, residual_m, from_table=True)


def _arc(rim_px: np.ndarray, centre_px: np.ndarray) -> float:
    """Share of all directions from the centre in which there is rim."""
    away = rim_px - centre_px
    sectors = np.floor((np.arctan2(away[:, 1], away[:, 0]) / (2 * np.pi) + 0.5) * 16).astype(int) % 16
    return len(np.unique(sectors)) / 16
