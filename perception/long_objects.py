"""Where a peg is, from its two ends in the picture and the depth between them.

Which end of a peg is which the points do not say: of the two, the hint's is taken.
"""

from __future__ import annotations

import numpy as np

from contract.poses import Pose, quat_from_axis_angle, quat_multiply
from perception.measurement import (
    CORRELATION,
    DEPTH_SIGMA_M,
    POINT_SIGMA_PX,
    TABLE_SIGMA_M,
    Measurement,
    at_depth,
    on_plane,
    project,
)
from perception.strips import STATIONS, View, surface_between

_ON_TABLE_LENGTH_TOLERANCE = 0.12
_TABLE_TOLERANCE_M = 0.012
_MAX_RESIDUAL_M = 0.0035
"""Seen pegs gave at most 1.5 mm, held ones up to 3.5 mm; the hand, which is as long, mostly more than 4 mm."""
_FIRST_ITERATIONS, _LAST_ITERATIONS = 3, 5
_MAX_STEP = np.array([0.02, 0.02, 0.02, 0.2, 0.2, 0.2])
_NOTHING_KNOWN = np.diag([0.1, 0.1, 0.1, 1e-5, 1e-5, 1e-5])
_STARTS_RAD = np.deg2rad([0.0, 30.0, 60.0])
_RADIAL_COSINE = 0.9
"""A peg that would lie this nearly along the line of sight looks the same as one that stands."""
_FLOOR = np.diag([0.0005, 0.0005, 0.0005, 0.003, 0.003, 0.003]) ** 2
_X = np.array([1.0, 0.0, 0.0])


