"""Forward kinematics and Jacobian of the Panda arm (the FR3 has the same geometry), batched in torch.

pytorch-kinematics gives the same numbers at six times the cost, which would be a quarter of a whole training step.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from contract.poses import Pose, quat_from_axis_angle, quat_multiply, rotation_between

# Modified Denavit-Hartenberg parameters (a, d, alpha) of joints 1..7, Franka Control Interface documentation.
_DH = (
    (0.0, 0.333, 0.0),
    (0.0, 0.0, -math.pi / 2),
    (0.0, 0.316, math.pi / 2),
    (0.0825, 0.0, math.pi / 2),
    (-0.0825, 0.384, -math.pi / 2),
    (0.0, 0.0, math.pi / 2),
    (0.088, 0.0, math.pi / 2),
)
_FLANGE_M = 0.107
_FLANGE_TO_TCP_M = 0.1034
_HAND_YAW = -math.pi / 4
"""The Franka Hand sits turned by -45 degrees on the flange, its tool centre point 103.4 mm beyond it."""


def _rotation_columns(q: Tensor) -> tuple[list[Tensor], list[Tensor], Tensor]:
    """Axis and origin of every joint, and the rotation after joint 7. Shapes: 7 x (N, 3), 7 x (N, 3), (N, 3, 3)"""
    count = q.shape[0]
    x = q.new_tensor([1.0, 0.0, 0.0]).expand(count, 3)
    y = q.new_tensor([0.0, 1.0, 0.0]).expand(count, 3)
    z = q.new_tensor([0.0, 0.0, 1.0]).expand(count, 3)
    origin = q.new_zeros(count, 3)
    cos_q, sin_q = torch.cos(q), torch.sin(q)
    axes, origins = [], []
    for joint, (a, d, alpha) in enumerate(_DH):
        ca, sa = round(math.cos(alpha), 12), round(math.sin(alpha), 12)
        y, z = ca * y + sa * z, ca * z - sa * y
        origin = origin + a * x + d * z
        c, s = cos_q[:, joint, None], sin_q[:, joint, None]
        x, y = c * x + s * y, c * y - s * x
        axes.append(z)
        origins.append(origin)
    return axes, origins, torch.stack([x, y, z], dim=-1)


def _quaternion(R: Tensor) -> Tensor:
    """Unit quaternions wxyz of rotation matrices, well conditioned everywhere. Shape: (N, 3, 3) -> (N, 4)"""
    m00, m11, m22 = R[:, 0, 0], R[:, 1, 1], R[:, 2, 2]
    d21, d02, d10 = R[:, 2, 1] - R[:, 1, 2], R[:, 0, 2] - R[:, 2, 0], R[:, 1, 0] - R[:, 0, 1]
    s10, s02, s21 = R[:, 1, 0] + R[:, 0, 1], R[:, 0, 2] + R[:, 2, 0], R[:, 2, 1] + R[:, 1, 2]
    candidates = torch.stack(
        [
            torch.stack([1 + m00 + m11 + m22, d21, d02, d10], -1),
            torch.stack([d21, 1 + m00 - m11 - m22, s10, s02], -1),
            torch.stack([d02, s10, 1 - m00 + m11 - m22, s21], -1),
            torch.stack([d10, s02, s21, 1 - m00 - m11 + m22], -1),
        ],
        1,
    )
    best = torch.diagonal(candidates, dim1=1, dim2=2).argmax(1)
    q = candidates[torch.arange(len(R), device=R.device), best]
    return q / q.norm(dim=-1, keepdim=True)


def forward(q: Tensor) -> Pose:
    """Tool pose in the base frame. Shape: (N, 7) rad"""
    return _tcp(*_rotation_columns(q)[1:])


def _tcp(origins: list[Tensor], R: Tensor) -> Pose:
    position = origins[-1] + (_FLANGE_M + _FLANGE_TO_TCP_M) * R[:, :, 2]
    c, s = math.cos(_HAND_YAW), math.sin(_HAND_YAW)
    turned = torch.stack([c * R[:, :, 0] + s * R[:, :, 1], c * R[:, :, 1] - s * R[:, :, 0], R[:, :, 2]], -1)
    return Pose(position, _quaternion(turned))


def forward_with_jacobian(q: Tensor) -> tuple[Pose, Tensor]:
    """Tool pose and geometric Jacobian (linear rows, then angular; base frame). Shapes: (N, 7) -> Pose, (N, 6, 7)"""
    axes, origins, R = _rotation_columns(q)
    pose = _tcp(origins, R)
    z, o = torch.stack(axes, -1), torch.stack(origins, -1)
    linear = torch.linalg.cross(z, pose.position[:, :, None] - o, dim=1)
    return pose, torch.cat([linear, z], dim=1)


def ik_step(q: Tensor, target: Pose, q_rest: Tensor, damping: float = 0.02, posture: float = 0.05) -> Tensor:
    """Joints one damped least-squares step nearer to `target`, drifting to `q_rest` in the null space. Shape: (N, 7)"""
    pose, J = forward_with_jacobian(q)
    error = torch.cat([target.position - pose.position, rotation_between(pose.quaternion, target.quaternion)], -1)
    JT = J.transpose(1, 2)
    rest = posture * (q_rest - q)
    residual = error[..., None] - J @ rest[..., None]
    gram = J @ JT + damping**2 * torch.eye(6, dtype=q.dtype, device=q.device)
    return q + rest + (JT @ torch.linalg.solve(gram, residual))[..., 0]


def ik(q: Tensor, target: Pose, iterations: int = 8) -> Tensor:
    """Joints near `q` that reach `target`, by repeated damped steps. Shape: (N, 7)"""
    for _ in range(iterations):
        q = ik_step(q, target, q, damping=0.005)
    return q


def turn_about_z(quaternion: Tensor, yaw: Tensor) -> Tensor:
    """`quaternion` (N, 4) turned by `yaw` (N,) radians about the base z axis."""
    zero = torch.zeros_like(yaw)
    return quat_multiply(quat_from_axis_angle(torch.stack([zero, zero, yaw], -1)), quaternion)
