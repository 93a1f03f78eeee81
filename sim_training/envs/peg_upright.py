"""peg_upright: a peg lying across the table, to be stood up on its end."""

from __future__ import annotations

import math
from typing import Any

import torch
from mani_skill.utils.registration import register_env
from torch import Tensor

from contract.task_spec import Range
from contract.tasks import PEG_UPRIGHT
from sim_training.envs import scenery
from sim_training.envs.contract_task import ContractTask
from sim_training.envs.rewards import empty_handed, near, still, taking

_UPRIGHT_RAD, _ON_TABLE_M = 0.08, 0.005
"""ManiSkill's tolerances: of the peg's axis from the vertical, and of its height."""


@register_env("PegUpright-v1", max_episode_steps=PEG_UPRIGHT.horizon)
class PegUprightEnv(ContractTask):
    """ManiSkill's LiftPegUpright with the peg lying across: the arm can roll the hand, but not pitch it away."""

    card = PEG_UPRIGHT
    object_shape = scenery.Box((scenery.RED, scenery.BLUE))
    object_yaw = Range(math.pi / 2 - 0.3, math.pi / 2 + 0.3)
    symmetry = 2
    dense_best, simplified_best = 9.3, 4.0

    @property
    def upright(self) -> Tensor:
        """Share of the quarter turn from lying to standing, on either end. Shape: (N,) in [0, 1]"""
        return torch.asin(self.object_axis[:, 2].abs().clamp(max=1.0)) / (math.pi / 2)

    @property
    def _off_table(self) -> Tensor:
        return (self.object.position[:, 2] - self.half_size[:, 0]).abs()

    @property
    def settled(self) -> Tensor:
        """Standing, held or not. Shape: (N,) bool"""
        return ((1 - self.upright) * math.pi / 2 < _UPRIGHT_RAD) & (self._off_table < _ON_TABLE_M)

    def compute_dense_reward(self, obs: Any, action: Tensor, info: dict[str, Tensor]) -> Tensor:
        """Take it, turn it, set it on its end, keep still. At most 9.3. Shape: (N,)"""
        calm = still(self, info) - 0.5 * action[:, :6].square().sum(-1)
        turned = 3.0 * self.upright + self.upright * near(self._off_table, 4.0, 25.0)
        held = info["grasped"] * (2.0 + turned + self.settled * (1.0 + calm))
        return taking(self, action, info) + held - 0.05 * self._jerkiness

    def compute_simplified_reward(self, info: dict[str, Tensor]) -> Tensor:
        """1 for having it, up to 1 for how upright it is, 2 for success. Shape: (N,)"""
        return info["grasped"].float() + self.upright + 2 * info["success"] - empty_handed(self, info)
