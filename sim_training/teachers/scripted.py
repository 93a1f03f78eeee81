"""A synthetic stand-in for a VLA: knows the truth, points roughly the right way, with named faults."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from contract.poses import Pose, yaw_of

_HOVER_M = 0.08
_LEVEL_M = 0.01
_FUNNEL = 2.0
_STEP_M = 0.05
_LIFTED_M = 0.15
_TURN_RAD = 0.2
_THERE_M, _THERE_RAD = 0.01, 0.1
"""Nearer than this the teacher has nothing to say; a direction would be noise."""


@dataclass(frozen=True)
class Faults:
    """noise: of each direction, as a share of the step's length. bias_m: constant error in where the object is."""

    noise: float = 0.3
    bias_m: tuple[float, float, float] = (0.005, -0.005, 0.0)


class ScriptedLiftTeacher:
    """Come down over the cube along a funnel, and go up once it is held, until it is high enough."""

    def __init__(self, faults: Faults | None = None):
        self._faults = faults or Faults()

    def delta(self, tcp: Pose, cube: Pose, grasped: Tensor) -> Tensor:
        """Physical tool delta, base frame: m, rotation vector rad, gripper. Shapes: (N, ...), (N,) -> (N, 7)"""
        offset = cube.position - tcp.position + tcp.position.new_tensor(self._faults.bias_m)
        beside = offset[:, :2].norm(dim=-1)
        height = (_FUNNEL * (beside - _LEVEL_M)).clamp(0.0, _HOVER_M)
        above = torch.cat([offset[:, :2], offset[:, 2:] + height[:, None]], -1)
        low = (cube.position[:, 2:] < _LIFTED_M).to(offset.dtype)
        up = low * offset.new_tensor([0.0, 0.0, _STEP_M])
        move = torch.where(grasped[:, None], up, above)
        move = move * (_STEP_M / move.norm(dim=-1, keepdim=True).clamp(min=_STEP_M))
        move = move * (move.norm(dim=-1, keepdim=True) > _THERE_M)
        move = move + self._faults.noise * move.norm(dim=-1, keepdim=True) * torch.randn_like(move) / math.sqrt(3)
        quarter = math.pi / 2
        yaw = yaw_of(cube.quaternion) - yaw_of(tcp.quaternion)
        yaw = yaw - quarter * torch.round(yaw / quarter)
        yaw = yaw * (yaw.abs() > _THERE_RAD)
        turn = torch.stack([torch.zeros_like(yaw), torch.zeros_like(yaw), yaw.clamp(-_TURN_RAD, _TURN_RAD)], -1)
        turn = torch.where(grasped[:, None], torch.zeros_like(turn), turn)
        close = grasped | (offset.norm(dim=-1) < 0.015)
        grip = torch.where(close, -1.0, 1.0)
        return torch.cat([move, turn, grip[:, None]], -1)
