"""Experts that take something long and do something to the second object with it."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from contract import hook as tool
from contract.poses import Pose, yaw_of
from sim_training.envs.truth import Truth
from sim_training.teachers.experts.grasping import carry, nearest, take
from sim_training.teachers.experts.phase import Phase, about_z, funnel

_BEFORE_M = 0.025
"""Between head and what it is to touch, before it moves on."""

_STRAIGHT_RAD, _SQUARE_RAD = 0.06, 0.02
_ASIDE_M, _STILL_ASIDE_M = 0.006, 0.015
_TRUE_M, _STILL_TRUE_M = 0.0015, 0.004
_ABOVE_TABLE_M = 0.003
_POKED_M, _PULLED_M, _DEEP_M = 0.02, 0.55, 0.005
_CLEAR_M = 0.02


def poke(truth: Truth) -> list[Phase]:
    """Take the peg, lay it down behind the cube and in line with the goal, push along the line."""
    assert truth.second is not None
    assert truth.second_half_size is not None
    assert truth.goal is not None
    cube, peg = truth.second.position, truth.object.position
    off = truth.goal - cube
    distance = off[:, :2].norm(dim=-1)
    way = torch.cat([off[:, :2] / distance.clamp(min=1e-6)[:, None], torch.zeros_like(off[:, :1])], -1)
    reach = truth.half_size[:, 0] + truth.second_half_size[:, 0]
    place = _low(truth, cube - way * (reach + _BEFORE_M)[:, None])
    turn = _turn_to(truth, torch.atan2(way[:, 1], way[:, 0]))
    along, aside = _beside(peg - cube, way)
    low = (peg[:, 2] - truth.half_size[:, 2]) < 0.015
    touching = along > -reach - 0.012
    straight = torch.where(touching, aside < _STILL_ASIDE_M, (aside < _ASIDE_M) & (turn[:, 2].abs() < _STRAIGHT_RAD))
    ready = low & straight & (along < -reach + 0.02) & (along > -reach - _BEFORE_M - 0.02)
    there = distance < _POKED_M
    onward = _low(truth, peg + way * (distance + _CLEAR_M)[:, None])
    return [
        *take(truth, yaw=_along(truth)),
        replace(carry(truth, funnel(peg, place), done=ready | there), turn=turn),
        replace(carry(truth, onward, done=there), turn=turn),
        carry(truth, peg),
    ]


def hook(truth: Truth) -> list[Phase]:
    """Take the tool, slide its hook past the cube and behind it, pull. It is never lifted: it would droop."""
    assert truth.second is not None
    assert truth.second_half_size is not None
    half = truth.second_half_size[:, 0]
    cube = (truth.object.inverse() @ truth.second).position
    inner, tip = tool.GRIP_M + truth.half_size[:, 0] - tool.THICK_M, truth.half_size[:, 1] + tool.REACH_M
    outside = cube[:, 1] - half > tip + 0.004
    inside = (cube[:, 1] + half < tip - 0.015) | (cube[:, 1] - half < truth.half_size[:, 1] + 0.03)
    hooked = inside & (cube[:, 0] < inner)
    beyond = hooked | (cube[:, 0] + half < inner - 0.004)
    short = cube[:, 0] - half > inner + tool.THICK_M + 0.01
    pulled = truth.second.position[:, 0] < _PULLED_M
    turn = _turn_to(truth, torch.zeros_like(tip))
    stay = _low(truth, truth.object.position)
    aside, past, behind, nearer = stay.clone(), stay.clone(), stay.clone(), stay.clone()
    aside[:, 1] += cube[:, 1] - half - tip - _CLEAR_M
    past[:, 0] += cube[:, 0] + half + _CLEAR_M - inner
    past[:, 1] = aside[:, 1]
    behind[:, 1] += cube[:, 1] - half - truth.half_size[:, 1] - 0.01
    nearer[:, 0] -= 0.06
    clear = torch.where((short | outside)[:, None], aside, stay)
    return [
        *take(truth, yaw=_along(truth)),
        replace(carry(truth, clear, done=outside | beyond | pulled), turn=turn),
        replace(carry(truth, past, done=beyond | pulled), turn=turn),
        replace(carry(truth, behind, done=hooked | pulled), turn=turn),
        replace(carry(truth, nearer, done=pulled), turn=turn),
        carry(truth, stay),
    ]


def insert(truth: Truth) -> list[Phase]:
    """Take the peg, bring it before the hole and in line with it, push it in half way."""
    assert truth.second is not None
    assert truth.second_half_size is not None
    peg_in_box = (truth.second.inverse() @ truth.object).position
    aside = peg_in_box[:, 1:].norm(dim=-1)
    deep = truth.half_size[:, 0] - _DEEP_M
    before = deep + truth.second_half_size[:, 0] + _BEFORE_M
    turn = _turn_to(truth, yaw_of(truth.second.quaternion))
    entered = peg_in_box[:, 0] > -before + _BEFORE_M
    lined = torch.where(entered, aside < _STILL_TRUE_M, (aside < _TRUE_M) & (turn[:, 2].abs() < _SQUARE_RAD))
    ready = lined & (peg_in_box[:, 0] > -before - 0.015)
    place, home = _in_line(truth.second, -before), _in_line(truth.second, -deep)
    return [
        *take(truth, yaw=_along(truth)),
        replace(carry(truth, place, done=ready), turn=turn),
        replace(carry(truth, home), turn=turn),
    ]


def _in_line(box: Pose, along: Tensor) -> Tensor:
    """The point that far along the hole from the box's middle. Shape: (N,) -> (N, 3)"""
    zero = torch.zeros_like(along)
    return box.apply(torch.stack([along, zero, zero], -1))


def _along(truth: Truth) -> Tensor:
    """The turn that brings the fingers to the sides of what is long. Shape: (N,)"""
    return nearest(yaw_of(truth.object.quaternion) - yaw_of(truth.tcp.quaternion), math.pi)


def _turn_to(truth: Truth, yaw: Tensor) -> Tensor:
    """What is left to turn until the object's head points along `yaw` (N,). Shape: (N, 3)"""
    return about_z(nearest(yaw - yaw_of(truth.object.quaternion), 2 * math.pi))


def _beside(offset: Tensor, way: Tensor) -> tuple[Tensor, Tensor]:
    """How far along and beside a line on the table. Shapes: (N, 3), unit (N, 3) -> (N,), (N,)"""
    along = (offset * way).sum(-1)
    return along, (offset - way * along[:, None])[:, :2].norm(dim=-1)


def _low(truth: Truth, place: Tensor) -> Tensor:
    """The place at the height at which the object slides. Shape: (N, 3)"""
    return torch.cat([place[:, :2], truth.half_size[:, 2:] + _ABOVE_TABLE_M], -1)
