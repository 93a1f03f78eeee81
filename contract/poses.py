"""Rigid transforms. Quaternions are wxyz; every function takes numpy arrays or torch tensors, batched on the left.

A single numpy vector is computed on plain floats, ten times as fast: guard and reference turn poses a thousand times a
second.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from contract.arrays import is_single, limit_norm, namespace, norm


def quat_multiply(a: Any, b: Any) -> Any:
    """Hamilton product a·b. Shape: (..., 4)"""
    if is_single(a) and is_single(b):
        return np.array(_product(a.tolist(), b.tolist()))
    parts = _product([a[..., i] for i in range(4)], [b[..., i] for i in range(4)])
    return namespace(a).stack(parts, -1)


def _product(a: list[Any], b: list[Any]) -> list[Any]:
    """The same on components, floats or arrays."""
    (aw, ax, ay, az), (bw, bx, by, bz) = a, b
    return [
        aw * bw - ax * bx - ay * by - az * bz,
        aw * bx + ax * bw + ay * bz - az * by,
        aw * by - ax * bz + ay * bw + az * bx,
        aw * bz + ax * by - ay * bx + az * bw,
    ]


_CONJUGATE = np.array([1.0, -1.0, -1.0, -1.0])


def quat_conjugate(q: Any) -> Any:
    """Inverse of a unit quaternion. Shape: (..., 4)"""
    return q * _CONJUGATE if is_single(q) else namespace(q).concatenate([q[..., :1], -q[..., 1:]], -1)


def quat_rotate(q: Any, v: Any) -> Any:
    """Vector `v` (..., 3) rotated by `q` (..., 4)."""
    xp = namespace(q)
    zero = xp.zeros_like(v[..., :1])
    return quat_multiply(quat_multiply(q, xp.concatenate([zero, v], -1)), quat_conjugate(q))[..., 1:]


def quat_from_axis_angle(rotation: Any) -> Any:
    """Unit quaternion of a rotation vector in radians. Shape: (..., 3) -> (..., 4)"""
    if is_single(rotation):
        return np.array(_turn(rotation.tolist()))
    xp = namespace(rotation)
    angle = norm(rotation)
    small = angle < 1e-8
    half_sinc = xp.where(small, xp.full_like(angle, 0.5), xp.sin(angle / 2) / xp.where(small, angle + 1, angle))
    return xp.concatenate([xp.cos(angle / 2), rotation * half_sinc], -1)


def _turn(rotation: list[float]) -> list[float]:
    """The same of one, on floats."""
    x, y, z = rotation
    length = math.sqrt(x * x + y * y + z * z)
    share = math.sin(length / 2) / length if length > 1e-8 else 0.5
    return [math.cos(length / 2), share * x, share * y, share * z]


def axis_angle_from_quat(q: Any) -> Any:
    """Rotation vector in radians, length at most pi. Shape: (..., 4) -> (..., 3)"""
    if is_single(q):
        return np.array(_axis_angle(q.tolist()))
    xp = namespace(q)
    q = xp.where(q[..., :1] < 0, -q, q)
    sine = norm(q[..., 1:])
    angle = 2 * xp.arctan2(sine, q[..., :1])
    small = sine < 1e-8
    scale = xp.where(small, xp.full_like(sine, 2.0), angle / xp.where(small, sine + 1, sine))
    return q[..., 1:] * scale


def _axis_angle(q: list[float]) -> list[float]:
    """The same of one, on floats."""
    w, x, y, z = q if q[0] >= 0.0 else [-part for part in q]
    length = math.sqrt(x * x + y * y + z * z)
    share = 2 * math.atan2(length, w) / length if length > 1e-8 else 2.0
    return [share * x, share * y, share * z]


def rotation_between(q_from: Any, q_to: Any) -> Any:
    """Rotation vector, in the base frame, that turns `q_from` into `q_to`. Shape: (..., 3)"""
    if is_single(q_from) and is_single(q_to):
        return np.array(_between(q_from.tolist(), q_to.tolist()))
    return axis_angle_from_quat(quat_multiply(q_to, quat_conjugate(q_from)))


def _between(q_from: list[float], q_to: list[float]) -> list[float]:
    """The same of one, on floats."""
    w, x, y, z = q_from
    return _axis_angle(_product(q_to, [w, -x, -y, -z]))


def rotate_towards(q_from: Any, q_to: Any, max_angle: float) -> Any:
    """`q_to`, or the point on the way to it that is `max_angle` radians from `q_from`. Shape: (..., 4)"""
    if is_single(q_from) and is_single(q_to):
        start = q_from.tolist()
        way = _between(start, q_to.tolist())
        share = min(1.0, max_angle / max(math.hypot(*way), 1e-12))
        return np.array(_product(_turn([share * part for part in way]), start))
    step = limit_norm(rotation_between(q_from, q_to), max_angle)
    return quat_multiply(quat_from_axis_angle(step), q_from)


def slerp(q_from: Any, q_to: Any, fraction: Any) -> Any:
    """Spherical interpolation along the shorter arc. Shape: (..., 4)"""
    return quat_multiply(quat_from_axis_angle(rotation_between(q_from, q_to) * fraction), q_from)


def yaw_of(q: Any) -> Any:
    """Heading about the base z axis of the tool's or object's x axis, radians. Shape: (..., 4) -> (...)"""
    w, x, y, z = q[..., 0], q[..., 1], q[..., 2], q[..., 3]
    return namespace(q).arctan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z))


def quat_from_yaw(yaw: Any) -> Any:
    """Rotation about the base z axis. Shape: (...) -> (..., 4)"""
    xp = namespace(yaw)
    zero = xp.zeros_like(yaw)
    return xp.stack([xp.cos(yaw / 2), zero, zero, xp.sin(yaw / 2)], -1)


def cosine(a: Any, b: Any, eps: float = 1e-6) -> Any:
    """Cosine of the angle between directions. Shape: (..., n), (..., n) -> (...)"""
    return (a * b).sum(-1) / (norm(a) * norm(b) + eps)[..., 0]


@dataclass(frozen=True)
class Pose:
    """A rigid transform: `position` in metres (..., 3), `quaternion` unit wxyz (..., 4). numpy or torch."""

    position: Any
    quaternion: Any

    def __matmul__(self, other: Pose) -> Pose:
        """Composition: T_a_b @ T_b_c = T_a_c."""
        return Pose(
            self.position + quat_rotate(self.quaternion, other.position),
            quat_multiply(self.quaternion, other.quaternion),
        )

    def inverse(self) -> Pose:
        """T_a_b -> T_b_a."""
        conjugate = quat_conjugate(self.quaternion)
        return Pose(-quat_rotate(conjugate, self.position), conjugate)

    def apply(self, points: Any) -> Any:
        """Points in the right frame's coordinates brought to the left frame's. Shape: (..., 3)"""
        return quat_rotate(self.quaternion + 0 * points[..., :1], points) + self.position

    def matrix(self) -> np.ndarray:
        """Homogeneous matrix of one (unbatched) numpy pose. Shape: (4, 4)"""
        T = np.eye(4)
        T[:3, :3] = np.stack([quat_rotate(self.quaternion, axis) for axis in np.eye(3)], axis=1)
        T[:3, 3] = self.position
        return T

    @staticmethod
    def from_matrix(T: np.ndarray) -> Pose:
        """One pose from a homogeneous matrix. Shape: (4, 4)"""
        R = np.asarray(T, float)[:3, :3]
        # Largest of the four quaternion components first: well conditioned everywhere (Shepperd 1978).
        squares = np.array([np.trace(R), R[0, 0], R[1, 1], R[2, 2]])
        k = int(np.argmax(squares))
        if k == 0:
            q = np.array([1 + squares[0], R[2, 1] - R[1, 2], R[0, 2] - R[2, 0], R[1, 0] - R[0, 1]])
        else:
            i, j, m = k - 1, k % 3, (k + 1) % 3
            q = np.zeros(4)
            q[0] = R[m, j] - R[j, m]
            q[1 + i] = 1 + R[i, i] - R[j, j] - R[m, m]
            q[1 + j] = R[j, i] + R[i, j]
            q[1 + m] = R[m, i] + R[i, m]
        return Pose(np.asarray(T, float)[:3, 3].copy(), q / np.linalg.norm(q))
