"""Normalised action to commanded tool pose: the only place where its meaning is written."""

from __future__ import annotations

from typing import Any

import numpy as np

from contract.arrays import limit_norm, namespace
from contract.poses import Pose, quat_from_axis_angle, quat_multiply, rotate_towards
from contract.task_spec import TaskSpec

ACTION_SIZE = 7


def _like(values: Any, x: Any) -> Any:
    """A constant as the same kind of array as `x`."""
    return np.asarray(values) if namespace(x) is np else x.new_tensor(values)


def command_pose(spec: TaskSpec, action: Any, command_base_tcp: Pose, pose_base_tcp: Pose) -> Pose:
    """The next commanded tool pose.

    action: (..., 7) in [-1, 1]: translation, rotation vector (both base frame), gripper; values outside are clipped and
    both vectors are shortened to length 1, so full scale is a speed in every direction.
    command_base_tcp: previous command, which the delta is applied to. pose_base_tcp: measured, which bounds the lead.
    """
    xp = namespace(action)
    unit = xp.clip(action, -1.0, 1.0)
    moved = command_base_tcp.position + limit_norm(unit[..., :3], 1.0) * spec.translation_scale_m
    lead = limit_norm(moved - pose_base_tcp.position, spec.max_lead_m)
    position = pose_base_tcp.position + lead
    position = xp.maximum(position, _like(spec.command_low_m, position))
    position = xp.minimum(position, _like(spec.command_high_m, position))
    if spec.gentle_low_m is not None:
        before, height = command_base_tcp.position[..., 2:], position[..., 2:]
        deepest = xp.clip(before, None, spec.gentle_high_m) - spec.gentle_step_m
        height = xp.where(before > spec.gentle_low_m, xp.maximum(height, deepest), height)
        pressing = xp.maximum(height, pose_base_tcp.position[..., 2:] - spec.gentle_lead_m)
        height = xp.where(before <= spec.gentle_high_m, pressing, height)
        position = xp.concatenate([position[..., :2], height], -1)
    turn = limit_norm(unit[..., 3:6], 1.0) * _like(spec.rotation_scale_rad, unit)
    turned = quat_multiply(quat_from_axis_angle(turn), command_base_tcp.quaternion)
    return Pose(position, rotate_towards(pose_base_tcp.quaternion, turned, spec.max_lead_rad))


def gripper_closed(spec: TaskSpec, action: Any, was_closed: Any) -> Any:
    """Positive opens, negative closes, in between keeps what was last told; some tasks keep it closed. (...) bool"""
    grip = action[..., 6]
    closed = (grip < -spec.gripper_threshold) | (was_closed & (grip <= spec.gripper_threshold))
    return closed | bool(spec.gripper_stays_closed)
