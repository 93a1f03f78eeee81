"""roll_ball: a ball to be sent rolling to a target that the arm cannot reach."""

from __future__ import annotations

from typing import Any

import torch
from mani_skill.utils.registration import register_env
from mani_skill.utils.structs.types import SceneConfig, SimConfig
from torch import Tensor

from contract.tasks import ROLL_BALL
from sim_training.envs import scenery
from sim_training.envs.contract_task import ContractTask
from sim_training.envs.push_cube import behind
from sim_training.envs.rewards import near

_FIELD_M = (0.15, -0.6), (1.07, 0.6)
"""Corners of the frame that keeps the ball on the table, x and y in the base frame."""

_FAR_M = 0.5
"""About how far the target is at the start."""

_BRISK_M_S = 0.2
"""Towards the target; the tool does at most 0.24."""


@register_env("RollBallContract-v1", max_episode_steps=ROLL_BALL.horizon)
class RollBallEnv(ContractTask):
    """ManiSkill's RollBall, away from the robot: a ball that has crossed the target has been sent there."""

    card = ROLL_BALL
    object_shape = scenery.Ball(scenery.BLUE)
    holdable = False
    dense_best, simplified_best = 6.0, 2.0

    @property
    def _default_sim_config(self) -> SimConfig:
        # PhysX would put a ball that rolls slower than 0.13 m/s to sleep.
        return SimConfig(scene_config=SceneConfig(sleep_threshold=1e-6))

    def _load_scene(self, options: dict[str, Any]) -> None:
        super()._load_scene(options)
        scenery.rails(self.scene, *_FIELD_M)

    @property
    def to_goal(self) -> Tensor:
        """Metres on the table from the ball to the target's centre. Shape: (N,)"""
        return (self.goal_position - self.object.position)[:, :2].norm(dim=-1)

    @property
    def settled(self) -> Tensor:
        """On the target, or once there in this episode. Shape: (N,) bool"""
        return (self.to_goal < self.card.goal_tolerance_m) | self.standing.ever

    @property
    def _towards_goal(self) -> Tensor:
        """How fast the ball nears the target, m/s. Shape: (N,)"""
        way = (self.goal_position - self.object.position)[:, :2] / self.to_goal[:, None].clamp(min=1e-6)
        return (self.actor.linear_velocity[:, :2] * way).sum(-1)

    def compute_dense_reward(self, obs: Any, action: Tensor, info: dict[str, Tensor]) -> Tensor:
        """Go behind the ball, send it off; 6 once it has arrived. At most 6. Shape: (N,)"""
        place = behind(self.object.position, self.goal_position, self.half_size[:, 0])
        rolling = torch.clip(self._towards_goal / _BRISK_M_S, 0.0, 1.0)
        reach = torch.maximum(near((place - self.tcp.position).norm(dim=-1)), rolling)
        under_way = reach + rolling + 2.0 * near(self.to_goal, 2.0, 6.0)
        return torch.where(info["success"], torch.full_like(reach, 6.0), under_way) - 0.05 * self._jerkiness

    def compute_simplified_reward(self, info: dict[str, Tensor]) -> Tensor:
        """Up to 1 for the share of the way that the ball has gone, 1 for success. Shape: (N,)"""
        gone = torch.clip(1 - self.to_goal / _FAR_M, 0.0, 1.0)
        return torch.where(info["success"], torch.full_like(gone, 2.0), gone)
