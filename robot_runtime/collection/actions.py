"""What moved the tool between two recorded steps, in the base frame and in the wrist's: the dataset's actions."""

from __future__ import annotations

import numpy as np

from contract.poses import Pose, quat_conjugate, quat_from_axis_angle, quat_multiply, quat_rotate, rotation_between


def in_base(start_base_tcp: Pose, end_base_tcp: Pose, closed: bool) -> np.ndarray:
    """From one commanded pose to the next: m, rotation vector rad about the base's axes, gripper 1 open. Shape: (7,)"""
    turn = rotation_between(start_base_tcp.quaternion, end_base_tcp.quaternion)
    return np.concatenate([end_base_tcp.position - start_base_tcp.position, turn, [0.0 if closed else 1.0]])


def in_wrist(action_base: np.ndarray, start_base_tcp: Pose) -> np.ndarray:
    """The same motion about the axes of the tool where the step began. Shape: (7,)"""
    return _turned(action_base, quat_conjugate(start_base_tcp.quaternion))


def from_wrist(action_wrist: np.ndarray, start_base_tcp: Pose) -> np.ndarray:
    """Inverse of `in_wrist`. Shape: (7,)"""
    return _turned(action_wrist, start_base_tcp.quaternion)


def applied(action_base: np.ndarray, start_base_tcp: Pose) -> Pose:
    """Where that action leads. Inverse of `in_base`."""
    turn = quat_from_axis_angle(action_base[3:6])
    return Pose(start_base_tcp.position + action_base[:3], quat_multiply(turn, start_base_tcp.quaternion))


def pose_of(row: np.ndarray) -> Pose:
    """Of x, y, z and a quaternion wxyz. Shape: (7,)"""
    return Pose(np.array(row[:3]), np.array(row[3:]))


def row_of(pose: Pose) -> np.ndarray:
    """Inverse of `pose_of`. Shape: (7,)"""
    return np.concatenate([pose.position, pose.quaternion])


def _turned(action: np.ndarray, quaternion: np.ndarray) -> np.ndarray:
    return np.concatenate([quat_rotate(quaternion, action[:3]), quat_rotate(quaternion, action[3:6]), action[6:]])
