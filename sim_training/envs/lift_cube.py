"""lift_cube: a 40 mm cube anywhere on a 30 x 40 cm area, to be lifted 10 cm and held still for half a second."""

from __future__ import annotations

from typing import Any

import torch
from mani_skill.utils.registration import register_env
from torch import Tensor

from contract.tasks import LIFT_CUBE
from sim_training.envs.contract_task import ContractTask
from sim_training.envs.rewards import empty_handed, still, taking


@register_env("LiftCube-v1", max_episode_steps=LIFT_CUBE.horizon)
class LiftCubeEnv(ContractTask):
    """A red cube, and nothing else."""

    card = LIFT_CUBE
    dense_best, simplified_best = 8.3, 4.0

    @property
    def settled(self) -> Tensor:
        """High enough. Shape: (N,) bool"""
        return self.object.position[:, 2] - self.half_size[:, 2] >= self.card.lift_height_m

    def _lifted(self, info: dict[str, Tensor]) -> Tensor:
        """1 at the height to hold, 0 on the table and as far above. Shape: (N,)"""
        aim = 1.4 * self.card.lift_height_m
        return torch.clip(1 - (info["height"] - aim).abs() / aim, 0.0, 1.0)

    def compute_dense_reward(self, obs: Any, action: Tensor, info: dict[str, Tensor]) -> Tensor:
        """Come near, face it, take it, lift it, hold it still: each stage adds to the last. At most 8.3. Shape: (N,)"""
        grasped = info["grasped"].float()
        up = (info["height"] >= self.card.lift_height_m).float()
        calm = still(self, info) - action[:, 2].square()
        drift = action[:, [0, 1, 5]].square().sum(-1)
        taken = grasped * (2.0 + 3.0 * self._lifted(info) + up * (1.0 + calm) - 0.5 * drift)
        return taking(self, action, info) + taken - 0.05 * self._jerkiness

    def compute_simplified_reward(self, info: dict[str, Tensor]) -> Tensor:
        """1 for having it, up to 2 for its height, 1 for success. At most 4. Shape: (N,)"""
        height = torch.clip(info["height"] / self.card.lift_height_m, 0.0, 1.0)
        held = info["grasped"] * (1.0 + 2.0 * height)
        return held + info["success"].float() - empty_handed(self, info)
