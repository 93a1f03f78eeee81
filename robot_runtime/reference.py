"""Low-rate setpoints to the smooth reference the impedance controller follows. Pure; clocked by robot time."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from contract.poses import Pose, quat_from_axis_angle, quat_multiply, rotation_between

SMOOTHING_RAD_S = 60.0
"""Natural frequency of the critically damped smoothing. Lag of a ramp 2/60 = 33 ms; a velocity step of 0.25 m/s
gives 60·0.25/e = 5.5 m/s² and 60²·0.25 = 900 m/s³, well inside either arm's Cartesian limits (safety/limits.py)."""
LONGEST_STEP_S = 0.005


@dataclass(frozen=True)
class Reference:
    """Where the tool should be at one instant, how it moves, and how that changes. Base frame, vectors (6,)."""

    pose_base_tcp: Pose
    twist_base_tcp: np.ndarray
    acceleration_base_tcp: np.ndarray


class SmoothReference:
    """A straight line from where it is to each new setpoint over one setpoint period, smoothed to second order.

    The line is never faster than the limits, so neither is its smoothed version, and a setpoint that is held is
    reached without overshoot. When setpoints stop, the line ends at the last one and the reference settles there.
    """

    def __init__(self, pose: Pose, now: float, speed_m_s: float, rotation_rad_s: float) -> None:
        self._speed_m_s = speed_m_s
        self._rotation_rad_s = rotation_rad_s
        # Everything is kept as translation and rotation vector (6,) from `_start`, where the present line begins.
        self._start = pose
        self._way = np.zeros(6)
        self._offset = np.zeros(6)
        self._t_start, self._t_goal = now, now
        self._now = now
        self._twist = np.zeros(6)
        self._acceleration = np.zeros(6)

    @property
    def reference(self) -> Reference:
        """The reference at the time of the last `advance`."""
        return Reference(_moved(self._start, self._offset), self._twist, self._acceleration)

    @property
    def settled(self) -> bool:
        """Whether the goal has been reached and the reference stands still."""
        arrived = self._now >= self._t_goal and np.abs(self._way - self._offset).max() < 1e-4
        return bool(arrived and np.abs(self._twist).max() < 1e-3)

    def set_goal(self, pose: Pose, now: float, duration_s: float) -> None:
        """Head for `pose`, to be reached `duration_s` from `now`, or later where the speed limits ask for it."""
        start = _moved(self._start, self._line(now))
        self._offset = _way(start, _moved(self._start, self._offset))
        self._start, self._way = start, _way(start, pose)
        distance, angle = float(np.linalg.norm(self._way[:3])), float(np.linalg.norm(self._way[3:]))
        self._t_start = now
        self._t_goal = now + max(duration_s, distance / self._speed_m_s, angle / self._rotation_rad_s)

    def advance(self, now: float) -> Reference:
        """Move on to robot time `now` (never back) and return the reference there."""
        elapsed = now - self._now
        steps = max(0, math.ceil(elapsed / LONGEST_STEP_S - 1e-9))
        for _ in range(steps):
            self._step(elapsed / steps)
        return self.reference

    def _line(self, at: float) -> np.ndarray:
        if at >= self._t_goal:
            return self._way
        return self._way * max(0.0, (at - self._t_start) / (self._t_goal - self._t_start))

    def _step(self, dt: float) -> None:
        """Exact solution of x″ = w²(u − x) − 2w x′ over `dt` with u held at its mid value: stable for any step."""
        w = SMOOTHING_RAD_S
        target = self._line(self._now + dt / 2)
        gap = self._offset - target
        slope = self._twist + w * gap
        decay = math.exp(-w * dt)
        gap_after = (gap + slope * dt) * decay
        before, self._twist = self._twist, slope * decay - w * gap_after
        self._acceleration = (self._twist - before) / dt  # its mean: at the step's end it would lag the moving line
        self._offset = target + gap_after
        self._now += dt


def _way(a: Pose, b: Pose) -> np.ndarray:
    """Translation and rotation vector, base frame, that take `a` to `b`. Shape: (6,)"""
    return np.concatenate([b.position - a.position, rotation_between(a.quaternion, b.quaternion)])


def _moved(pose: Pose, way: np.ndarray) -> Pose:
    """`pose` translated and turned by `way` (6,)."""
    quaternion = quat_multiply(quat_from_axis_angle(way[3:]), pose.quaternion)
    return Pose(pose.position + way[:3], quaternion / np.linalg.norm(quaternion))
