"""One phase of a scripted expert, and the moves that several experts make."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

_LEVEL_M, _FUNNEL = 0.01, 2.0


@dataclass(frozen=True)
class Phase:
    """target: where the tool should go, m, base frame (N, 3). turn: what is left to turn, rad, base frame (N, 3).

    closed: what the fingers should do (N,) bool. done: the next phase may begin (N,) bool.
    """

    target: Tensor
    turn: Tensor
    closed: Tensor
    done: Tensor


def current(phases: list[Phase], ahead: Tensor | int = 0) -> Phase:
    """The first phase that is not done, or one `ahead` of it (N,), row by row."""
    done = torch.stack([phase.done for phase in phases])
    index = ((~done).float().argmax(0) + ahead).clamp(max=len(phases) - 1)
    rows = torch.arange(len(index), device=index.device)
    target, turn, closed = (
        torch.stack([getattr(phase, name) for phase in phases])[index, rows] for name in ("target", "turn", "closed")
    )
    return Phase(target, turn, closed, done[index, rows])


def funnel(position: Tensor, place: Tensor, hover_m: float = 0.08) -> Tensor:
    """`place`, or a point above it as long as `position` is beside it. Shape: (N, 3)"""
    beside = (place - position)[:, :2].norm(dim=-1)
    height = (_FUNNEL * (beside - _LEVEL_M)).clamp(0.0, hover_m)
    return torch.cat([place[:, :2], place[:, 2:] + height[:, None]], -1)


def about_z(yaw: Tensor) -> Tensor:
    """The rotation vector of a turn about the base z axis. Shape: (N,) -> (N, 3)"""
    zero = torch.zeros_like(yaw)
    return torch.stack([zero, zero, yaw], -1)


def everywhere(like: Tensor, value: bool) -> Tensor:
    """The same answer in every environment. Shape: (N,) bool"""
    return torch.full((len(like),), value, dtype=torch.bool, device=like.device)
