"""Experts that take the object between the fingers first."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from contract.poses import quat_rotate, yaw_of
from sim_training.envs.truth import Truth
from sim_training.teachers.experts.phase import Phase, about_z, everywhere, funnel

_AROUND_M, _STILL_AROUND_M = 0.010, 0.022
"""Near enough to begin to close, and to go on closing."""

_FACING_RAD = 0.12
_LIFT_M = 0.14
_STANDS_RAD = 0.05
_CLEAR_M = 0.02


def lift(truth: Truth) -> list[Phase]:
    """Take it and hold it high."""
    aim = truth.object.position.clone()
    aim[:, 2] = _LIFT_M + truth.half_size[:, 2]
    return [*take(truth), carry(truth, aim)]


def bring(truth: Truth) -> list[Phase]:
    """Take it and hold it at the goal."""
    assert truth.goal is not None
    return [*take(truth), carry(truth, truth.goal)]


def place(truth: Truth) -> list[Phase]:
    """Take it and put it down on the goal."""
    assert truth.goal is not None
    return _put_down(truth, truth.goal)


def stack(truth: Truth) -> list[Phase]:
    """Take it and put it down on the second object."""
    assert truth.second is not None
    assert truth.second_half_size is not None
    top = truth.second.position.clone()
    top[:, 2] += truth.second_half_size[:, 2] + truth.half_size[:, 2]
    return _put_down(truth, top)


def _put_down(truth: Truth, goal: Tensor) -> list[Phase]:
    """Take it, carry its centre over the goal and down, let go, rise. Shape: (N, 3)"""
    off = goal - truth.object.position
    placed = (off[:, :2].norm(dim=-1) < 0.015) & (off[:, 2] > -0.008)
    open_wide = truth.width > 2 * truth.half_size[:, 1] + 0.02
    stay, still = truth.tcp.position, torch.zeros_like(truth.tcp.position)
    no, never = everywhere(stay, False), everywhere(stay, False)
    up = stay + stay.new_tensor([0.0, 0.0, 0.1])
    return [
        *take(truth, or_done=placed),
        carry(truth, funnel(truth.object.position, goal), done=placed),
        Phase(stay, still, no, done=open_wide),
        Phase(torch.where((stay[:, 2] < 0.15)[:, None], up, stay), still, no, done=never),
    ]


def stand(truth: Truth) -> list[Phase]:
    """Take the peg in the middle, raise it until it can turn above the table, stand it up, set it down."""
    axis = quat_rotate(truth.object.quaternion, _unit(truth, 0))
    # Whichever end is higher goes up; the head, while it lies flat.
    end = torch.where(axis[:, 2:] > -0.3, axis, -axis)
    up = _unit(truth, 2)
    angle = torch.acos(end[:, 2].clamp(-1.0, 1.0))
    around = torch.linalg.cross(end, up)
    turn = around / around.norm(dim=-1, keepdim=True).clamp(min=1e-6) * angle[:, None]
    long = truth.half_size[:, 0]
    above, down = truth.object.position.clone(), truth.object.position.clone()
    above[:, 2], down[:, 2] = long + _CLEAR_M, long
    clear = truth.object.position[:, 2] > long - 0.004
    peg_yaw = yaw_of(truth.object.quaternion) - yaw_of(truth.tcp.quaternion)
    turning, lowering = carry(truth, above, done=angle < _STANDS_RAD), carry(truth, down)
    return [
        *take(truth, yaw=nearest(peg_yaw, math.pi)),
        carry(truth, above, done=clear),
        Phase(turning.target, turn, turning.closed, turning.done),
        Phase(lowering.target, turn, lowering.closed, lowering.done),
    ]


def take(truth: Truth, yaw: Tensor | None = None, or_done: Tensor | None = None) -> list[Phase]:
    """Come down over the object along a funnel with open fingers, then close. Both are done where `or_done` (N,)."""
    tcp, point = truth.tcp.position, truth.object.position
    if yaw is None:
        yaw = nearest(yaw_of(truth.object.quaternion) - yaw_of(truth.tcp.quaternion), math.pi / 2)
    distance = (point - tcp).norm(dim=-1)
    around = torch.where(truth.closed, distance < _STILL_AROUND_M, (distance < _AROUND_M) & (yaw.abs() < _FACING_RAD))
    done = truth.grasped if or_done is None else truth.grasped | or_done
    return [
        Phase(funnel(tcp, point), about_z(yaw), everywhere(tcp, False), done | around),
        Phase(point, torch.zeros_like(tcp), everywhere(tcp, True), done),
    ]


def carry(truth: Truth, aim: Tensor, done: Tensor | None = None) -> Phase:
    """Move the held object's centre to `aim`. Shape: (N, 3)"""
    tcp = truth.tcp.position
    closed, never = everywhere(tcp, True), everywhere(tcp, False)
    return Phase(tcp + aim - truth.object.position, torch.zeros_like(tcp), closed, never if done is None else done)


def nearest(yaw: Tensor, symmetry: float) -> Tensor:
    """The shortest turn that looks the same, for fingers that cannot tell turns by `symmetry` apart. Shape: (N,)"""
    return yaw - symmetry * torch.round(yaw / symmetry)


def _unit(truth: Truth, axis: int) -> Tensor:
    unit = torch.zeros_like(truth.tcp.position)
    unit[:, axis] = 1.0
    return unit
