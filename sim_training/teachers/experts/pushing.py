"""The expert that slides the object over the table with closed fingers."""

from __future__ import annotations

import torch

from sim_training.envs.truth import Truth
from sim_training.teachers.experts.phase import Phase, everywhere, funnel

_CLEARANCE_M = 0.05
_CONTACT_M = 0.012
_BESIDE_M, _CONE = 0.015, 0.5
"""Near enough to the line through goal and object to push: at contact, and the more for each metre before it."""

_LOW_M = 0.02
_THERE_M = 0.025


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
