"""When an object counts as held, and where it is then: the camera cannot see it between the fingers."""

from __future__ import annotations

from typing import Any

from contract.poses import Pose
from contract.tasks import TaskSpec

WIDTH_TOLERANCE_M = 0.010
"""Finger width may differ this much from the object's: diagonal grips, size tolerance, pad compression."""


def is_holding(spec: TaskSpec, gripper_width: Any, gripper_closed: Any) -> Any:
    """True where the gripper was told to close and its fingers stopped at the object's width. Shape: (...) bool"""
    return gripper_closed & (abs(gripper_width - spec.object_width_m) < WIDTH_TOLERANCE_M)


def attach(pose_base_tcp: Pose, pose_base_object: Pose) -> Pose:
    """T_tcp_object at the moment of the grasp."""
    return pose_base_tcp.inverse() @ pose_base_object
