"""poke_cube: a cube to be pushed to its target with the end of a peg."""

from __future__ import annotations

from typing import Any

import torch
from mani_skill.utils.registration import register_env
from torch import Tensor

from contract.task_spec import Range
from contract.tasks import POKE_CUBE
from sim_training.envs import scenery
from sim_training.envs.contract_task import ContractTask
from sim_training.envs.push_cube import behind
from sim_training.envs.rewards import empty_handed, near, still, taking


@register_env("PokeCubeContract-v1", max_episode_steps=POKE_CUBE.horizon)
class PokeCubeEnv(ContractTask):
    """ManiSkill's PokeCube; here it counts only with the peg in the fingers."""

    card = POKE_CUBE
    object_shape = scenery.Box((scenery.BLUE,))
    object_yaw = Range(-0.3, 0.3)
    symmetry = 2
    other = scenery.SecondObject(shape=scenery.Box((scenery.RED,)), yaw=Range(-0.52, 0.52), is_brought=True)
    dense_best, simplified_best = 9.3, 3.0

    @property
    def to_goal(self) -> Tensor:
        """Metres on the table from the cube's centre to the target's. Shape: (N,)"""
        return (self.goal_position - self.second.position)[:, :2].norm(dim=-1)

    @property
    def head(self) -> Tensor:
        """The end of the peg that points away from the robot, base frame. Shape: (N, 3)"""
        return self.object.position + self.object_axis * self.half_size[:, :1]

    @property
    def settled(self) -> Tensor:
        """The cube on its target, the peg held. Shape: (N,) bool"""
        return (self.to_goal < self.card.goal_tolerance_m) & self.grasped

    @property
    def _gone(self) -> Tensor:
        """Share of the way that the cube has gone. Shape: (N,) in [0, 1]"""
        assert self.card.goal_distance_m
        return torch.clip(1 - self.to_goal / self.card.goal_distance_m, 0.0, 1.0)

    def compute_dense_reward(self, obs: Any, action: Tensor, info: dict[str, Tensor]) -> Tensor:
        """Take the peg, bring its head behind the cube, push to the target, keep still. At most 9.3. Shape: (N,)"""
        place = behind(self.second.position, self.goal_position, self.second_half_size[:, 0], 0.0)
        there = self.settled.float()
        reach = torch.maximum(near((place - self.head).norm(dim=-1)), there)
        calm = still(self, info) - 0.5 * action[:, :3].square().sum(-1)
        held = info["grasped"] * (2.0 + reach + 3.0 * self._gone + there * (1.0 + calm))
        return taking(self, action, info) + held - 0.05 * self._jerkiness

    def compute_simplified_reward(self, info: dict[str, Tensor]) -> Tensor:
        """1 for having the peg, with it up to 1 for the share of the cube's way, 1 for success. Shape: (N,)"""
        return info["grasped"] * (1.0 + self._gone) + info["success"].float() - empty_handed(self, info)
