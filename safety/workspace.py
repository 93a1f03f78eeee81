"""Where the commanded tool centre point may be: a box cut by planes, so a convex set. Base frame, metres."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

SWEEPS = 4
"""Projections onto a corner of planes that are not at right angles converge; after these the caller must still look."""


@dataclass(frozen=True)
class Plane:
    """The half of space with normal · p >= offset_m; `normal` is of unit length and points inwards."""

    normal: tuple[float, float, float]
    offset_m: float


@dataclass(frozen=True)
class Workspace:
    """A box and planes that cut it."""

    low_m: tuple[float, float, float]
    high_m: tuple[float, float, float]
    planes: tuple[Plane, ...] = ()

    def above(self, floor_m: float) -> Workspace:
        """What of it lies above that height."""
        x, y, z = self.low_m
        return replace(self, low_m=(x, y, max(z, floor_m)))

    def outside_m(self, position: np.ndarray) -> float:
        """How far outside it lies beyond the worst of the bounds; negative inside. Shape: (3,)"""
        box = max(
            max(low - p, p - high) for low, p, high in zip(self.low_m, position.tolist(), self.high_m, strict=True)
        )
        return max([box, *(plane.offset_m - float(position @ np.array(plane.normal)) for plane in self.planes)])

    def nearest(self, position: np.ndarray) -> np.ndarray:
        """The position, or one close to the nearest inside. Shape: (3,)"""
        inside = self._in_box(position)
        for _ in range(SWEEPS if self.planes else 0):
            for plane in self.planes:
                normal = np.array(plane.normal)
                inside = inside + normal * max(0.0, plane.offset_m - float(inside @ normal))
            inside = self._in_box(inside)
        return inside

    def _in_box(self, position: np.ndarray) -> np.ndarray:
        bounds = zip(self.low_m, position.tolist(), self.high_m, strict=True)
        return np.array([min(max(low, p), high) for low, p, high in bounds])

    def share_inside(self, start: np.ndarray, way: np.ndarray) -> float:
        """The largest part of `way` (3,) that can be gone from `start` (3,) without getting further out: 0 to 1."""
        share = 1.0
        for at, pace, low, high in zip(start.tolist(), way.tolist(), self.low_m, self.high_m, strict=True):
            if pace != 0.0:
                room = high - at if pace > 0.0 else at - low
                share = min(share, max(0.0, room) / abs(pace))
        for plane in self.planes:
            normal = np.array(plane.normal)
            room, pace = float(start @ normal) - plane.offset_m, float(way @ normal)
            if pace < 0.0:
                share = min(share, max(0.0, room) / -pace)
        return share
