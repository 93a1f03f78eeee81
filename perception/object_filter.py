"""One object's pose and motion as two hypotheses, at rest and in motion, filtered together. Pure functions.

An interacting multiple model filter (Blom and Bar-Shalom, IEEE TAC 33, 1988) of two Kalman filters on poses. Alone, a
constant-velocity filter quick enough for a pushed cube would let one at rest tremble with every measurement.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from contract.object_motion import CREEP_M, PUSHED_FOR_S, PUSHED_SPEED_M_S, moved_share
from contract.poses import Pose, quat_from_axis_angle, quat_multiply, rotation_between, yaw_of
from contract.task_spec import TaskSpec

_CREEP_RAD = 0.01
"""Standard deviation of what an object at rest turns in one second."""
_TURNING_RAD_S = 1.0
"""Standard deviation of a moving object's rate of turn per axis."""
_STOPS_S = 0.5
"""Mean time that an object keeps moving."""
_FIRST_MOVING = 0.1
"""Probability that an object seen for the first time moves."""
_SYMMETRY_RAD = {"peg": math.pi, "ball": 0.0}
"""Turn about its own axis after which an object looks the same; a ball has no heading to be wrong about."""


@dataclass(frozen=True)
class Shape:
    """How poses of one kind of object differ.

    dimensions: 4 for x, y, z, yaw; 6 for x, y, z and a rotation vector, base frame.
    symmetry_rad: turn about the vertical (4) or the object's own x axis (6) that changes nothing; 0 for any.
    """

    dimensions: int
    symmetry_rad: float

    @staticmethod
    def of(spec: TaskSpec) -> Shape:
        """Of a card's object: cubes and the sides of tilting ones repeat every quarter turn, tools never."""
        half = spec.half_size_m
        if spec.object_tilts:
            return Shape(6, math.pi / 2 if half[1] == half[2] else 2 * math.pi)
        quarter = math.pi / 2 if half[0] == half[1] else 2 * math.pi
        return Shape(4, _SYMMETRY_RAD.get(spec.object_name, quarter))

    def difference(self, to: Pose, of: Pose) -> np.ndarray:
        """What moves `of` to the nearest pose that looks like `to`. Shape: (dimensions,)"""
        moved = to.position - of.position
        if self.dimensions == 6:
            return np.concatenate([moved, self._turn(to.quaternion, of.quaternion)])
        yaw = float(yaw_of(to.quaternion) - yaw_of(of.quaternion))
        period = self.symmetry_rad
        yaw = (yaw + period / 2) % period - period / 2 if period else 0.0
        return np.array([*moved, yaw])

    def _turn(self, to: np.ndarray, of: np.ndarray) -> np.ndarray:
        count = max(1, round(2 * math.pi / self.symmetry_rad)) if self.symmetry_rad else 1
        alike = [quat_from_axis_angle(np.array([2 * math.pi * k / count, 0.0, 0.0])) for k in range(count)]
        turns = [rotation_between(of, quat_multiply(to, one)) for one in alike]
        nearest: np.ndarray = min(turns, key=lambda turn: float(turn @ turn))
        return nearest

    def moved(self, pose: Pose, difference: np.ndarray) -> Pose:
        """`pose` moved by such a difference."""
        turn = difference[3:] if self.dimensions == 6 else np.array([0.0, 0.0, difference[3]])
        q = quat_multiply(quat_from_axis_angle(turn), pose.quaternion)
        return Pose(pose.position + difference[:3], q / np.linalg.norm(q))

    @property
    def creep(self) -> np.ndarray:
        """Variance that an object at rest gains in one second. Shape: (dimensions,)"""
        return np.array([CREEP_M] * 3 + [_CREEP_RAD] * (self.dimensions - 3)) ** 2

    @property
    def speeds(self) -> np.ndarray:
        """Variance of a moving object's rates. Shape: (dimensions,)"""
        return np.array([PUSHED_SPEED_M_S] * 3 + [_TURNING_RAD_S] * (self.dimensions - 3)) ** 2


@dataclass(frozen=True)
class Candidate:
    """Something in a frame that may be the object. covariance: of x, y, z, yaw or x, y, z, rotation vector (n, n)."""

    pose_base_object: Pose
    covariance: np.ndarray
    confidence: float


@dataclass(frozen=True)
class Track:
    """What is believed of one object at `stamp`, the robot time of the last measurement taken in.

    rest, moving: pose if it rests or moves; rest_covariance (n, n); moving_covariance of pose and rates (2n, 2n).
    rate: of the moving one, m/s and rad/s (n,). moving_share: probability that it moves.
    nis: normalised innovation squared of the last measurement under the likelier hypothesis, None where there was
    nothing to compare it with.
    """

    stamp: float
    rest: Pose
    rest_covariance: np.ndarray
    moving: Pose
    rate: np.ndarray
    moving_covariance: np.ndarray
    moving_share: float
    confidence: float
    nis: float | None = None

    def mean(self, shape: Shape) -> Pose:
        """The expected pose."""
        return shape.moved(self.rest, self.moving_share * shape.difference(self.moving, self.rest))

    def covariance(self, shape: Shape) -> np.ndarray:
        """Of that. Shape: (n, n)"""
        n, share = shape.dimensions, self.moving_share
        apart = shape.difference(self.moving, self.rest)
        within = (1 - share) * self.rest_covariance + share * self.moving_covariance[:n, :n]
        return within + share * (1 - share) * np.outer(apart, apart)


