"""How often a teacher itself succeeds, when its deltas are executed as the contract's actions."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from contract.arrays import limit_norm
from contract.poses import Pose
from contract.tasks import TaskSpec
from sim_training.teachers.teacher import Question, Teacher, checked

INCREMENTS = 5
"""Ticks that one delta is meant for (D in VLAJS); here it is asked for anew at each."""


def as_action(spec: TaskSpec, delta: Tensor) -> Tensor:
    """One tick's share of a physical delta, in the contract's units; locked axes stay. Shape: (N, 7)"""
    scale = delta.new_tensor([spec.translation_scale_m] * 3 + [s or torch.inf for s in spec.rotation_scale_rad])
    share = delta[:, :6] / INCREMENTS / scale
    return torch.cat([limit_norm(share[:, :3], 1.0), limit_norm(share[:, 3:], 1.0), delta[:, 6:]], -1)


@torch.no_grad()
def success(env: Any, teacher: Teacher, seed: int, deadline_s: float = 10.0) -> Tensor:
    """One episode in every environment, driven by the teacher; whether each succeeded at any time. Shape: (N,) bool"""
    task = env.unwrapped
    count, spec = task.num_envs, task.card
    torch.manual_seed(seed)
    env.reset(seed=[seed + i for i in range(count)])
    rows = torch.arange(count, device=task.device)
    teacher.begin(rows)
    succeeded = torch.zeros(count, dtype=torch.bool, device=task.device)
    for _ in range(spec.horizon):
        images = env.render().cpu().numpy() if teacher.needs_images else None
        tcp = Pose(task.tcp.position, task.tcp.quaternion)
        question = Question(rows, [spec.instruction] * count, tcp, images, task.truth)
        answer = checked(teacher.ask(question, deadline_s), count, teacher.name)
        # Where there is no answer the tool stays, and the gripper does what it was last told.
        action = torch.where(answer.valid[:, None], as_action(spec, answer.delta), 0.0)
        _, _, _, _, info = env.step(action)
        succeeded |= info["success"]
    return succeeded
