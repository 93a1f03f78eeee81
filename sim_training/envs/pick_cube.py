"""pick_cube: a cube to be brought to a point in the air; pick_place: to a marked spot, and let go there."""

from __future__ import annotations

from typing import Any

import torch
from mani_skill.utils.registration import register_env
from mani_skill.utils.structs.actor import Actor
from torch import Tensor

from contract.tasks import PICK_CUBE, PICK_PLACE
from sim_training.envs import scenery
from sim_training.envs.contract_task import ContractTask
from sim_training.envs.rewards import LIES_M, empty_handed, near, put_down, still, taking, within


@register_env("PickCubeContract-v1", max_episode_steps=PICK_CUBE.horizon)
class PickCubeEnv(ContractTask):
    """ManiSkill's PickCube: the goal is a green ball."""

    card = PICK_CUBE
    goal_apart_m = 0.08
    dense_best, simplified_best = 8.3, 3.0

    def _build_goal(self) -> Actor:
        assert self.card.goal_tolerance_m
        return scenery.goal_ball(self.scene, self.card.goal_tolerance_m)

    @property
    def to_goal(self) -> Tensor:
        """Metres from the cube's centre to its goal. Shape: (N,)"""
        return (self.goal_position - self.object.position).norm(dim=-1)

    @property
    def settled(self) -> Tensor:
        """At the goal. Shape: (N,) bool"""
        return self.to_goal < self.card.goal_tolerance_m

    def compute_dense_reward(self, obs: Any, action: Tensor, info: dict[str, Tensor]) -> Tensor:
        """Take it, bring it to the goal, hold it still there. At most 8.3. Shape: (N,)"""
        calm = still(self, info) - action[:, :3].square().sum(-1)
        there = self.settled.float() * (1.0 + calm)
        carried = info["grasped"] * (2.0 + 3.0 * near(self.to_goal, 3.0, 15.0) + there)
        return taking(self, action, info) + carried - 0.05 * self._jerkiness

    def compute_simplified_reward(self, info: dict[str, Tensor]) -> Tensor:
        """1 for having it off the table, up to 1 for being near the goal with it, 1 for success. Shape: (N,)"""
        having = (info["grasped"] & (info["height"] > LIES_M)).float()
        return having * (1 + within(self.to_goal)) + info["success"].float() - empty_handed(self, info)


@register_env("PickPlaceCube-v1", max_episode_steps=PICK_PLACE.horizon)
class PickPlaceEnv(PickCubeEnv):
    """The goal is painted on the table; the cube must lie on it with the fingers open."""

    card = PICK_PLACE
    goal_apart_m = 0.12
    dense_best, simplified_best = 9.0, 6.0

    def _build_goal(self) -> Actor:
        assert self.card.goal_tolerance_m
        return scenery.goal_disc(self.scene, self.card.goal_tolerance_m)

    @property
    def _placed(self) -> Tensor:
        """On its spot, held or not. Shape: (N,) bool"""
        off = (self.goal_position - self.object.position)[:, :2].norm(dim=-1)
        height = self.object.position[:, 2] - self.half_size[:, 2]
        return (off < self.card.goal_tolerance_m) & (height < LIES_M)

    @property
    def settled(self) -> Tensor:
        """On its spot with the fingers off it. Shape: (N,) bool"""
        return self._placed & (self.controller.gripper_width > 2 * self.half_size[:, 1] + 0.01)

    def compute_dense_reward(self, obs: Any, action: Tensor, info: dict[str, Tensor]) -> Tensor:
        """Take it, carry it, open on the spot, keep off it. At most 9. Shape: (N,)"""
        carried = info["grasped"] * (2.0 + 3.0 * near(self.to_goal, 3.0, 15.0))
        wish = (1 + action[:, 6].clip(-1, 1)) / 2
        released = 7.0 + still(self, info) + wish - 0.5 * action[:, :3].square().sum(-1)
        under_way = taking(self, action, info) + carried + self._placed * info["grasped"] * wish
        return torch.where(self._placed & ~info["grasped"], released, under_way) - 0.05 * self._jerkiness

    def compute_simplified_reward(self, info: dict[str, Tensor]) -> Tensor:
        """Of its stages; see `put_down`. Shape: (N,)"""
        return put_down(self, self.to_goal, self._placed, info)
