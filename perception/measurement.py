"""What a measured pose is, and the geometry that all measuring shares: rays of pixels, depth, the table plane."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from contract.poses import Pose, yaw_of

DEPTH_SIGMA_M = 0.002
"""Weighting scale of the robust fits: depth noise of a D435 at 0.9 m (datasheet 337029: below 2 % of the range)."""
CORRELATION = 4.0
"""Neighbouring pixels err together: so many count as one."""
HIDING_M = 0.008
"""A surface beside the object that is this much nearer hides part of it."""
OUTLINE_SIGMA_PX = 0.7
"""How far the outline of a detector's mask is off; errors along it are of one sign over many pixels."""
POINT_SIGMA_PX = 2.0
"""How far a detector's points are off."""
ANY_TURN_RAD2 = np.pi**2 / 3
"""Variance of an angle about which nothing is known."""
TABLE_SIGMA_M = 0.003
"""How far the table may be from z = 0, from calibration and its own flatness."""


@dataclass(frozen=True)
class Measurement:
    """One object's pose in the base frame.

    covariance: of x, y, z (m²) and yaw (rad²), or of x, y, z and a rotation vector in the base frame. (4, 4) or (6, 6)
    residual_m: typical distance of what was seen from the fitted shape.
    from_table: there was too little depth: the object was taken to stand or lie on the table, z = 0.
    """

    pose_base_object: Pose
    covariance: np.ndarray
    residual_m: float
    from_table: bool = False

    @property
    def position(self) -> np.ndarray:
        """Centre, metres. Shape: (3,)"""
        return np.asarray(self.pose_base_object.position)

    @property
    def yaw(self) -> float:
        """Heading of the object's x axis, radians; of those that look the same, the one nearest to the hint."""
        return float(yaw_of(self.pose_base_object.quaternion))

    @property
    def axis(self) -> np.ndarray:
        """The object's x axis in the base frame. Shape: (3,)"""
        return self.pose_base_object.matrix()[:3, 0]


def rays(pixels: np.ndarray, K: np.ndarray) -> np.ndarray:
    """Directions in the camera frame, one metre deep. Shape: (N, 2) -> (N, 3)"""
    flat = (pixels - K[:2, 2]) / (K[0, 0], K[1, 1])
    return np.column_stack([flat, np.ones(len(flat))])


def on_plane(pixels: np.ndarray, K: np.ndarray, T_base_camera: Pose, height_m: float) -> np.ndarray:
    """Where the rays of pixels meet the horizontal plane at that height; NaN if they do not. Shape: (N, 2) -> (N, 3)"""
    eye = T_base_camera.position
    directions = T_base_camera.apply(rays(pixels, K)) - eye
    down = directions[:, 2]
    share = (height_m - eye[2]) / np.where(np.abs(down) > 1e-6, down, np.nan)
    points: np.ndarray = eye + np.where(share > 0, share, np.nan)[:, None] * directions
    return points


def at_depth(pixels: np.ndarray, depth_m: np.ndarray, K: np.ndarray, T_base_camera: Pose) -> np.ndarray:
    """Base-frame points of pixels with known depth. Shapes: (N, 2), (N,) -> (N, 3)"""
    points: np.ndarray = T_base_camera.apply(rays(pixels, K) * depth_m[:, None])
    return points


def project(points: np.ndarray, K: np.ndarray, T_camera_base: Pose) -> np.ndarray:
    """Pixels of base-frame points. Shape: (N, 3) -> (N, 2)"""
    seen = T_camera_base.apply(points) @ K.T
    pixels: np.ndarray = seen[:, :2] / seen[:, 2:]
    return pixels


def points_under_mask(mask: np.ndarray, depth_m: np.ndarray, K: np.ndarray, T_base_camera: Pose) -> np.ndarray:
    """Base-frame points of the mask's inside; its rim, where depth mixes two surfaces, is left out. Shape: (N, 3)"""
    # A padded border: an object cut by the picture's edge loses its rim there as well.
    inside = cv2.erode(np.pad(mask, 1).astype(np.uint8), np.ones((3, 3), np.uint8))[1:-1, 1:-1] > 0
    v, u = np.nonzero(inside & (depth_m > 0))
    return at_depth(np.column_stack([u, v]).astype(float), depth_m[v, u].astype(float), K, T_base_camera)


def own_rim(mask: np.ndarray, depth_m: np.ndarray, own_depth_m: float | None = None) -> np.ndarray:
    """Points on the mask's rim that are the object's own: not where something nearer hides the rest of it.

    own_depth_m: taken for the object where its own depth is not known; None for leaving those pixels out. (N, 2) pixels
    """
    rim = []
    inner = np.pad(mask[1:-1, 1:-1], 1)
    v, u = np.nonzero(inner)
    inside = depth_m[v, u].astype(float)
    if own_depth_m is not None:
        inside = np.where(inside > 0, inside, own_depth_m)
    for du, dv in ((1, 0), (-1, 0), (0, 1), (0, -1)):
        beyond = depth_m[v + dv, u + du]
        hidden = beyond < inside - HIDING_M
        if own_depth_m is not None:
            hidden &= beyond > 0
        own = ~mask[v + dv, u + du] & (inside > 0) & ~hidden
        rim.append(np.stack([u[own] + 0.5 * du, v[own] + 0.5 * dv], axis=1))
    return np.concatenate(rim)
