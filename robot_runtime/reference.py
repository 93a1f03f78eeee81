"""Low-rate setpoints to the smooth reference the impedance controller follows. Pure; clocked by robot time.

The reference x follows a carrot c, a point that runs in straight lines no faster than the limits:

    x″ = w² (c − x) − 2 w x′

A low-pass filter without overshoot. Its output is a weighted mean of the carrot's past, so it is never faster than the
carrot in any direction, whatever comes in; Ruckig (per axis, through each setpoint's velocity) promises neither, and
runs up backwards for a final velocity that the way is too short for. A setpoint with a twist puts the carrot the
filter's lag 2/w ahead, so that a moving target is followed without delay.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from contract.arrays import limit_norm
from contract.poses import Pose, quat_from_axis_angle, quat_multiply, rotation_between

STIFFNESS_RAD_S = (48.0, 36.0)
"""w of translation and rotation. From a carrot that reverses at will the filter makes at most 0.74 w acceleration and
2.27 w² jerk per unit of speed (the 1-norms of its kernel's derivatives): 8.8 m/s², 1310 m/s³ at 0.25 m/s."""
LEAD_S = (2 / STIFFNESS_RAD_S[0], 2 / STIFFNESS_RAD_S[1])
"""How late the filter follows a ramp."""
LONGEST_STEP_S = 0.005
_PARTS = (slice(0, 3), slice(3, 6))
_W = np.repeat(STIFFNESS_RAD_S, 3)
_LEAD = np.repeat(LEAD_S, 3)


@dataclass(frozen=True)
class ReferenceLimits:
    """Bounds of translation and rotation: speed, acceleration and jerk."""

    speed: tuple[float, float]
    acceleration: tuple[float, float]
    jerk: tuple[float, float]


@dataclass(frozen=True)
class Reference:
    """Where the tool should be at one instant, how it moves, and how that changes. Base frame, vectors (6,)."""

    pose_base_tcp: Pose
    twist_base_tcp: np.ndarray
    acceleration_base_tcp: np.ndarray


@dataclass(frozen=True)
class Line:
    """A carrot's way: from `start` at `t_start` with `twist` to `t_goal`, with `after` to `t_end`, then at rest."""

    start: Pose
    twist: np.ndarray
    after: np.ndarray
    t_start: float
    t_goal: float
    t_end: float

    def at(self, t: float) -> Pose:
        """The carrot at `t`, which is not before `t_start`."""
        there = _moved(self.start, self.twist * (min(t, self.t_goal) - self.t_start))
        return there if t <= self.t_goal else _moved(there, self.after * (min(t, self.t_end) - self.t_goal))


class SmoothReference:
    """The reference of one arm. When setpoints stop, the carrot rests and the reference settles on it."""

    def __init__(self, pose: Pose, now: float, limits: ReferenceLimits) -> None:
        self._limits = limits
        self._now = now
        self._pose = pose
        self._twist, self._acceleration = np.zeros(6), np.zeros(6)
        self._line = Line(pose, np.zeros(6), np.zeros(6), now, now, now)

    @property
    def reference(self) -> Reference:
        """The reference at the time of the last `advance`."""
        return Reference(self._pose, self._twist, self._acceleration)

    @property
    def now(self) -> float:
        """Robot time of the last `advance`, seconds."""
        return self._now

    @property
    def settled(self) -> bool:
        """Whether the goal has been reached and the reference stands still."""
        left = _way(self._pose, self._line.at(self._line.t_end))
        return bool(self._now >= self._line.t_end and np.abs(left).max() < 1e-4 and np.abs(self._twist).max() < 1e-3)

    def set_goal(self, pose: Pose, at: float, twist: np.ndarray | None = None, coast_s: float = 0.0) -> None:
        """Be at `pose` at robot time `at`, or later where the speed limits ask for it, moving with `twist` (6,).

        coast_s: how long it may go on with `twist` past `at` while no new goal comes.
        """
        here = self._line.at(self._now)
        after = np.zeros(6) if twist is None else twist
        way = _way(here, _moved(pose, _LEAD * after))
        slowest = (float(np.linalg.norm(way[part])) / v for part, v in zip(_PARTS, self._limits.speed, strict=True))
        duration = max(at - self._now, *slowest)
        t_goal = self._now + duration
        along = way / duration if duration > 0 else np.zeros(6)
        self._line = Line(here, along, after, self._now, t_goal, t_goal + (coast_s if after.any() else 0.0))

    def hold(self) -> None:
        """Come to rest where the carrot is."""
        self._line = Line(self._line.at(self._now), np.zeros(6), np.zeros(6), self._now, self._now, self._now)

    def advance(self, now: float) -> Reference:
        """Move on to robot time `now` (never back) and return the reference there."""
        elapsed = now - self._now
        steps = max(0, math.ceil(elapsed / LONGEST_STEP_S - 1e-9))
        for _ in range(steps):
            self._step(elapsed / steps)
        return self.reference

    def _step(self, dt: float) -> None:
        """The filter's exact solution over `dt` with the carrot where it is half-way, unless the limits bind."""
        carrot = self._line.at(self._now + dt / 2)
        gap = _way(carrot, self._pose)
        slope, decay = self._twist + _W * gap, np.exp(-_W * dt)
        gap_after = (gap + slope * dt) * decay
        wanted = (slope * decay - _W * gap_after - self._twist) / dt
        acceleration = np.concatenate([self._limited(wanted, part, kind, dt) for kind, part in enumerate(_PARTS)])
        if np.abs(acceleration - wanted).max() < 1e-9:
            self._pose = _moved(carrot, gap_after)
        else:
            self._pose = _moved(self._pose, (self._twist + acceleration * dt / 2) * dt)
        self._twist = self._twist + acceleration * dt
        self._acceleration = acceleration  # its mean: at the step's end it would lag the moving carrot
        self._now += dt

    def _limited(self, wanted: np.ndarray, part: slice, kind: int, dt: float) -> np.ndarray:
        """Acceleration of translation or rotation within its limit and those of speed and jerk. Shape: (3,)

        Where acceleration is limited the filter falls behind; without the speed it would race to catch up.
        """
        before, twist = self._acceleration[part], self._twist[part]
        kept = (limit_norm(twist + wanted[part] * dt, self._limits.speed[kind]) - twist) / dt
        reached = before + limit_norm(kept - before, self._limits.jerk[kind] * dt)
        return np.asarray(limit_norm(reached, self._limits.acceleration[kind]))  # a projection lengthens no change


def _way(a: Pose, b: Pose) -> np.ndarray:
    """Translation and rotation vector, base frame, that take `a` to `b`. Shape: (6,)"""
    return np.concatenate([b.position - a.position, rotation_between(a.quaternion, b.quaternion)])


def _moved(pose: Pose, way: np.ndarray) -> Pose:
    """`pose` translated and turned by `way` (6,)."""
    quaternion = quat_multiply(quat_from_axis_angle(way[3:]), pose.quaternion)
    return Pose(pose.position + way[:3], quaternion / np.linalg.norm(quaternion))
