"""What can drive an episode besides a network: a synthetic stand-in for a person at a SpaceMouse."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from contract.arrays import limit_norm
from contract.task_spec import TaskSpec
from sim_training.teachers.experts import EXPERTS
from sim_training.teachers.experts.phase import current

NAME = "human-like demonstrator (synthetic)"
HORIZON_FACTOR = 2.0
"""A person takes longer than a policy."""

_DRIFT = 0.95
"""Of a wandering hand from tick to tick."""


@dataclass(frozen=True)
class Habits:
    """How it differs from a script that knows the truth; lengths in m, angles in rad, times in s.

    speed: share of full speed, another in each episode between these. tremor, wander: of a motion, as shares of it; the
    second drifts slowly. misjudged_m, misjudged_rad: how wrong it first is about where the object lies, horizontally,
    and how it is turned; a third of that is left after each look. pause_every_s, pause_s: means of both.
    reaction_s: from when it is time to close or to open until it does.
    """

    speed: tuple[float, float] = (0.3, 0.6)
    tremor: float = 0.2
    wander: float = 0.3
    misjudged_m: float = 0.02
    misjudged_rad: float = 0.2
    look_every_s: float = 0.6
    pause_every_s: float = 2.0
    pause_s: float = 0.4
    reaction_s: float = 0.25


class HumanLike:
    """Acts out the task's expert as a person might: slower, unsteady, with pauses and corrections. Synthetic."""

    def __init__(self, spec: TaskSpec, seed: int, habits: Habits | None = None) -> None:
        self._spec, self._expert, self._habits = spec, EXPERTS[spec.name], habits or Habits()
        self._random = torch.Generator().manual_seed(seed)
        self._drift, self._pause_s = torch.zeros(0, 6), torch.zeros(0)
        self._scale = torch.tensor([spec.translation_scale_m] * 3 + [s or math.inf for s in spec.rotation_scale_rad])

    def __call__(self, task: Any, observation: Tensor, running: Tensor) -> Tensor:
        """Normalised actions. Shape: (N, 7)"""
        count = len(running)
        if int(task._elapsed_steps.max()) == 0:
            self._begin(count)
        truth, habits = task.truth, self._habits
        phase = current(self._expert(truth))
        self._look(count)
        wrong = torch.where(truth.grasped[:, None], 0.0, self._wrong)
        away = torch.cat([phase.target - truth.tcp.position, phase.turn], -1) + wrong
        motion = away / self._scale
        motion = torch.cat([limit_norm(motion[:, :3], 1.0), limit_norm(motion[:, 3:], 1.0)], -1)
        self._drift = _DRIFT * self._drift + math.sqrt(1 - _DRIFT**2) * self._normal(count, 6)
        unsteady = habits.wander * self._drift + habits.tremor * self._normal(count, 6)
        shaken = motion + motion.norm(dim=-1, keepdim=True) * unsteady * torch.isfinite(self._scale)
        motion = torch.where(self._pausing(count)[:, None], 0.0, self._speed * shaken)
        return torch.cat([motion, self._grip(phase.closed)[:, None]], -1).clip(-1.0, 1.0)

    def _begin(self, count: int) -> None:
        low, high = self._habits.speed
        self._speed = low + (high - low) * self._uniform(count)[:, None]
        self._wrong = torch.zeros(count, 6)
        self._wrong[:, :2] = self._habits.misjudged_m * self._normal(count, 2)
        self._wrong[:, 5] = self._habits.misjudged_rad * self._normal(count, 1)[:, 0]
        self._drift = self._normal(count, 6)
        self._pause_s = torch.zeros(count)
        self._asked: list[Tensor] = []

    def _look(self, count: int) -> None:
        looks = self._uniform(count) < self._spec.period_s / self._habits.look_every_s
        self._wrong = torch.where(looks[:, None], self._wrong / 3, self._wrong)

    def _pausing(self, count: int) -> Tensor:
        begins = self._uniform(count) < self._spec.period_s / self._habits.pause_every_s
        length = -self._habits.pause_s * torch.log(1 - self._uniform(count))
        self._pause_s = torch.where(begins & (self._pause_s <= 0), length, self._pause_s - self._spec.period_s)
        return self._pause_s > 0

    def _grip(self, closed: Tensor) -> Tensor:
        """Of some ticks ago: 1 opens, -1 closes. Shape: (N,)"""
        self._asked = [*self._asked, closed][-1 - round(self._habits.reaction_s / self._spec.period_s) :]
        return torch.where(self._asked[0], -1.0, 1.0)

    def _normal(self, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=self._random)

    def _uniform(self, count: int) -> Tensor:
        return torch.rand(count, generator=self._random)
