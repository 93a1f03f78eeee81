"""What only a critic may see during training: things as they truly are, and what this episode's robot is like."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from contract.poses import Pose, quat_rotate, yaw_of
from contract.task_spec import TaskSpec

if TYPE_CHECKING:
    from sim_training.envs.contract_task import ContractTask


def privileged_size(spec: TaskSpec) -> int:
    """How many numbers that is for a task."""
    return 16 + 3 * spec.has_goal + 3 * spec.object_tilts + 9 * spec.has_second


def privileged(task: ContractTask, info: dict[str, Tensor]) -> Tensor:
    """Shape: (N, privileged_size)"""
    tcp, pose, controller = task.tcp, task.object, task.controller
    yaw = 4 * (yaw_of(pose.quaternion) - yaw_of(tcp.quaternion))
    scalars = [
        torch.cos(yaw),
        torch.sin(yaw),
        info["height"],
        info["grasped"].float(),
        task.standing.ticks / 10.0,
        task._elapsed_steps / task.card.horizon,
        task.half_size[:, 1] * 50,
        task._response_scale,
        controller.width_target * 10,
        controller._command_delay.float(),
    ]
    parts = [pose.position - tcp.position, task.actor.linear_velocity, torch.stack(scalars, -1)]
    if task.card.has_goal:
        parts.append(task.goal_position - task.brought.position)
    if task.card.object_tilts:
        parts.append(task.object_axis)
    if task.second_actor is not None:
        second = task.second
        parts += [second.position - pose.position, task.second_actor.linear_velocity, x_axis(second)]
    return torch.cat(parts, -1)


def x_axis(pose: Pose) -> Tensor:
    """Where the pose's own x axis points, base frame. Shape: (N, 3)"""
    unit = torch.tensor([1.0, 0.0, 0.0], device=pose.position.device)
    return quat_rotate(pose.quaternion, unit.expand(len(pose.quaternion), 3))
