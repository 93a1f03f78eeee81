"""How often a teacher itself succeeds, when its deltas are executed as the contract's actions."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sim_training.teachers.teacher import Question, Teacher, checked, increment

INCREMENTS = 5
"""Ticks that one delta is meant for (D in VLAJS); here it is asked for anew at each."""


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
        question = Question.of(task, rows, teacher.needs_images)
        answer = checked(teacher.ask(question, deadline_s), count, teacher.name)
        # Where there is no answer the tool stays, and the gripper does what it was last told.
        action = torch.where(answer.valid[:, None], increment(spec, answer.delta, INCREMENTS), 0.0)
        _, _, _, _, info = env.step(action)
        succeeded |= info["success"]
    return succeeded
