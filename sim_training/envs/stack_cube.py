"""stack_cube: the red cube is to be put on the green one and let go."""

from __future__ import annotations

from typing import Any

import torch
from mani_skill.utils.registration import register_env
from torch import Tensor

from contract.tasks import STACK_CUBE
from sim_training.envs import scenery
from sim_training.envs.contract_task import ContractTask
from sim_training.envs.rewards import near, put_down, still, taking

_ON_TOP_M, _ASIDE_M = 0.005, 0.005
"""ManiSkill's tolerances: of the height, and of the distance aside beyond half the cube's diagonal."""


@register_env("StackCubeContract-v1", max_episode_steps=STACK_CUBE.horizon)
class StackCubeEnv(ContractTask):
    """ManiSkill's StackCube."""

    card = STACK_CUBE
    other = scenery.SecondObject(apart_m=0.1)
    dense_best, simplified_best = 9.0, 6.0

    @property
    def _to_top(self) -> Tensor:
        """From the red cube to where it stands on the green one. Shape: (N, 3)"""
        off = self.second.position - self.object.position
        height = self.second_half_size[:, 2] + self.half_size[:, 2]
        return torch.cat([off[:, :2], (off[:, 2] + height)[:, None]], -1)

    @property
    def _on_top(self) -> Tensor:
        """On the green cube, held or not. Shape: (N,) bool"""
        off = self._to_top
        aside = self.half_size[:, :2].norm(dim=-1) + _ASIDE_M
        return (off[:, :2].norm(dim=-1) < aside) & (off[:, 2].abs() < _ON_TOP_M)

    @property
    def settled(self) -> Tensor:
        """On the green cube with the fingers off it. Shape: (N,) bool"""
        return self._on_top & (self.controller.gripper_width > 2 * self.half_size[:, 1] + 0.01)

    def compute_dense_reward(self, obs: Any, action: Tensor, info: dict[str, Tensor]) -> Tensor:
        """Take it, carry it, open on top, keep off it. At most 9. Shape: (N,)"""
        carried = info["grasped"] * (2.0 + 3.0 * near(self._to_top.norm(dim=-1), 3.0, 15.0))
        wish = (1 + action[:, 6].clip(-1, 1)) / 2
        released = 7.0 + still(self, info) + wish - 0.5 * action[:, :3].square().sum(-1)
        under_way = taking(self, action, info) + carried + self._on_top * info["grasped"] * wish
        return torch.where(self._on_top & ~info["grasped"], released, under_way) - 0.05 * self._jerkiness

    def compute_simplified_reward(self, info: dict[str, Tensor]) -> Tensor:
        """Of its stages; see `put_down`. Shape: (N,)"""
        return put_down(self, self._to_top.norm(dim=-1), self._on_top, info)
