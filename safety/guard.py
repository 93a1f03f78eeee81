"""The setpoint guard: pure and deterministic. It passes, clips and says what it clipped, or refuses and says why."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from contract.arrays import limit_norm
from contract.messages import Setpoint
from contract.poses import Pose, quat_from_axis_angle, quat_multiply, rotate_towards, rotation_between
from safety.joints import JointLimits, possible
from safety.workspace import Workspace

UNIT_QUATERNION_TOLERANCE = 1e-2
SOONEST_FRACTION = 0.3
"""Setpoints closer together than this part of the period are refused: jitter is fine, a flood is not."""
SLACK = 1e-6
"""Rounding (metres, radians) that the second check forgives."""
FAR_M, FAR_RAD = 0.3, 1.5
"""Setpoints so far from the arm are not clipped: their sender is in another frame, or another unit."""
WINDOW_S = 1.0
LONGEST_GAP_S = 0.25
"""Where setpoints were lost the next may be further away: by what the speed allows for so long at most."""


@dataclass(frozen=True)
class GuardLimits:
    """What one setpoint may be. Its step follows from the speeds and the time since the last; one second holds no more.

    workspace: of the tool centre point. lead_m, lead_rad: ahead of the measured pose.
    soft_force_n: measured on the tool, from which on it is not pressed further.
    max_age_s, max_ahead_s: how far its stamp may lie behind and before robot time.
    coast_s: how long a moving setpoint may be carried on, which has to stay inside the workspace.
    """

    speed_m_s: float
    rotation_rad_s: float
    period_s: float
    workspace: Workspace
    lead_m: float
    lead_rad: float
    soft_force_n: float
    joints: JointLimits
    max_age_s: float
    max_ahead_s: float
    coast_s: float


@dataclass(frozen=True)
class Measured:
    """What the arm measured: tool pose, joints (7,), Jacobian of the tool (6, 7), force on it (3,). Base frame."""

    pose_base_tcp: Pose
    q: np.ndarray
    jacobian: np.ndarray
    force_base: np.ndarray


@dataclass(frozen=True)
class Trail:
    """What the guard remembers. previous: the last executed setpoint (at arming: the measured pose, sequence −1).

    steps: (stamp, metres, radians) of the setpoints executed in the last second.
    """

    previous: Setpoint
    steps: tuple[tuple[float, float, float], ...] = ()

    def elapsed_s(self, now: float, period_s: float) -> float:
        """Since the last setpoint, one period at least and LONGEST_GAP_S at most."""
        since = now - self.steps[-1][0] if self.steps else period_s
        return max(period_s, min(since, LONGEST_GAP_S))

    def allows(self, limits: GuardLimits, now: float) -> tuple[float, float]:
        """Metres and radians from the last setpoint to one that comes at robot time `now`."""
        elapsed_s = self.elapsed_s(now, limits.period_s)
        recent = [step for step in self.steps if step[0] > now - WINDOW_S]
        left_m = limits.speed_m_s * WINDOW_S - sum(step[1] for step in recent)
        left_rad = limits.rotation_rad_s * WINDOW_S - sum(step[2] for step in recent)
        return (
            max(0.0, min(limits.speed_m_s * elapsed_s, left_m)),
            max(0.0, min(limits.rotation_rad_s * elapsed_s, left_rad)),
        )

    def extended(self, executed: Setpoint, now: float) -> Trail:
        """With one more."""
        before, pose = self.previous.pose_base_tcp, executed.pose_base_tcp
        step = now, _distance(before.position, pose.position), _angle(before.quaternion, pose.quaternion)
        return Trail(executed, (*(s for s in self.steps if s[0] > now - WINDOW_S), step))


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


def judge(limits: GuardLimits, asked: Setpoint, trail: Trail, measured: Measured, now: float) -> Verdict:
    """What to do with one setpoint at robot time `now`.

    Speed, joints and the second's total are kept always; the workspace always if the previous setpoint lies in it; the
    lead bound unless the arm was pushed away from there (then the lead shrinks with every step).
    """
    refusal = _refusal(limits, asked, trail, measured.pose_base_tcp, now)
    if refusal is not None:
        return Verdict(None, refusal=refusal)
    clipped: list[str] = []
    step_m, step_rad = trail.allows(limits, now)
    elapsed_s = trail.elapsed_s(now, limits.period_s)
    quaternion = asked.pose_base_tcp.quaternion / _length(asked.pose_base_tcp.quaternion)
    before, here = trail.previous.pose_base_tcp, measured.pose_base_tcp
    position = _position(limits, asked.pose_base_tcp.position, before, measured, step_m, clipped)
    turned = _orientation(limits, quaternion, before, here, step_rad, clipped)
    pose = _followable(limits, Pose(position, turned), before, measured, elapsed_s, clipped)
    twist = _twist(limits, asked.twist_base_tcp, pose, clipped)
    return Verdict(Setpoint(asked.stamp, asked.sequence, pose, twist), tuple(clipped))


def _position(
    limits: GuardLimits, asked: np.ndarray, before: Pose, measured: Measured, step_m: float, clipped: list[str]
) -> np.ndarray:
    """The position asked for, brought within lead, workspace, force and speed. Shape: (3,)"""
    here, origin = measured.pose_base_tcp.position, before.position
    led = here + limit_norm(asked - here, limits.lead_m)
    if _distance(led, asked) > SLACK:
        clipped.append(f"lead: {1e3 * _distance(asked, here):.0f} mm before the arm")
    inside = limits.workspace.nearest(led)
    if _distance(inside, led) > SLACK:
        clipped.append(f"workspace: {1e3 * _distance(inside, led):.0f} mm outside")
    eased = _not_pressing(limits, inside, origin, measured)
    if _distance(eased, inside) > SLACK:
        clipped.append(f"force: {_length(measured.force_base):.0f} N against the tool")
    if eased is not inside:
        eased = origin + limits.workspace.share_inside(origin, eased - origin) * (eased - origin)
    stepped = origin + limit_norm(eased - origin, step_m)
    if _distance(stepped, eased) > SLACK:
        clipped.append(f"speed: {1e3 * _distance(eased, origin):.0f} mm where {1e3 * step_m:.0f} are allowed")
    if _distance(stepped, here) > max(limits.lead_m, _distance(origin, here)):  # pushed far out of the workspace
        clipped.append(f"lead: {1e3 * _distance(stepped, here):.0f} mm before the arm")
        return origin
    return np.asarray(stepped)


def _not_pressing(limits: GuardLimits, wanted: np.ndarray, origin: np.ndarray, measured: Measured) -> np.ndarray:
    """`wanted`, but no deeper into what presses the tool than the command is already, or the tool. Shape: (3,)"""
    strength = _length(measured.force_base)
    if strength <= limits.soft_force_n:
        return wanted
    out = measured.force_base / strength
    here = measured.pose_base_tcp.position
    deepest = min(0.0, float((origin - here) @ out))
    return wanted + out * max(0.0, deepest - float((wanted - here) @ out))


def _orientation(
    limits: GuardLimits, asked: np.ndarray, before: Pose, here: Pose, step_rad: float, clipped: list[str]
) -> np.ndarray:
    """The orientation asked for, brought within lead and turn rate. Shape: (4,)"""
    led, turned = asked, _angle(here.quaternion, asked)
    if turned > limits.lead_rad + SLACK:
        led = rotate_towards(here.quaternion, asked, limits.lead_rad)
        clipped.append(f"turn lead: {turned:.2f} rad before the arm")
    stepped, wanted = led, _angle(before.quaternion, led)
    if wanted > step_rad:
        stepped = rotate_towards(before.quaternion, led, step_rad)
        farthest = max(limits.lead_rad, _angle(here.quaternion, before.quaternion))
        if _angle(here.quaternion, stepped) > farthest:  # wrenched far away, the shortest turn can lead past it
            stepped = rotate_towards(before.quaternion, here.quaternion, step_rad)
        if wanted > step_rad + SLACK:
            clipped.append(f"turn rate: {wanted:.2f} rad where {step_rad:.2f} are allowed")
    return np.asarray(stepped / _length(stepped))


def _followable(
    limits: GuardLimits, wanted: Pose, before: Pose, measured: Measured, elapsed_s: float, clipped: list[str]
) -> Pose:
    """`wanted`, or as much of the way there as the joints can follow in that time."""
    step, lead = _way(before, wanted), _way(measured.pose_base_tcp, before)
    can = possible(limits.joints, measured.q, measured.jacobian, lead, step, elapsed_s)
    if can.share == 1.0:
        return wanted
    clipped.append(can.reason)
    part = can.share * step
    turned = quat_multiply(quat_from_axis_angle(part[3:]), before.quaternion)
    return Pose(before.position + part[:3], turned / _length(turned))


def _twist(limits: GuardLimits, asked: np.ndarray, pose: Pose, clipped: list[str]) -> np.ndarray:
    """The twist asked for at the setpoint, if nothing was clipped; no faster, and not out of the workspace. Shape: (6,)

    What had to be clipped is not where the sender thinks it is: it comes to rest there.
    """
    if clipped or not asked.any():
        return np.zeros(6)
    twist = np.concatenate([limit_norm(asked[:3], limits.speed_m_s), limit_norm(asked[3:], limits.rotation_rad_s)])
    return np.asarray(twist * limits.workspace.share_inside(pose.position, twist[:3] * limits.coast_s))


def violations(
    limits: GuardLimits, executed: Setpoint, trail: Trail, measured: Measured, now: float
) -> tuple[str, ...]:
    """Limits that an executed setpoint breaks: a second, independent look at what `judge` let through."""
    found = []
    pose, before, here = executed.pose_base_tcp, trail.previous.pose_base_tcp, measured.pose_base_tcp
    if not np.isfinite([*pose.position, *pose.quaternion, *executed.twist_base_tcp]).all():
        return ("finite",)
    if limits.workspace.outside_m(pose.position) > max(0.0, limits.workspace.outside_m(before.position)) + SLACK:
        found.append("workspace")
    step_m, step_rad = trail.allows(limits, now)
    step, turn = _distance(pose.position, before.position), _angle(before.quaternion, pose.quaternion)
    if step > step_m + SLACK:
        found.append("speed")
    if turn > step_rad + SLACK:
        found.append("turn rate")
    if _distance(pose.position, here.position) > max(limits.lead_m, _distance(before.position, here.position)) + SLACK:
        found.append("lead")
    if (
        _angle(here.quaternion, pose.quaternion)
        > max(limits.lead_rad, _angle(here.quaternion, before.quaternion)) + SLACK
    ):
        found.append("turn lead")
    moved, elapsed_s = _way(before, pose), trail.elapsed_s(now, limits.period_s)
    can = possible(limits.joints, measured.q, measured.jacobian, _way(here, before), moved, elapsed_s)
    if (1.0 - can.share) * np.abs(moved).max() > SLACK:
        found.append("joints")
    return tuple(found)


def _refusal(limits: GuardLimits, asked: Setpoint, trail: Trail, here: Pose, now: float) -> Refusal | None:
    previous, pose, which = trail.previous, asked.pose_base_tcp, f"Setpoint {asked.sequence}"
    numbers = (asked.stamp, *pose.position.tolist(), *pose.quaternion.tolist(), *asked.twist_base_tcp.tolist())
    if not all(map(math.isfinite, numbers)):
        return Refusal("setpoint_not_finite", f"{which} holds a number that is not finite.", True)
    if abs(_length(pose.quaternion) - 1.0) > UNIT_QUATERNION_TOLERANCE:
        return Refusal("setpoint_not_unit", f"{which} has a quaternion that is not of unit length.", True)
    far_m, far_rad = _distance(pose.position, here.position), _angle(here.quaternion, pose.quaternion)
    if far_m > FAR_M or far_rad > FAR_RAD:
        cause = f"{which} is {far_m:.2f} m and {far_rad:.2f} rad from the arm: its sender is in another frame or unit."
        return Refusal("setpoint_far", cause, True)
    if asked.sequence <= previous.sequence:
        return Refusal("out_of_sequence", f"{which} came after setpoint {previous.sequence}.")
    if now - asked.stamp > limits.max_age_s:
        return Refusal("stale", f"{which} is {now - asked.stamp:.3f} s old.")
    if asked.stamp - now > limits.max_ahead_s:
        return Refusal("ahead", f"{which} is stamped {asked.stamp - now:.3f} s in the future.")
    if trail.steps and now - trail.steps[-1][0] < SOONEST_FRACTION * limits.period_s:
        return Refusal("too_soon", f"{which} follows {now - trail.steps[-1][0]:.3f} s after the last.")
    return None


def _way(start: Pose, end: Pose) -> np.ndarray:
    """Translation and rotation vector from one to the other. Shape: (6,)"""
    return np.concatenate([end.position - start.position, rotation_between(start.quaternion, end.quaternion)])


def _angle(q_from: np.ndarray, q_to: np.ndarray) -> float:
    """Of the turn between two unit quaternions, by the chord: as exact for a small angle as for a large one."""
    near, far = _distance(q_from, q_to), _distance(q_from, -q_to)  # the same orientation has two
    return 4.0 * math.asin(min(1.0, 0.5 * min(near, far)))


def _distance(a: np.ndarray, b: np.ndarray) -> float:
    return math.dist(a.tolist(), b.tolist())


def _length(vector: np.ndarray) -> float:
    return math.hypot(*vector.tolist())
