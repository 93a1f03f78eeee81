"""pull_cube_tool: a cube that the arm cannot reach, to be pulled nearer with an L-shaped tool."""

from __future__ import annotations

from typing import Any

import torch
from mani_skill.utils.registration import register_env
from torch import Tensor

from contract import hook
from contract.task_spec import Range
from contract.tasks import PULL_CUBE_TOOL
from sim_training.envs import scenery
from sim_training.envs.contract_task import ContractTask
from sim_training.envs.rewards import empty_handed, near, still, taking

_REACHED_M, _FURTHEST_M = 0.6, 0.86
"""ManiSkill's tolerance: how near to the base the cube has to come; and how far off it is at most at the start."""


@register_env("PullCubeToolContract-v1", max_episode_steps=PULL_CUBE_TOOL.horizon)
class PullCubeToolEnv(ContractTask):
    """ManiSkill's PullCubeTool with a thinner, longer tool; here it counts only with the tool in the fingers."""

    card = PULL_CUBE_TOOL
    object_shape = scenery.Hook(scenery.RED, hook.GRIP_M, hook.REACH_M, hook.THICK_M)
    object_yaw = Range(-0.3, 0.3)
    symmetry = 2
    held_up_to_m = 0.0
    other = scenery.SecondObject(shape=scenery.Box((scenery.BLUE,)), yaw=Range(-0.52, 0.52), is_brought=True)
    dense_best, simplified_best = 9.3, 3.0

    @property
    def _far(self) -> Tensor:
        """Metres on the table from the robot's base to the cube. Shape: (N,)"""
        return self.second.position[:, :2].norm(dim=-1)

    @property
    def settled(self) -> Tensor:
        """The cube within reach, the tool held. Shape: (N,) bool"""
        return (self._far < _REACHED_M) & self.grasped

    @property
    def _come(self) -> Tensor:
        """Share of the way that the cube has come. Shape: (N,) in [0, 1]"""
        return torch.clip((_FURTHEST_M - self._far) / (_FURTHEST_M - _REACHED_M), 0.0, 1.0)

    @property
    def _off_hook(self) -> Tensor:
        """Metres between the cube and where it lies in the hook. Shape: (N,)"""
        half = self.second_half_size[:, 0]
        cube = (self.object.inverse() @ self.second).position
        inner = hook.GRIP_M + self.half_size[:, 0] - hook.THICK_M
        return torch.stack([cube[:, 0] + half - inner, cube[:, 1] - half - self.half_size[:, 1]], -1).norm(dim=-1)

    def compute_dense_reward(self, obs: Any, action: Tensor, info: dict[str, Tensor]) -> Tensor:
        """Take the tool, bring the hook around the cube, pull, keep still. At most 9.3. Shape: (N,)"""
        there = self.settled.float()
        around = torch.maximum(near(self._off_hook, 3.0, 12.0), there)
        calm = still(self, info) - 0.5 * action[:, :3].square().sum(-1)
        held = info["grasped"] * (2.0 + around + 3.0 * self._come + there * (1.0 + calm))
        return taking(self, action, info) + held - 0.05 * self._jerkiness

    def compute_simplified_reward(self, info: dict[str, Tensor]) -> Tensor:
        """1 for having the tool, with it up to 1 for the share of the cube's way, 1 for success. Shape: (N,)"""
        return info["grasped"] * (1.0 + self._come) + info["success"].float() - empty_handed(self, info)