def _box_distance(local: np.ndarray, half_m: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Signed distance of points to a box's surface, and its gradient. Shapes: (N, 3) -> (N,), (N, 3)"""
    beyond = np.abs(local) - half_m
    outside = np.maximum(beyond, 0.0)
    length = np.linalg.norm(outside, axis=1)
    nearest_face = np.eye(3)[np.argmax(beyond, axis=1)]
    is_outside = length > 1e-9
    direction = np.where(is_outside[:, None], outside / np.maximum(length, 1e-9)[:, None], nearest_face)
    return np.where(is_outside, length, beyond.max(axis=1)), direction * np.sign(local)


def _turned(pose: Pose, step: np.ndarray) -> Pose:
    """Moved by a step (6,): metres in the base frame, then a rotation vector in the base frame."""
    quaternion = quat_multiply(quat_from_axis_angle(step[3:]), pose.quaternion)
    return Pose(pose.position + step[:3], quaternion / np.linalg.norm(quaternion))


def _fit_box(
    points: np.ndarray, start: Pose, half_m: np.ndarray, ends_px: np.ndarray, view: View, iterations: int
) -> tuple[Pose, np.ndarray, np.ndarray]:
    """Gauss-Newton on robust distances to a box's faces and of its ends in the picture: pose, covariance, distances."""
    pose, T = start, view.T_base_camera.inverse().matrix()
    P = view.K @ T[:3]
    tips = np.array([[-half_m[0], 0.0, 0.0], [half_m[0], 0.0, 0.0]])
    px_m = float(T[2] @ [*start.position, 1.0]) / view.K[0, 0]

    def ends_off(at: Pose) -> np.ndarray:
        M = at.matrix()
        seen = (tips @ M[:3, :3].T + M[:3, 3]) @ P[:, :3].T + P[:, 3]
        return ((seen[:, :2] / seen[:, 2:] - ends_px) * px_m).ravel()

    information, distance = np.eye(6), np.zeros(len(points))
    for step in range(iterations + 1):
        R = pose.matrix()[:3, :3]
        distance, normal = _box_distance((points - pose.position) @ R, half_m)
        normal = normal @ R.T
        away = points - pose.position
        # Moving the box by t changes a distance by -n.t; turning it by w, by w.(n x away).
        J = np.column_stack([-normal, np.cross(normal, away)])
        weight = 1.0 / (1.0 + (distance / (2 * DEPTH_SIGMA_M)) ** 2) / (CORRELATION * DEPTH_SIGMA_M**2)
        off = ends_off(pose)
        J_ends = np.stack([(ends_off(_turned(pose, d)) - off) / 1e-5 for d in 1e-5 * np.eye(6)], axis=1)
        of_ends = 1.0 / (1.0 + (off / (3 * POINT_SIGMA_PX * px_m)) ** 2) / (POINT_SIGMA_PX * px_m) ** 2
        information = J.T @ (weight[:, None] * J) + J_ends.T @ (of_ends[:, None] * J_ends) + _NOTHING_KNOWN
        gradient = J.T @ (weight * distance) + J_ends.T @ (of_ends * off)
        if step < iterations:
            pose = _turned(pose, np.clip(-np.linalg.solve(information, gradient), -_MAX_STEP, _MAX_STEP))
    return pose, np.linalg.inv(information), distance


def _along(centre: np.ndarray, axis: np.ndarray) -> Pose:
    """A pose whose x axis is `axis`, its z axis as far up as that allows."""
    x = axis / np.linalg.norm(axis)
    up = np.array([0.0, 0.0, 1.0]) if abs(x[2]) < 0.95 else np.array([1.0, 0.0, 0.0])
    z = up - (up @ x) * x
    z /= np.linalg.norm(z)
    T = np.eye(4)
    T[:3, :3], T[:3, 3] = np.stack([x, np.cross(z, x), z], axis=1), centre
    return Pose.from_matrix(T)


def measure_peg(
    ends_px: np.ndarray,
    depth_m: np.ndarray,
    K: np.ndarray,
    T_base_camera: Pose,
    half_size_m: tuple[float, float, float],
    axis_hint: np.ndarray | None = None,
) -> Measurement | None:
    """The peg between two end points; None if it is not as long as it should be or what is seen is not straight.

    ends_px: middles of the end faces, in any order, pixels (2, 2). depth_m: metres with 0 unknown (H, W).
    half_size_m: along the peg's own axes, x the long one. axis_hint: where about its x axis points, base frame (3,);
    without one, from the first to the second end. Its covariance is of x, y, z and a rotation vector (6, 6).
    """
    view, half_m = View(depth_m, K, T_base_camera), np.array(half_size_m)
    if not np.isfinite(ends_px).all():
        return None
    strip = surface_between(view, ends_px, 2 * half_m[0], half_m[1])
    if strip is None:
        return _lying_peg(ends_px, view, half_m, axis_hint)
    axis = strip.ends[1] - strip.ends[0]
    middle = strip.ends.mean(axis=0)
    away = (middle - T_base_camera.position) / np.linalg.norm(middle - T_base_camera.position)
    away -= (away @ axis) * axis / (axis @ axis)
    first = _along(middle + half_m[1] * away / np.linalg.norm(away), axis)
    # How far it is rolled about its axis decides which faces are seen.
    rolled = [
        Pose(first.position, quat_multiply(first.quaternion, quat_from_axis_angle(roll * _X))) for roll in _STARTS_RAD
    ]
    fits = [_fit_box(strip.points, start, half_m, ends_px, view, _FIRST_ITERATIONS) for start in rolled]
    best = min(fits, key=lambda fit: float(np.minimum(fit[2] ** 2, _MAX_RESIDUAL_M**2).sum()))[0]
    pose, covariance, distance = _fit_box(strip.points, best, half_m, ends_px, view, _LAST_ITERATIONS)
    residual_m = float(np.sqrt(np.mean(np.minimum(np.abs(distance), 2 * _MAX_RESIDUAL_M) ** 2)))
    lowest = pose.position[2] - np.abs(pose.matrix()[2, :3]) @ half_m
    tips = project(pose.apply(np.array([-1.0, 1.0])[:, None] * half_m[0] * _X), K, T_base_camera.inverse())
    off_px = np.linalg.norm(tips - ends_px, axis=1).max()
    if residual_m > _MAX_RESIDUAL_M or lowest < -_TABLE_TOLERANCE_M or off_px > 4 * POINT_SIGMA_PX:
        return None
    # Fingers on the peg pull at the fit; how much, the residual shows.
    grown = max(1.0, 2 * residual_m / DEPTH_SIGMA_M) ** 2
    return Measurement(_with_end(pose, axis_hint), grown * covariance + _FLOOR, residual_m)


def _with_end(pose: Pose, axis_hint: np.ndarray | None) -> Pose:
    """The same peg, its x axis pointing towards the hint's side."""
    if axis_hint is None or pose.matrix()[:3, 0] @ axis_hint >= 0:
        return pose
    return Pose(pose.position, quat_multiply(pose.quaternion, np.array([0.0, 0.0, 0.0, 1.0])))


def _lying_peg(ends_px: np.ndarray, view: View, half_m: np.ndarray, axis_hint: np.ndarray | None) -> Measurement | None:
    """A peg that lies on the table, where depth has holes; None if its length or what depth there is deny that."""
    tips = on_plane(ends_px, view.K, view.T_base_camera, half_m[2])
    if not np.isfinite(tips).all():
        return None
    way, centre = tips[1] - tips[0], tips.mean(axis=0)
    length = float(np.linalg.norm(way))
    sight = (centre - view.T_base_camera.position)[:2]
    is_radial = abs(way[:2] @ sight) > _RADIAL_COSINE * np.linalg.norm(sight) * np.linalg.norm(way[:2])
    if abs(length / (2 * half_m[0]) - 1) > _ON_TABLE_LENGTH_TOLERANCE or is_radial:
        return None
    pose = _along(centre, way)
    pixels = ends_px[0] + np.linspace(0.04, 0.96, STATIONS)[:, None] * (ends_px[1] - ends_px[0])
    known, z = view.known(pixels)
    if known.any():
        seen = pose.inverse().apply(at_depth(pixels[known], z[known], view.K, view.T_base_camera))
        if np.median(np.abs(_box_distance(seen, half_m)[0])) > _TABLE_TOLERANCE_M:
            return None
    return Measurement(
        _with_end(pose, axis_hint), _lying_covariance(tips, ends_px, view), abs(length - 2 * half_m[0]) / 2, True
    )


def _lying_covariance(tips: np.ndarray, ends_px: np.ndarray, view: View) -> np.ndarray:
    """Of the pose of a line between two points on the table, from errors of the points and of the table. (6, 6)"""
    height, length = tips[0, 2], np.linalg.norm(tips[1] - tips[0])
    covariance = np.zeros((6, 6))
    sideways = np.cross([0.0, 0.0, 1.0], (tips[1] - tips[0]) / length)
    for k, sign in ((0, -1), (1, 1)):
        for d in POINT_SIGMA_PX * np.eye(2):
            moved = on_plane(ends_px[k][None] + d, view.K, view.T_base_camera, height)[0] - tips[k]
            change = np.array([*(moved / 2), 0.0, 0.0, sign * (moved @ sideways) / length])
            covariance += np.outer(change, change)
    ray = tips.mean(axis=0) - view.T_base_camera.position
    slide = np.array([*(ray / ray[2]), 0.0, 0.0, 0.0]) * TABLE_SIGMA_M
    tilt = np.diag([0.0, 0.0, 0.0, 1.0, 1.0, 0.0]) * (2 * TABLE_SIGMA_M / length) ** 2
    total: np.ndarray = covariance + np.outer(slide, slide) + tilt + _FLOOR
    return total
