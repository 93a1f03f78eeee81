"""The setpoint guard: pure and deterministic. It passes, clips and says what it clipped, or refuses and says why."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from contract.arrays import limit_norm
from contract.messages import Setpoint
from contract.poses import Pose, rotate_towards, rotation_between

UNIT_QUATERNION_TOLERANCE = 1e-2
SOONEST_FRACTION = 0.3
"""Setpoints closer together than this part of the period are refused: jitter is fine, a flood is not."""
SLACK = 1e-6
"""Rounding (metres, radians) that the second check forgives."""


@dataclass(frozen=True)
class GuardLimits:
    """What one setpoint may be. The step per setpoint follows from speed and period.

    low_m, high_m: workspace box of the tool centre point, base frame. lead_m, lead_rad: ahead of the measured pose.
    max_age_s, max_ahead_s: how far its stamp may lie behind and before robot time.
    """

    speed_m_s: float
    rotation_rad_s: float
    period_s: float
    low_m: tuple[float, float, float]
    high_m: tuple[float, float, float]
    lead_m: float
    lead_rad: float
    max_age_s: float
    max_ahead_s: float

    @property
    def step_m(self) -> float:
        """Longest way from one setpoint to the next."""
        return self.speed_m_s * self.period_s

    @property
    def step_rad(self) -> float:
        """Largest turn from one setpoint to the next."""
        return self.rotation_rad_s * self.period_s


@dataclass(frozen=True)
class Refusal:
    """Why a setpoint is not executed. `latches`: it shows a broken sender, so the arm stops and stays stopped."""

    name: str
    cause: str
    latches: bool = False


@dataclass(frozen=True)
class Verdict:
    """Either a setpoint to execute, with one sentence per limit that changed it, or a refusal."""

    setpoint: Setpoint | None
    clipped: tuple[str, ...] = ()
    refusal: Refusal | None = None


def judge(limits: GuardLimits, asked: Setpoint, previous: Setpoint, measured: Pose, now: float) -> Verdict:
    """What to do with one setpoint.

    previous: the last executed setpoint (at arming: the measured pose, sequence −1). measured: tool pose at robot
    time `now`. The step limit is kept always; the workspace always if `previous` lies in it; the lead bound
    unless the arm was pushed away from `previous` (then the lead shrinks with every step).
    """
    refusal = _refusal(limits, asked, previous, now)
    if refusal is not None:
        return Verdict(None, refusal=refusal)
    clipped: list[str] = []
    quaternion = asked.pose_base_tcp.quaternion / np.linalg.norm(asked.pose_base_tcp.quaternion)
    position = asked.pose_base_tcp.position

    led = measured.position + limit_norm(position - measured.position, limits.lead_m)
    if np.linalg.norm(led - position) > SLACK:
        clipped.append(f"lead: {1e3 * float(np.linalg.norm(position - measured.position)):.0f} mm before the arm")
    boxed = np.clip(led, limits.low_m, limits.high_m)
    if np.linalg.norm(boxed - led) > SLACK:
        clipped.append(f"workspace: {1e3 * float(np.linalg.norm(boxed - led)):.0f} mm outside")
    origin = previous.pose_base_tcp.position
    stepped = origin + limit_norm(boxed - origin, limits.step_m)
    if np.linalg.norm(stepped - boxed) > SLACK:
        speed = float(np.linalg.norm(boxed - origin)) / limits.period_s
        clipped.append(f"speed: {speed:.2f} m/s")

    led_q = rotate_towards(measured.quaternion, quaternion, limits.lead_rad)
    if _angle(led_q, quaternion) > SLACK:
        clipped.append(f"turn lead: {_angle(measured.quaternion, quaternion):.2f} rad before the arm")
    stepped_q = rotate_towards(previous.pose_base_tcp.quaternion, led_q, limits.step_rad)
    farthest = max(limits.lead_rad, _angle(measured.quaternion, previous.pose_base_tcp.quaternion))
    if _angle(measured.quaternion, stepped_q) > farthest:  # wrenched far away, the shortest turn can lead past it
        stepped_q = rotate_towards(previous.pose_base_tcp.quaternion, measured.quaternion, limits.step_rad)
    if _angle(stepped_q, led_q) > SLACK:
        rate = _angle(previous.pose_base_tcp.quaternion, led_q) / limits.period_s
        clipped.append(f"turn rate: {rate:.2f} rad/s")
    return Verdict(replace(asked, pose_base_tcp=Pose(stepped, stepped_q / np.linalg.norm(stepped_q))), tuple(clipped))


def violations(limits: GuardLimits, executed: Setpoint, previous: Setpoint, measured: Pose) -> tuple[str, ...]:
    """Limits that an executed setpoint breaks: a second, independent look at what `judge` let through."""
    found = []
    pose, before = executed.pose_base_tcp, previous.pose_base_tcp
    if not np.isfinite([*pose.position, *pose.quaternion]).all():
        return ("finite",)
    if (pose.position < np.array(limits.low_m) - SLACK).any() or (
        pose.position > np.array(limits.high_m) + SLACK
    ).any():
        found.append("workspace")
    if np.linalg.norm(pose.position - before.position) > limits.step_m + SLACK:
        found.append("speed")
    if _angle(before.quaternion, pose.quaternion) > limits.step_rad + SLACK:
        found.append("turn rate")
    lead, lead_before = (float(np.linalg.norm(p.position - measured.position)) for p in (pose, before))
    if lead > max(limits.lead_m, lead_before) + SLACK:
        found.append("lead")
    turn, turn_before = (_angle(measured.quaternion, p.quaternion) for p in (pose, before))
    if turn > max(limits.lead_rad, turn_before) + SLACK:
        found.append("turn lead")
    return tuple(found)


def _refusal(limits: GuardLimits, asked: Setpoint, previous: Setpoint, now: float) -> Refusal | None:
    pose, which = asked.pose_base_tcp, f"Setpoint {asked.sequence}"
    if not np.isfinite([asked.stamp, *pose.position, *pose.quaternion, *asked.twist_base_tcp]).all():
        return Refusal("setpoint_not_finite", f"{which} holds a number that is not finite.", True)
    if abs(np.linalg.norm(pose.quaternion) - 1.0) > UNIT_QUATERNION_TOLERANCE:
        return Refusal("setpoint_not_unit", f"{which} has a quaternion that is not of unit length.", True)
    if asked.sequence <= previous.sequence:
        return Refusal("out_of_sequence", f"{which} came after setpoint {previous.sequence}.")
    if now - asked.stamp > limits.max_age_s:
        return Refusal("stale", f"{which} is {now - asked.stamp:.3f} s old.")
    if asked.stamp - now > limits.max_ahead_s:
        return Refusal("ahead", f"{which} is stamped {asked.stamp - now:.3f} s in the future.")
    if asked.stamp - previous.stamp < SOONEST_FRACTION * limits.period_s:
        return Refusal("too_soon", f"{which} follows {asked.stamp - previous.stamp:.3f} s after the last.")
    return None


def _angle(q_from: np.ndarray, q_to: np.ndarray) -> float:
    return float(np.linalg.norm(rotation_between(q_from, q_to)))
