"""Where an L-shaped tool is, from three points on it in the picture and the depth between them."""

from __future__ import annotations

import numpy as np

from contract.poses import Pose
from perception.measurement import DEPTH_SIGMA_M, POINT_SIGMA_PX, TABLE_SIGMA_M, Measurement, at_depth, on_plane, rays
from perception.strips import STATIONS, View, surface_between

_TABLE_TOLERANCE_M = 0.012
_FLOOR = np.diag([0.0005, 0.0005, 0.0005, 0.003, 0.003, 0.003]) ** 2


def measure_tool(
    points_px: np.ndarray,
    depth_m: np.ndarray,
    K: np.ndarray,
    T_base_camera: Pose,
    points_object_m: np.ndarray,
    half_thick_m: float,
) -> Measurement | None:
    """An L-shaped tool from its handle's end, its corner and its hook's tip; None if they are not as far apart.

    points_px: in that order (3, 2). points_object_m: the same in the tool's own frame (3, 3), in its middle plane.
    half_thick_m: from there to the surface that is seen. Its covariance is of x, y, z and a rotation vector (6, 6).
    """
    view = View(depth_m, K, T_base_camera)
    if not np.isfinite(points_px).all():
        return None
    found, from_table = _tool_points(points_px, view, points_object_m, half_thick_m), False
    if found is None:
        found, from_table = on_plane(points_px, K, T_base_camera, half_thick_m), True
    if not np.isfinite(found).all():
        return None
    pose = _rigid(points_object_m, found)
    off = np.linalg.norm(pose.apply(points_object_m) - found, axis=1)
    px_m = float(T_base_camera.inverse().apply(pose.position)[2]) / K[0, 0]
    sigma_m = POINT_SIGMA_PX * px_m
    if off.max() > 3 * sigma_m or (from_table and not _agrees(points_px, view, half_thick_m)):
        return None
    depth_sigma_m = TABLE_SIGMA_M if from_table else DEPTH_SIGMA_M
    away = points_object_m - points_object_m.mean(axis=0)
    covariance = np.zeros((6, 6))
    covariance[:3, :3] = (sigma_m**2 + depth_sigma_m**2) / 3 * np.eye(3)
    about = (away**2).sum() * np.eye(3) - away.T @ away
    R = pose.matrix()[:3, :3]
    covariance[3:, 3:] = (sigma_m**2 + depth_sigma_m**2) * R @ np.linalg.inv(about) @ R.T
    residual_m = float(np.sqrt(np.mean(off**2)))
    return Measurement(pose, covariance + _FLOOR, residual_m, from_table)


def _tool_points(
    points_px: np.ndarray, view: View, points_object_m: np.ndarray, half_thick_m: float
) -> np.ndarray | None:
    """The three points in the base frame by the depth along handle and hook; None without it. Shape: (3, 3)"""
    strips = []
    for i in (0, 1):
        length = float(np.linalg.norm(points_object_m[i + 1] - points_object_m[i]))
        strip = surface_between(view, points_px[i : i + 2], length, half_thick_m)
        if strip is None:
            return None
        strips.append(strip)
    surface = np.stack([strips[0].ends[0], (strips[0].ends[1] + strips[1].ends[0]) / 2, strips[1].ends[1]])
    normal = np.cross(surface[1] - surface[0], surface[2] - surface[1])
    normal /= np.linalg.norm(normal)
    eye = view.T_base_camera.position
    normal *= np.sign(normal @ (eye - surface[1]))
    # The points lie on their rays in the middle plane, half the thickness below the one that is seen.
    ways = view.T_base_camera.apply(rays(points_px, view.K)) - eye
    shares = (normal @ (surface[1] - eye) - half_thick_m) / (ways @ normal)
    middle: np.ndarray = eye + shares[:, None] * ways
    return middle


def _agrees(points_px: np.ndarray, view: View, half_thick_m: float) -> bool:
    """Whether what depth there is along a tool is that of its upper side as it lies on the table."""
    shares = np.linspace(0.0, 1.0, STATIONS)[:, None]
    pixels = np.concatenate([points_px[i] + shares * (points_px[i + 1] - points_px[i]) for i in (0, 1)])
    known, z = view.known(pixels)
    if not known.any():
        return True
    height = at_depth(pixels[known], z[known], view.K, view.T_base_camera)[:, 2]
    return bool(abs(np.median(height) - 2 * half_thick_m) < _TABLE_TOLERANCE_M)


def _rigid(points_object: np.ndarray, points_base: np.ndarray) -> Pose:
    """The pose that brings points onto others with the least squares of distances (Kabsch). Shapes: (N, 3), (N, 3)"""
    a, b = points_object - points_object.mean(axis=0), points_base - points_base.mean(axis=0)
    U, _, Vt = np.linalg.svd(a.T @ b)
    R = Vt.T @ np.diag([1.0, 1.0, np.sign(np.linalg.det(Vt.T @ U.T))]) @ U.T
    T = np.eye(4)
    T[:3, :3], T[:3, 3] = R, points_base.mean(axis=0) - R @ points_object.mean(axis=0)
    return Pose.from_matrix(T)
