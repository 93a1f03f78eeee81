"""The straight surface between two points of a long object, as depth shows it, and past what hides parts of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from contract.poses import Pose
from perception.measurement import at_depth, rays

STATIONS, _ACROSS = 24, 5
"""Where depth is looked up, along the strip and across it."""
_MIN_STATIONS = 8
"""With known depth; of fewer no line is fitted."""
_LEAST_INLIERS = 0.5
_INLIER_M = 0.008
_LENGTH_TOLERANCE = 0.15


@dataclass(frozen=True)
class View:
    """A depth picture and how it was taken."""

    depth_m: np.ndarray
    K: np.ndarray
    T_base_camera: Pose

    def known(self, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Which pixels have depth, and it. Shapes: (N, 2) -> (N,) bool, (N,)"""
        height, width = self.depth_m.shape
        u, v = np.round(pixels).astype(int).T
        inside = (u >= 0) & (u < width) & (v >= 0) & (v < height)
        z = np.where(inside, self.depth_m[v.clip(0, height - 1), u.clip(0, width - 1)], 0.0).astype(float)
        return z > 0, z


@dataclass(frozen=True)
class Strip:
    """What depth says between two ends, base frame. points: of the surface (N, 3). ends: of it (2, 3)."""

    points: np.ndarray
    ends: np.ndarray


def surface_between(view: View, ends_px: np.ndarray, length_m: float, half_width_m: float) -> Strip | None:
    """The straight surface between two ends that is as long as it should be; None without one.

    Along a straight line in space 1 / depth is linear in the picture: of all lines through two stations, the one with
    the most others on it. What hides parts of the object, as the gripper does, is off that line.
    """
    way = ends_px[1] - ends_px[0]
    if np.linalg.norm(way) < 4:
        return None
    across = np.array([-way[1], way[0]]) / np.linalg.norm(way)
    shares = np.linspace(0.04, 0.96, STATIONS)
    middle = ends_px[0] + shares[:, None] * way
    known, z = view.known(middle)
    if known.sum() < _MIN_STATIONS:
        return None
    best = _straightest(ends_px, shares[known], z[known], view.K, length_m)
    if best is None:
        return None
    slope, offset = best
    ends = at_depth(ends_px, 1.0 / (offset + np.array([0.0, slope])), view.K, view.T_base_camera)
    half_px = 0.7 * half_width_m * view.K[0, 0] * offset
    grid = middle[:, None] + np.linspace(-half_px, half_px, _ACROSS)[None, :, None] * across
    pixels, along = grid.reshape(-1, 2), np.repeat(shares, _ACROSS)
    known, z = view.known(pixels)
    on_it = known & (np.abs(z - 1.0 / (offset + slope * along)) < half_width_m)
    points = at_depth(np.round(pixels[on_it]), z[on_it], view.K, view.T_base_camera)
    return Strip(points, ends)


def _straightest(
    ends_px: np.ndarray, shares: np.ndarray, depth_m: np.ndarray, K: np.ndarray, length_m: float
) -> tuple[float, float] | None:
    """Slope and offset of 1 / depth along the line through two stations that most others are on. Shapes: (N,), (N,)"""
    i, j = np.triu_indices(len(shares), 1)
    apart = shares[j] - shares[i] > 0.2
    i, j = i[apart], j[apart]
    slope = (1.0 / depth_m[j] - 1.0 / depth_m[i]) / (shares[j] - shares[i])
    offset = 1.0 / depth_m[i] - slope * shares[i]
    possible = np.minimum(offset, offset + slope) > 0.1
    slope, offset = slope[possible], offset[possible]
    tips = rays(ends_px, K)
    lengths = np.linalg.norm(tips[1] / (offset + slope)[:, None] - tips[0] / offset[:, None], axis=1)
    as_long = np.abs(lengths / length_m - 1) < _LENGTH_TOLERANCE
    slope, offset = slope[as_long], offset[as_long]
    if not len(slope):
        return None
    on_line = (np.abs(1.0 / (offset[:, None] + slope[:, None] * shares) - depth_m) < _INLIER_M).sum(axis=1)
    best = int(np.argmax(on_line))
    if on_line[best] < max(_MIN_STATIONS, _LEAST_INLIERS * len(shares)):
        return None
    return float(slope[best]), float(offset[best])
