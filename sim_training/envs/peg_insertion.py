"""peg_insertion: a peg to be pushed half way into a hole in a box that stands on the table."""

from __future__ import annotations

import math
from typing import Any

import torch
from mani_skill.utils.registration import register_env
from torch import Tensor

from contract.poses import Pose
from contract.task_spec import Range
from contract.tasks import PEG_INSERTION
from sim_training.envs import scenery
from sim_training.envs.contract_task import ContractTask
from sim_training.envs.rewards import LIES_M, empty_handed, near, still, taking

_HOLE_M, _DEPTH_M = 0.023, 0.015
"""Half the hole's width: 3 mm more than the peg's. And ManiSkill's tolerance of the head from the box's middle."""


@register_env("PegInsertion-v1", max_episode_steps=PEG_INSERTION.horizon)
class PegInsertionEnv(ContractTask):
    """ManiSkill's PegInsertionSide with a box half as deep, so that the hand can hold the peg in its middle."""

    card = PEG_INSERTION
    object_shape = scenery.Box((scenery.WHITE, scenery.ORANGE))
    object_yaw = Range(math.pi / 2 - 0.8, math.pi / 2 + 0.8)
    symmetry = 2
    other = scenery.SecondObject(
        shape=scenery.Holed(scenery.SAND, _HOLE_M), yaw=Range(math.pi / 2 - 0.4, math.pi / 2 + 0.4), is_fixed=True
    )
    dense_best, simplified_best = 11.3, 3.0

    @property
    def _in_box(self) -> tuple[Tensor, Tensor]:
        """The peg's middle and head in the box's frame, whose x axis is the hole. Shapes: (N, 3), (N, 3)"""
        peg = self.second.inverse() @ self.object
        forward = torch.zeros_like(self.half_size)
        forward[:, 0] = self.half_size[:, 0]
        return peg.position, Pose(peg.position, peg.quaternion).apply(forward)

    @property
    def settled(self) -> Tensor:
        """The head within 15 mm of the box's middle or further, inside the hole. Shape: (N,) bool"""
        _, head = self._in_box
        return (head[:, 0] > -_DEPTH_M) & (head[:, 1:].abs() < _HOLE_M).all(-1)

    @property
    def _inserted(self) -> Tensor:
        """Share of the way from the mouth of the hole to its middle, along the hole. Shape: (N,) in [0, 1]"""
        _, head = self._in_box
        inside = (head[:, 1:].abs() < _HOLE_M).all(-1)
        return inside * torch.clip(1 + head[:, 0] / self.second_half_size[:, 0], 0.0, 1.0)

    def compute_dense_reward(self, obs: Any, action: Tensor, info: dict[str, Tensor]) -> Tensor:
        """Take the peg, bring it in line before the hole, push it in, keep still. At most 11.3. Shape: (N,)"""
        middle, head = self._in_box
        aside = torch.maximum(middle[:, 1:].norm(dim=-1), head[:, 1:].norm(dim=-1))
        mouth = torch.clip(-self.second_half_size[:, 0] - head[:, 0], min=0.0)
        lined = 2.0 * near(aside, 4.0, 30.0) + near(mouth)
        calm = still(self, info) - 0.5 * action[:, :3].square().sum(-1)
        held = info["grasped"] * (2.0 + lined + 3.0 * self._inserted + self.settled * (1.0 + calm))
        return taking(self, action, info) + held - 0.05 * self._jerkiness

    def compute_simplified_reward(self, info: dict[str, Tensor]) -> Tensor:
        """1 for having the peg off the table, up to 1 for how far it is inserted, 1 for success. Shape: (N,)"""
        having = (info["grasped"] & (info["height"] > LIES_M)).float()
        return having + self._inserted + info["success"].float() - empty_handed(self, info)
