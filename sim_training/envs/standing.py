"""Whether the task is solved: everything where it should be, and at rest, for long enough."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from contract.task_spec import TaskSpec


@dataclass
class Standing:
    """ticks: how long everything has stood as it should. speed: of what is brought, m/s. All (N,)

    success: it has stood long enough. first: since this tick, for the first time. ever: at any time in the episode.
    position: of what is brought, at the last tick (N, 3).
    """

    spec: TaskSpec
    ticks: Tensor
    speed: Tensor
    success: Tensor
    first: Tensor
    ever: Tensor
    position: Tensor

    @classmethod
    def of(cls, spec: TaskSpec, count: int, device: torch.device) -> Self:
        """Nothing solved yet, in `count` environments."""
        ticks = torch.zeros(count, dtype=torch.long, device=device)
        success, first, ever = torch.zeros(3, count, dtype=torch.bool, device=device)
        speed, position = torch.zeros(count, device=device), torch.zeros(count, 3, device=device)
        return cls(spec, ticks, speed, success, first, ever, position)

    def reset(self, rows: Tensor, position: Tensor) -> None:
        """Begin an episode. Shapes: (b,) indices, (b, 3)"""
        self.ticks[rows], self.speed[rows] = 0, 0.0
        self.ever[rows] = False
        self.position[rows] = position

    def update(self, position: Tensor, settled: Tensor, fresh: Tensor) -> None:
        """One tick for the environments in `fresh` (N,) bool. settled: all is where it should be (N,) bool."""
        # From positions: the velocities PhysX reports of a squeezed body hold what its solver undoes again.
        speed = (position - self.position).norm(dim=-1) * self.spec.rate_hz
        self.speed = torch.where(fresh, speed, self.speed)
        self.position = position
        stands = settled & (self.speed < self.spec.still_speed_m_s)
        self.ticks = torch.where(fresh, torch.where(stands, self.ticks + 1, 0), self.ticks)
        self.success = self.ticks >= round(self.spec.hold_s * self.spec.rate_hz)
        self.first = torch.where(fresh, self.success & ~self.ever, self.first)
        self.ever = self.ever | self.success
