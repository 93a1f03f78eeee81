"""What a cell file's limits and its arm's table come to: for the guard, and for the reference."""

from __future__ import annotations

from robot_runtime.cell import Cell
from robot_runtime.reference import LEAD_S, ReferenceLimits
from safety.guard import GuardLimits
from safety.joints import JointLimits
from safety.limits import arm_limits

REFERENCE_SPEED_SHARE = 0.93
"""Of the speed limits: the arm swings over, by 13 % at most in lifts, while it catches up with a reference
that begins to move."""
JOINT_SPEED_SHARE = 0.85
"""Of the arm's own limits, what setpoints may ask of the joints, which swing over by an eighth near singular poses."""


def guard_limits(cell: Cell, period_s: float) -> GuardLimits:
    """What the guard allows in this cell for setpoints every `period_s` seconds."""
    arm, limits = arm_limits(cell.robot.model), cell.limits
    joints = JointLimits(
        q_low=arm.q_low + limits.joint_margin_rad,
        q_high=arm.q_high - limits.joint_margin_rad,
        dq=JOINT_SPEED_SHARE * arm.dq,
        singular_value=limits.singular_value,
    )
    return GuardLimits(
        speed_m_s=limits.speed_m_s,
        rotation_rad_s=limits.rotation_rad_s,
        period_s=period_s,
        workspace=cell.workspace,
        lead_m=limits.lead_m,
        lead_rad=limits.lead_rad,
        soft_force_n=limits.soft_force_n,
        joints=joints,
        max_age_s=cell.timing.setpoint_max_age_s,
        max_ahead_s=2 * period_s,
        coast_s=cell.timing.hold_after_s + max(LEAD_S),
    )


def reference_limits(cell: Cell) -> ReferenceLimits:
    """What the reference keeps to in this cell."""
    arm = arm_limits(cell.robot.model)
    return ReferenceLimits(
        speed=(REFERENCE_SPEED_SHARE * cell.limits.speed_m_s, REFERENCE_SPEED_SHARE * cell.limits.rotation_rad_s),
        acceleration=(arm.translation[1], arm.rotation[1]),
        jerk=(arm.translation[2], arm.rotation[2]),
    )
