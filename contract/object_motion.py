"""How an object that nobody watches may move: the tracker predicts with it, training's estimates age with it."""

from __future__ import annotations

from typing import Any

import numpy as np

from contract.arrays import namespace

PUSHES_PER_S = 0.02
"""How often an object at rest is taken to be set in motion. Choice: once in 50 s."""
PUSHED_SPEED_M_S = 0.15
"""Standard deviation of a moving object's velocity per axis; twice that is a brisk push."""
PUSHED_FOR_S = 0.3
"""Time constant with which a velocity that nobody sees any more is forgotten."""
CREEP_M = 0.001
"""Standard deviation per axis of what an object at rest moves in one second."""


def moved_share(age_s: Any) -> Any:
    """Probability that an object at rest was set in motion within `age_s`. Shape: (...)"""
    xp = namespace(age_s)
    return 1.0 - xp.exp(-PUSHES_PER_S * age_s)


def travelled_m2(age_s: Any) -> Any:
    """Variance per axis of the way that a moving object of unknown velocity has made, m². Shape: (...)

    The velocity is an Ornstein-Uhlenbeck process of PUSHED_SPEED_M_S and PUSHED_FOR_S.
    """
    xp = namespace(age_s)
    ratio = age_s / PUSHED_FOR_S
    return 2 * (PUSHED_SPEED_M_S * PUSHED_FOR_S) ** 2 * (ratio - 1.0 + xp.exp(-ratio))


def wandered_m2(age_s: Any) -> Any:
    """Variance per axis by which not looking for `age_s` makes an object at rest less certain, m². Shape: (...)"""
    return CREEP_M**2 * age_s + moved_share(age_s) * travelled_m2(age_s)


def position_sigma(covariance: np.ndarray) -> float:
    """Believed standard deviation of a position, m: the root of the mean of its three variances. Shape: (n, n)"""
    return float(np.sqrt(np.trace(covariance[:3, :3]) / 3))
