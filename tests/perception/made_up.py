"""Masks and depth of shapes on a table, worked out pixel by pixel rather than rendered."""

from __future__ import annotations

import cv2
import numpy as np

from contract.poses import Pose
from perception.measurement import on_plane, rays

K = np.array([[313.0, 0.0, 211.5], [0.0, 313.0, 119.5], [0.0, 0.0, 1.0]])
SHAPE = (240, 424)


def camera() -> Pose:
    """A camera 0.8 m from the work area, looking back and down at it as the mock cell's does."""
    forward = np.array([-0.72, -0.26, -0.643])
    forward /= np.linalg.norm(forward)
    right = np.cross(forward, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    T = np.eye(4)
    T[:3, :3] = np.stack([right, np.cross(forward, right), forward], axis=1)
    T[:3, 3] = np.array([0.55, 0.0, 0.05]) - 0.8 * forward
    return Pose.from_matrix(T)


def frayed(mask: np.ndarray, seed: int) -> np.ndarray:
    """As a detector draws it: its rim up to a pixel or so off, over several pixels in the same direction."""
    noise = cv2.GaussianBlur(np.random.default_rng(seed).normal(size=mask.shape), (0, 0), 3.0)
    noise = np.clip(0.25 * noise / noise.std(), -0.4, 0.4)
    drawn: np.ndarray = cv2.GaussianBlur(mask.astype(float), (0, 0), 1.0) > 0.5 + noise
    return drawn


def every_pixel() -> np.ndarray:
    """u, v of all pixels, row by row. Shape: (H * W, 2)"""
    v, u = np.mgrid[: SHAPE[0], : SHAPE[1]]
    return np.column_stack([u.ravel(), v.ravel()]).astype(float)


def table_depth() -> np.ndarray:
    """Of an endless table at z = 0. Shape: (H, W)"""
    T = camera()
    points = on_plane(every_pixel(), K, T, 0.0)
    return np.nan_to_num(T.inverse().apply(points)[:, 2]).reshape(SHAPE)


def ball_on_table(centre: np.ndarray, radius_m: float) -> tuple[np.ndarray, np.ndarray]:
    """Mask and depth. Shapes: (H, W), (H, W)"""
    T = camera()
    directions = rays(every_pixel(), K)
    seen = T.inverse().apply(centre)
    # |t d - c|² = r²
    a, b, c = (directions**2).sum(axis=1), -2 * directions @ seen, seen @ seen - radius_m**2
    root = b**2 - 4 * a * c
    mask = (root > 0).reshape(SHAPE)
    near = (-b - np.sqrt(np.maximum(root, 0))) / (2 * a)
    return mask, np.where(mask, near.reshape(SHAPE), table_depth())


def box_on_table(pose: Pose, half_m: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mask and depth of a box in front of a table. Shapes: (H, W), (H, W)"""
    to_box = pose.inverse() @ camera()
    eye = to_box.position
    directions = to_box.apply(rays(every_pixel(), K)) - eye
    with np.errstate(divide="ignore", invalid="ignore"):
        low, high = (-half_m - eye) / directions, (half_m - eye) / directions
    enter, leave = np.minimum(low, high).max(axis=1), np.maximum(low, high).min(axis=1)
    table = table_depth()
    mask = (enter < leave).reshape(SHAPE) & (enter.reshape(SHAPE) < np.where(table > 0, table, np.inf))
    return mask, np.where(mask, enter.reshape(SHAPE), table)


def spot_on_table(centre: np.ndarray, radius_m: float) -> np.ndarray:
    """Mask of a disc. Shape: (H, W)"""
    points = on_plane(every_pixel(), K, camera(), 0.0)
    inside: np.ndarray = np.linalg.norm(points[:, :2] - centre[:2], axis=1) < radius_m
    return inside.reshape(SHAPE)
