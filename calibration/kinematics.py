"""Where the tool of a Panda or FR3 is for given joints, and which joints bring it somewhere: to plan with."""

from __future__ import annotations

import numpy as np

from contract.poses import Pose, rotation_between

# Denavit-Hartenberg parameters after Craig (Franka Control Interface documentation, "Denavit-Hartenberg parameters");
# the last row is the flange and the Franka Hand behind it, turned by −45°.
_A_M = (0.0, 0.0, 0.0, 0.0825, -0.0825, 0.0, 0.088, 0.0)
_D_M = (0.333, 0.0, 0.316, 0.0, 0.384, 0.0, 0.0, 0.107 + 0.1034)
_ALPHA_RAD = (0.0, -np.pi / 2, np.pi / 2, np.pi / 2, -np.pi / 2, np.pi / 2, np.pi / 2, 0.0)
_HAND_RAD = -np.pi / 4
_STEPS = 25
_DAMPING = 1e-3
_POSTURE = 0.02


def _links(q: np.ndarray) -> np.ndarray:
    """Frames of the seven joints and of the tool in the base frame. Shape: (7,) -> (8, 4, 4)"""
    T, frames = np.eye(4), []
    for a, d, alpha, theta in zip(_A_M, _D_M, _ALPHA_RAD, (*q.tolist(), _HAND_RAD), strict=True):
        ct, st, ca, sa = np.cos(theta), np.sin(theta), np.cos(alpha), np.sin(alpha)
        step = [[ct, -st, 0, a], [st * ca, ct * ca, -sa, -d * sa], [st * sa, ct * sa, ca, d * ca], [0, 0, 0, 1]]
        T = T @ np.array(step)
        frames.append(T)
    return np.array(frames)


def tool_pose(q: np.ndarray) -> Pose:
    """T_base_tcp. Shape: (7,)"""
    return Pose.from_matrix(_links(q)[-1])


def tool_jacobian(q: np.ndarray) -> np.ndarray:
    """Of the tool in the base frame, linear rows first. Shape: (7,) -> (6, 7)"""
    return _jacobian(_links(q))


def _jacobian(frames: np.ndarray) -> np.ndarray:
    axes = frames[:7, :3, 2]
    levers = np.cross(axes, frames[-1, :3, 3] - frames[:7, :3, 3])
    return np.concatenate([levers.T, axes.T])


def joints_for(target: Pose, q_near: np.ndarray, q_low: np.ndarray, q_high: np.ndarray) -> np.ndarray | None:
    """Joints (7,) inside those bounds that bring the tool there, near to `q_near`; None where none were found."""
    q = np.clip(q_near, q_low, q_high)
    for _ in range(_STEPS):
        frames = _links(q)
        here, J = Pose.from_matrix(frames[-1]), _jacobian(frames)
        error = np.concatenate([target.position - here.position, rotation_between(here.quaternion, target.quaternion)])
        if np.linalg.norm(error) < 1e-4:
            return q
        inverse = J.T @ np.linalg.inv(J @ J.T + _DAMPING * np.eye(6))
        rest = (np.eye(7) - inverse @ J) @ (q_near - q)
        q = np.clip(q + np.clip(inverse @ error + _POSTURE * rest, -0.3, 0.3), q_low, q_high)
    return None