def begun(shape: Shape, stamp: float, seen: Candidate, moving_share: float = _FIRST_MOVING) -> Track:
    """What one measurement alone says."""
    n = shape.dimensions
    moving = np.zeros((2 * n, 2 * n))
    moving[:n, :n], moving[n:, n:] = seen.covariance, np.diag(shape.speeds)
    pose = seen.pose_base_object
    return Track(stamp, pose, seen.covariance, pose, np.zeros(n), moving, moving_share, seen.confidence)


def predicted(shape: Shape, track: Track, stamp: float) -> Track:
    """The same object later, not looked at in between: likelier to have moved, and less certain."""
    dt = stamp - track.stamp
    if dt <= 0:
        return track
    mixed = _mixed(shape, track, dt)
    n, decay = shape.dimensions, math.exp(-dt / PUSHED_FOR_S)
    reach = PUSHED_FOR_S * (1 - decay)
    F = np.eye(2 * n)
    F[:n, n:], F[n:, n:] = reach * np.eye(n), decay * np.eye(n)
    position = PUSHED_FOR_S**2 * (2 * dt / PUSHED_FOR_S - 3 + 4 * decay - decay**2)
    Q = np.zeros((2 * n, 2 * n))
    Q[:n, :n] = np.diag(position * shape.speeds + shape.creep * dt)
    Q[:n, n:] = Q[n:, :n] = np.diag(PUSHED_FOR_S * (1 - decay) ** 2 * shape.speeds)
    Q[n:, n:] = np.diag((1 - decay**2) * shape.speeds)
    return replace(
        mixed,
        stamp=stamp,
        rest_covariance=mixed.rest_covariance + np.diag(shape.creep) * dt,
        moving=shape.moved(mixed.moving, reach * mixed.rate),
        rate=decay * mixed.rate,
        moving_covariance=F @ mixed.moving_covariance @ F.T + Q,
    )


def _mixed(shape: Shape, track: Track, dt: float) -> Track:
    """Both hypotheses as they begin an interval in which a resting object may be set moving, and a moving one stop."""
    n, share = shape.dimensions, track.moving_share
    starts, stops = float(moved_share(np.float64(dt))), 1 - math.exp(-dt / _STOPS_S)
    still_rests, has_stopped = (1 - share) * (1 - starts), share * stops
    has_started, still_moves = (1 - share) * starts, share * (1 - stops)
    rests, moves = still_rests + has_stopped, has_started + still_moves
    apart = shape.difference(track.moving, track.rest)
    stopped = has_stopped / rests if rests > 0 else 0.0
    rest_covariance = (1 - stopped) * track.rest_covariance + stopped * track.moving_covariance[:n, :n]
    started = has_started / moves
    fresh = np.zeros((2 * n, 2 * n))
    fresh[:n, :n], fresh[n:, n:] = track.rest_covariance, np.diag(shape.speeds)
    jump = np.concatenate([apart, track.rate])
    return replace(
        track,
        rest=shape.moved(track.rest, stopped * apart),
        rest_covariance=rest_covariance + stopped * (1 - stopped) * np.outer(apart, apart),
        moving=shape.moved(track.moving, -started * apart),
        rate=(1 - started) * track.rate,
        moving_covariance=started * fresh
        + (1 - started) * track.moving_covariance
        + started * (1 - started) * np.outer(jump, jump),
        moving_share=moves,
    )


def innovation(shape: Shape, track: Track, seen: Candidate) -> tuple[float, float]:
    """Normalised innovation squared of a measurement at the track's stamp, and the logarithm of its volume."""
    total = track.covariance(shape) + seen.covariance
    off = shape.difference(seen.pose_base_object, track.mean(shape))
    return _squared(off, total), float(np.linalg.slogdet(total)[1])


def corrected(shape: Shape, track: Track, seen: Candidate) -> Track:
    """`track`, predicted to the measurement's stamp, with it taken in."""
    n = shape.dimensions
    off_rest = shape.difference(seen.pose_base_object, track.rest)
    total_rest = track.rest_covariance + seen.covariance
    gain_rest = track.rest_covariance @ np.linalg.inv(total_rest)
    off_moving = shape.difference(seen.pose_base_object, track.moving)
    total_moving = track.moving_covariance[:n, :n] + seen.covariance
    gain_moving = track.moving_covariance[:, :n] @ np.linalg.inv(total_moving)
    step = gain_moving @ off_moving
    odds = _log_density(off_moving, total_moving) - _log_density(off_rest, total_rest)
    share = track.moving_share
    if 0 < share < 1:
        share = 1 / (1 + math.exp(min(700.0, math.log((1 - share) / share) - odds)))
    likelier = (off_rest, total_rest) if share < 0.5 else (off_moving, total_moving)
    return replace(
        track,
        rest=shape.moved(track.rest, gain_rest @ off_rest),
        rest_covariance=_symmetric(track.rest_covariance - gain_rest @ track.rest_covariance),
        moving=shape.moved(track.moving, step[:n]),
        rate=track.rate + step[n:],
        moving_covariance=_symmetric(track.moving_covariance - gain_moving @ track.moving_covariance[:n]),
        moving_share=share,
        confidence=seen.confidence,
        nis=_squared(*likelier),
    )


def _squared(off: np.ndarray, covariance: np.ndarray) -> float:
    """Squared Mahalanobis length."""
    return float(off @ np.linalg.solve(covariance, off))


def _log_density(off: np.ndarray, covariance: np.ndarray) -> float:
    return -0.5 * (_squared(off, covariance) + float(np.linalg.slogdet(covariance)[1]))


def _symmetric(covariance: np.ndarray) -> np.ndarray:
    return (covariance + covariance.T) / 2
