"""When the teacher is asked within a rollout, and how one answer becomes targets for the steps after it."""

from __future__ import annotations

import torch
from torch import Tensor

from contract.tasks import TaskSpec


class GuidanceTargets:
    """Targets of one rollout, asked for once and kept: never asked again inside a minibatch.

    targets: (T, N, 7) normalised actions. valid: (T, N) bool.
    """

    def __init__(self, spec: TaskSpec, length: int, count: int, calls: int, spread: int, device: torch.device):
        """`calls` queries spread evenly over `length` steps; each guides `spread` steps (D in VLAJS)."""
        self.targets = torch.zeros(length, count, 7, device=device)
        self.valid = torch.zeros(length, count, dtype=torch.bool, device=device)
        self._spread = spread
        scale = [spec.translation_scale_m] * 3 + [s or 1.0 for s in spec.rotation_scale_rad] + [1.0]
        self._scale = torch.tensor(scale, device=device)
        self.query_steps = {int(i * length / calls) for i in range(calls)} if calls else set()

    def add(self, step: int, delta: Tensor) -> None:
        """A teacher's physical delta asked for at `step`. Shape: (N, 7) m, rad, gripper (1 opens, -1 closes)

        Linear in translation; a rotation vector divided by D is its SLERP.
        """
        action = delta / self._scale
        action[:, :6] = action[:, :6] / self._spread
        self.targets[step : step + self._spread] = action
        self.valid[step : step + self._spread] = True

    def end_episodes(self, step: int, done: Tensor) -> None:
        """A target belongs to its episode: drop what is left of it after `step`. Shape: (N,) bool"""
        self.valid[step + 1 : step + self._spread, done] = False
