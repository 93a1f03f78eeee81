"""Experts that push the object over the table with closed fingers."""

from __future__ import annotations

import math

import torch

from contract.poses import yaw_of
from sim_training.envs.truth import Truth
from sim_training.teachers.experts.phase import Phase, about_z, everywhere, funnel

_CLEARANCE_M = 0.05
_CONTACT_M = 0.012
_BESIDE_M, _CONE = 0.015, 0.5
"""Near enough to the line through goal and object to push: at contact, and the more for each metre before it."""

_LOW_M = 0.02
_THERE_M = 0.025
_RUN_UP_M, _THROUGH_M, _ACROSS_RAD = 0.085, 0.06, 0.1
_ROLLS_M_S, _MISS_M, _RETREAT_M = 0.12, 0.07, 0.05
_ASIDE_M, _STILL_ASIDE_M = 0.008, 0.02


def push(truth: Truth) -> list[Phase]:
    """Come down beyond the object as seen from its goal, push along the line, stop when it is there."""
    assert truth.goal is not None
    tcp, cube = truth.tcp.position, truth.object.position
    off = (truth.goal - cube)[:, :2]
    distance = off.norm(dim=-1)
    way = torch.cat([off / distance.clamp(min=1e-6)[:, None], torch.zeros_like(off[:, :1])], -1)
    half = truth.half_size[:, :1]
    start = cube - way * (half + _CLEARANCE_M)
    from_cube = tcp - cube
    along = (from_cube * way).sum(-1)
    aside = (from_cube - way * along[:, None])[:, :2].norm(dim=-1)
    before = -along - half[:, 0]
    low = from_cube[:, 2].abs() < _LOW_M
    ready = low & (before > 0) & (before < 2 * _CLEARANCE_M) & (aside < _BESIDE_M + _CONE * before)
    there = distance < _THERE_M
    still, closed = torch.zeros_like(tcp), everywhere(tcp, True)
    onward = cube - way * (half + _CONTACT_M) + way * distance[:, None].clamp(max=0.05)
    return [
        Phase(funnel(tcp, start), still, closed, ready | there),
        Phase(onward, still, closed, there),
        Phase(tcp, still, closed, everywhere(tcp, False)),
    ]


def roll(truth: Truth) -> list[Phase]:
    """Come down beyond the ball as seen from its goal, a flat side of the fingers across the line; strike; draw back.

    A ball that is pushed for long does not roll: the pads hold it, and it stops where they stop.
    """
    assert truth.goal is not None
    tcp, ball, radius = truth.tcp.position, truth.object.position, truth.half_size[:, 0]
    off = (truth.goal - ball)[:, :2]
    distance = off.norm(dim=-1)
    way = torch.cat([off / distance.clamp(min=1e-6)[:, None], torch.zeros_like(off[:, :1])], -1)
    quarter = math.pi / 2
    yaw = torch.atan2(way[:, 1], way[:, 0]) - yaw_of(truth.tcp.quaternion)
    yaw = yaw - quarter * torch.round(yaw / quarter)
    from_ball = tcp - ball
    along = (from_ball * way).sum(-1)
    aside = (from_ball - way * along[:, None])[:, :2].norm(dim=-1)
    behind = (along < -radius) & (along > -radius - _RUN_UP_M - 0.03) & (from_ball[:, 2].abs() < 0.012)
    striking = along > -radius - _RUN_UP_M + 0.01
    ready = behind & torch.where(striking, aside < _STILL_ASIDE_M, (aside < _ASIDE_M) & (yaw.abs() < _ACROSS_RAD))
    towards = (truth.velocity * way).sum(-1)
    missing = (truth.velocity - way * towards[:, None])[:, :2].norm(dim=-1) * distance
    sent = ((towards > _ROLLS_M_S) & (missing < _MISS_M * towards)) | truth.settled
    still, closed, never = torch.zeros_like(tcp), everywhere(tcp, True), everywhere(tcp, False)
    start = ball - way * (radius + _RUN_UP_M)[:, None]
    return [
        Phase(funnel(tcp, start), about_z(yaw), closed, ready | sent),
        Phase(ball + way * _THROUGH_M, still, closed, sent),
        Phase(torch.where((along > -radius - _RETREAT_M)[:, None], tcp - way * _THROUGH_M, tcp), still, closed, never),
    ]
