"""How much of a tool motion the joints can follow: their speed, their ends, and singular poses. Pure.

Margins are kept as barriers: of what is left of a margin h one tick may use the share `APPROACH` at most. So a limit is
approached ever more slowly, never met with a jump, and left freely.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.linalg.lapack import dsyev

APPROACH = 0.3
DAMPING = 0.02
"""Of the least-squares inverse, against joint speeds without bound near a singular pose."""
_BEFORE, _FROM_ON = np.tri(7, k=-1), np.tri(7).T
"""Sum up, for each joint, what is of those before it, or of it and those after."""
LOOK_BELOW = 3.0
"""Times the least singular value allowed, below which it is looked where it goes."""


@dataclass(frozen=True)
class JointLimits:
    """q_low, q_high: rad, margins taken off; dq: rad/s. Shapes: (7,). singular_value: least of the Jacobian's."""

    q_low: np.ndarray
    q_high: np.ndarray
    dq: np.ndarray
    singular_value: float

    @cached_property
    def lists(self) -> tuple[list[float], list[float], list[float]]:
        """q_low, q_high, dq as plain numbers."""
        return self.q_low.tolist(), self.q_high.tolist(), self.dq.tolist()


@dataclass(frozen=True)
class Possible:
    """share: of the asked motion that the joints can follow, 0 to 1. reason: one sentence for a share below 1."""

    share: float
    reason: str = ""


def possible(
    limits: JointLimits, q: np.ndarray, jacobian: np.ndarray, lead: np.ndarray, step: np.ndarray, period_s: float
) -> Possible:
    """How much of the tool motion `step` in one period can be followed.

    q: measured, (7,). jacobian: there, of the tool in the base frame, (6, 7). lead: from the measured tool pose to the
    last commanded one, m and rad (6,); the margins are those of where the command already is. step: m and rad, (6,).
    """
    if not any(step.tolist()):
        return Possible(1.0)
    squares, left, _ = dsyev(jacobian @ jacobian.T)  # of the singular values, the least first
    ways = left.T @ np.array([lead, step]).T / (squares + DAMPING**2)[:, None]
    ahead, change = (jacobian.T @ (left @ ways)).T
    share, reason = 1.0, ""

    # Plain numbers from here: for seven of them each of numpy's calls costs more than its work.
    fastest, nearest, quick, near = 0.0, 0.0, 0, 0
    turns, margins = change.tolist(), []
    rows = zip((q + ahead).tolist(), turns, *limits.lists, strict=True)
    for joint, (where, turn, low, high, most) in enumerate(rows):
        size, margin = (turn, high - where) if turn > 0.0 else (-turn, where - low)
        margins.append(margin)
        by_speed, by_limit = size / (period_s * most), size / max(APPROACH * margin, 1e-9)
        if by_speed > fastest:
            fastest, quick = by_speed, joint
        if by_limit > nearest:
            nearest, near = by_limit, joint
    if fastest > share:
        share, reason = 1.0 / fastest, f"joint {quick + 1} speed: {turns[quick] / period_s:.2f} rad/s"
    if share * nearest > 1.0:
        share, reason = 1.0 / nearest, f"joint {near + 1} limit: {max(0.0, margins[near]):.3f} rad left"
    least = math.sqrt(max(0.0, float(squares[0])))
    if least < LOOK_BELOW * limits.singular_value:
        right = left[:, 0] @ jacobian / max(least, 1e-9)
        falls = -change_between(left[:, 0], jacobian, right, change)
        room = APPROACH * max(0.0, least - limits.singular_value)
        if share * falls > room:
            share, reason = room / falls, f"singular pose: least singular value {least:.3f}"
    return Possible(share, reason)


def change_between(left: np.ndarray, jacobian: np.ndarray, right: np.ndarray, change: np.ndarray) -> float:
    """First-order change of left · J right for a small change of the joints (7,), from the columns of J (6, 7) alone.

    Joint i turns everything beyond it: of column j, the axis if i is before j; the lever arm always, about the earlier.
    With b_j the turn of what is before j, m_j the motion of what is from j on, l and a lever arm and axis, and u, w the
    two halves of `left`, that is the sum over j of right_j (u·(b×l) + u·(a×m) + w·(b×a)).
    """
    levers, axes = jacobian[:3].T, jacobian[3:].T
    turns, moves = axes * change[:, None], levers * change[:, None]
    before, beyond = _BEFORE @ turns, _FROM_ON @ moves
    u, w = _crossed_with(left[:3]), _crossed_with(left[3:])
    return float(right @ (before * (levers @ u + axes @ w) + axes * (beyond @ u)).sum(axis=1))


def _crossed_with(vector: np.ndarray) -> np.ndarray:
    """The matrix by which rows (N, 3) become their cross products with that vector. Shape: (3,) -> (3, 3)"""
    x, y, z = vector.tolist()
    return np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
