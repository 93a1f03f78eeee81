"""What an arm says about itself at rest, for the preflight."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import dataclass

import numpy as np

REPORT_S = 0.5
"""So long the force on the tool is averaged."""
JOINTS = 7


@dataclass(frozen=True)
class ReportedLimits:
    """Joint limits in rad, rad/s and Nm as the arm's own description gives them. Shapes: (7,)"""

    q_low: np.ndarray
    q_high: np.ndarray
    dq: np.ndarray
    torque: np.ndarray


@dataclass(frozen=True)
class ArmReport:
    """mode: libfranka's name of it. errors: those that are set, or nothing. limits: None where the arm tells none.

    tool_off_m, tool_off_rad: between the end effector chosen in Desk and the Franka Hand. speed_rad_s: fastest joint.
    force_base: external force on the tool, averaged over REPORT_S, base frame, N. Shape: (3,)
    """

    mode: str
    errors: str
    tool_off_m: float
    tool_off_rad: float
    force_base: np.ndarray
    speed_rad_s: float
    limits: ReportedLimits | None


def joint_limits(urdf: str) -> ReportedLimits | None:
    """The limits of the first seven revolute joints of a robot description; None if it has not so many."""
    try:
        joints = [joint for joint in ET.fromstring(urdf).iter("joint") if joint.get("type") == "revolute"]
        rows = [[float(joint.find("limit").get(key)) for key in _KEYS] for joint in joints[:JOINTS]]  # type: ignore[union-attr, arg-type]
    except (ET.ParseError, AttributeError, TypeError, ValueError):
        return None
    return ReportedLimits(*np.array(rows).T) if len(rows) == JOINTS else None


_KEYS = ("lower", "upper", "velocity", "effort")
