"""When an object counts as held, and where it is then: the camera cannot see it between the fingers."""

from __future__ import annotations

from typing import Any

from contract.poses import Pose
from contract.task_spec import TaskSpec

WIDTH_TOLERANCE_M = 0.010
"""Finger width may differ this much from the object's: diagonal grips, size tolerance, pad compression."""

REACH_M = 0.05
"""An object whose centre is further than this from the tool is not between the fingers, whatever their width."""


def is_holding(spec: TaskSpec, gripper_width: Any, gripper_closed: Any) -> Any:
    """True where the gripper was told to close and its fingers stopped at the object's width. Shape: (...) bool"""
    return gripper_closed & (abs(gripper_width - spec.object_width_m) < WIDTH_TOLERANCE_M)


def within_reach(pose_base_tcp: Pose, pose_base_object: Pose) -> Any:
    """True where the object may be between the fingers. Shape: (...) bool"""
    return ((pose_base_object.position - pose_base_tcp.position) ** 2).sum(-1) < REACH_M**2


def attach(pose_base_tcp: Pose, pose_base_object: Pose) -> Pose:
    """T_tcp_object at the moment of the grasp."""
    return pose_base_tcp.inverse() @ pose_base_object
