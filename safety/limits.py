"""What each arm can do, from its maker's datasheets. Nothing here is a wish; what a lab allows is in its cell file."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

import numpy as np


class UnknownArm(ValueError):
    """There is no limit table for this arm."""


@dataclass(frozen=True)
class ArmLimits:
    """One arm's limits: joints in rad, rad/s, rad/s², rad/s³, Nm (7,); tool and elbow as speed, acceleration, jerk."""

    q_low: np.ndarray
    q_high: np.ndarray
    dq: np.ndarray
    ddq: np.ndarray
    dddq: np.ndarray
    torque: np.ndarray
    translation: tuple[float, float, float]
    rotation: tuple[float, float, float]
    elbow: tuple[float, float, float]


# Franka Control Interface documentation, "Robot and interface specifications", Limits for Panda.
PANDA = ArmLimits(
    q_low=np.array([-2.8973, -1.7628, -2.8973, -3.0718, -2.8973, -0.0175, -2.8973]),
    q_high=np.array([2.8973, 1.7628, 2.8973, -0.0698, 2.8973, 3.7525, 2.8973]),
    dq=np.array([2.175, 2.175, 2.175, 2.175, 2.61, 2.61, 2.61]),
    ddq=np.array([15.0, 7.5, 10.0, 12.5, 15.0, 20.0, 20.0]),
    dddq=np.array([7500.0, 3750.0, 5000.0, 6250.0, 7500.0, 10000.0, 10000.0]),
    torque=np.array([87.0, 87.0, 87.0, 87.0, 12.0, 12.0, 12.0]),
    translation=(1.7, 13.0, 6500.0),
    rotation=(2.5, 25.0, 12500.0),
    elbow=(2.175, 10.0, 5000.0),
)

# The same documentation, Limits for Franka Research 3. The arm's own velocity bounds depend on joint position; these
# are the documentation's simplified fixed ones.
FR3 = ArmLimits(
    q_low=np.array([-2.7437, -1.7837, -2.9007, -3.0421, -2.8065, 0.5445, -3.0159]),
    q_high=np.array([2.7437, 1.7837, 2.9007, -0.1518, 2.8065, 4.5169, 3.0159]),
    dq=np.array([2.0, 1.0, 1.5, 1.25, 3.0, 1.5, 3.0]),
    ddq=np.array([10.0, 10.0, 10.0, 10.0, 10.0, 10.0, 10.0]),
    dddq=np.array([5000.0, 5000.0, 5000.0, 5000.0, 5000.0, 5000.0, 5000.0]),
    torque=np.array([87.0, 87.0, 87.0, 87.0, 12.0, 12.0, 12.0]),
    translation=(3.0, 9.0, 4500.0),
    rotation=(2.5, 17.0, 8500.0),
    elbow=(2.62, 10.0, 5000.0),
)

ARMS = {"panda": PANDA, "fr3": FR3}

TORQUE_RATE_NM_PER_MS = 1.0
"""Largest change of commanded torque per 1 kHz cycle: 1000 Nm/s on both arms (same documentation)."""


def arm_limits(model: str) -> ArmLimits:
    """The table of that arm. Raises UnknownArm with the nearest name."""
    if model in ARMS:
        return ARMS[model]
    near = difflib.get_close_matches(model, ARMS, n=1, cutoff=0.0)[0]
    raise UnknownArm(f"There are no limits for an arm '{model}'; did you mean '{near}'?")
