"""How much of a tool motion the joints can follow: their speed, their ends, and singular poses. Pure.

Margins are kept as barriers: of what is left of a margin h one tick may use the share `APPROACH` at most. So a limit is
approached ever more slowly, never met with a jump, and left freely.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

APPROACH = 0.3
DAMPING = 0.02
"""Of the least-squares inverse, against joint speeds without bound near a singular pose."""
LOOK_BELOW = 3.0
"""Times the least singular value allowed, below which it is looked where it goes."""


@dataclass(frozen=True)
class JointLimits:
    """q_low, q_high: rad, margins taken off; dq: rad/s. Shapes: (7,). singular_value: least of the Jacobian's."""

    q_low: np.ndarray
    q_high: np.ndarray
    dq: np.ndarray
    singular_value: float


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
    if not step.any():
        return Possible(1.0)
    left, values, right = np.linalg.svd(jacobian, full_matrices=False)
    inverse = (right.T * (values / (values**2 + DAMPING**2))) @ left.T
    ahead, change = q + inverse @ lead, inverse @ step
    share, reason = 1.0, ""

    fastest = np.abs(change) / period_s / limits.dq
    joint = int(fastest.argmax())
    if fastest[joint] > share:
        share, reason = 1.0 / float(fastest[joint]), f"joint {joint + 1} speed: {change[joint] / period_s:.2f} rad/s"
    margin = np.where(change > 0, limits.q_high - ahead, ahead - limits.q_low)
    used = np.abs(change) / np.maximum(APPROACH * margin, 1e-9)
    joint = int(used.argmax())
    if share * used[joint] > 1.0:
        share, reason = 1.0 / float(used[joint]), f"joint {joint + 1} limit: {max(0.0, margin[joint]):.3f} rad left"
    least = float(values[-1])
    if least < LOOK_BELOW * limits.singular_value:
        falls = -float(left[:, -1] @ jacobian_change(jacobian, change) @ right[-1])
        room = APPROACH * max(0.0, least - limits.singular_value)
        if share * falls > room:
            share, reason = room / falls, f"singular pose: least singular value {least:.3f}"
    return Possible(share, reason)


def jacobian_change(jacobian: np.ndarray, change: np.ndarray) -> np.ndarray:
    """First-order change of a geometric Jacobian (6, 7) for a small change of the joints (7,), from its own columns.

    Joint i turns everything beyond it: of column j, the axis if i is before j; the lever arm always, about the earlier.
    """
    levers, axes = jacobian[:3].T, jacobian[3:].T
    turned_axes = np.zeros((7, 3))
    turned_levers = np.zeros((7, 3))
    turn = np.zeros(3)
    for j in range(7):
        turned_axes[j] = _cross(turn, axes[j])
        turned_levers[j] = _cross(turn, levers[j])
        turn = turn + axes[j] * change[j]
    beyond = np.zeros(3)
    for j in range(6, -1, -1):
        beyond = beyond + levers[j] * change[j]
        turned_levers[j] += _cross(axes[j], beyond)
    return np.concatenate([turned_levers.T, turned_axes.T])


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    (ax, ay, az), (bx, by, bz) = a.tolist(), b.tolist()
    return np.array([ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx])
