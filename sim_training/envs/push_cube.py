"""push_cube, push_cube_v2 and pull_cube: a cube to be slid on the table onto a target with closed fingers."""

from __future__ import annotations

from typing import Any

import torch
from mani_skill.utils.registration import register_env
from torch import Tensor

from contract.tasks import PULL_CUBE, PUSH_CUBE, PUSH_CUBE_V2
from sim_training.envs import scenery
from sim_training.envs.contract_task import ContractTask
from sim_training.envs.rewards import near, still

FINGER_M = 0.012
"""How far the tool's centre stays from the face that it pushes."""


def behind(position: Tensor, goal: Tensor, half: Tensor, clearance: float = FINGER_M) -> Tensor:
    """Where the tool pushes from: beyond the object as seen from the goal, at its height. Shapes: (N, 3), (N,)"""
    way = (goal - position)[:, :2]
    way = way / way.norm(dim=-1, keepdim=True).clamp(min=1e-6)
    return torch.cat([position[:, :2] - way * (half[:, None] + clearance), position[:, 2:]], -1)


@register_env("PushCubeContract-v1", max_episode_steps=PUSH_CUBE.horizon)
class PushCubeEnv(ContractTask):
    """ManiSkill's PushCube: the target lies 20 cm further from the robot."""

    card = PUSH_CUBE
    object_shape = scenery.Box((scenery.BLUE,))
    holdable = False
    dense_best, simplified_best = 6.0, 2.0

    @property
    def to_goal(self) -> Tensor:
        """Metres on the table from the cube's centre to the target's. Shape: (N,)"""
        return (self.goal_position - self.object.position)[:, :2].norm(dim=-1)

    @property
    def settled(self) -> Tensor:
        """On the target, and on the table. Shape: (N,) bool"""
        lies = self.object.position[:, 2] < self.half_size[:, 2] + 0.005
        return (self.to_goal < self.card.goal_tolerance_m) & lies

    def compute_dense_reward(self, obs: Any, action: Tensor, info: dict[str, Tensor]) -> Tensor:
        """Go behind the cube, bring it to the target, leave it still. At most 6. Shape: (N,)"""
        place = behind(self.object.position, self.goal_position, self.half_size[:, 0])
        there = self.settled.float()
        reach = torch.where(self.settled, torch.ones_like(there), near((place - self.tcp.position).norm(dim=-1)))
        calm = still(self, info) - 0.5 * action[:, :3].square().sum(-1)
        on_the_way = 2.0 * near(self.to_goal, 4.0, 12.0)
        return reach + on_the_way + there * (2.0 + calm) - 0.05 * self._jerkiness

    def compute_simplified_reward(self, info: dict[str, Tensor]) -> Tensor:
        """Up to 1 for the share of the way that the cube has gone, 1 for success. Shape: (N,)"""
        assert self.card.goal_distance_m
        gone = torch.clip(1 - self.to_goal / self.card.goal_distance_m, 0.0, 1.0)
        return gone + info["success"].float()


@register_env("PushCubeContract-v2", max_episode_steps=PUSH_CUBE_V2.horizon)
class PushCubeV2Env(PushCubeEnv):
    """Out of distribution for a teacher of push_cube: a green 60 mm cube, elsewhere, to be pushed to the left."""

    card = PUSH_CUBE_V2
    object_shape = scenery.Box((scenery.GREEN,))


@register_env("PullCubeContract-v1", max_episode_steps=PULL_CUBE.horizon)
class PullCubeEnv(PushCubeEnv):
    """ManiSkill's PullCube: the target lies 20 cm nearer to the robot, so the hand goes over the cube first."""

    card = PULL_CUBE
