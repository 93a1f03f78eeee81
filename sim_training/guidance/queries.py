"""When and where the teacher is asked within a rollout, and how one answer becomes targets for the steps after it."""

from __future__ import annotations

import torch
from torch import Tensor

from contract.task_spec import TaskSpec
from sim_training.guidance.losses import Targets
from sim_training.guidance.schedule import asked_at_a_time
from sim_training.teachers.teacher import Answer, increment


class GuidanceTargets:
    """Targets of one rollout, asked for once and kept: never asked again inside a minibatch.

    mean, spread: (T, N, 7) normalised actions. valid: (T, N) bool. query_steps: when to ask.
    """

    def __init__(self, spec: TaskSpec, length: int, count: int, calls: int, increments: int, device: torch.device):
        """`calls` queries spread evenly over `length` steps; each guides `increments` steps (D in VLAJS)."""
        self.mean, self.spread = torch.zeros(2, length, count, 7, device=device)
        self.valid = torch.zeros(length, count, dtype=torch.bool, device=device)
        self.query_steps = {int(i * length / calls) for i in range(calls)} if calls else set()
        self._spec, self._increments = spec, increments
        free = [True] * 3 + [scale > 0 for scale in spec.rotation_scale_rad] + [not spec.gripper_stays_closed]
        self._free = torch.tensor(free, device=device)

    def rows(self, share: float) -> Tensor:
        """Environments to ask about now: at most `share` of them, drawn anew each time. Shape: (b,) long, ascending"""
        count = self.valid.shape[1]
        budget = asked_at_a_time(share, count)
        return torch.randperm(count, device=self.valid.device)[:budget].sort().values

    def add(self, step: int, rows: Tensor, answers: list[Answer]) -> None:
        """Samples of a teacher's physical deltas for `rows`, asked for at `step`."""
        actions = torch.stack([increment(self._spec, answer.delta, self._increments) for answer in answers])
        valid = torch.stack([answer.valid for answer in answers]).all(0)
        steps = slice(step, step + self._increments)
        self.mean[steps, rows] = actions.mean(0)
        self.spread[steps, rows] = actions.std(0, correction=0)
        self.valid[steps, rows] = valid

    def end_episodes(self, step: int, done: Tensor) -> None:
        """A target belongs to its episode: drop what is left of it after `step`. Shape: (N,) bool"""
        self.valid[step + 1 : step + self._increments, done] = False

    def flat(self) -> Targets:
        """All steps of all environments, (T * N, ...)."""
        return Targets(self.mean.flatten(0, 1), self.spread.flatten(0, 1), self.valid.flatten(), self._free)
