"""What makes the arm stop itself: position, speed, torque rate and collision, judged after every control tick.

Modelled after libfranka's documentation ("Errors", "Robot::setCollisionBehavior", "RobotState"). Not modelled: the
thresholds for accelerating phases (the nominal ones always hold), power and path limits, the joint motion generators'
own checks, and the time an automatic recovery takes.
"""

from __future__ import annotations

import difflib
import math
from dataclasses import dataclass, field

import numpy as np

from safety.limits import FR3, TORQUE_RATE_NM_PER_MS

ERRORS = (
    "joint_position_limits_violation", "cartesian_position_limits_violation", "self_collision_avoidance_violation",
    "joint_velocity_violation", "cartesian_velocity_violation", "force_control_safety_violation", "joint_reflex",
    "cartesian_reflex", "max_goal_pose_deviation_violation", "max_path_pose_deviation_violation",
    "cartesian_velocity_profile_safety_violation", "joint_position_motion_generator_start_pose_invalid",
    "joint_motion_generator_position_limits_violation", "joint_motion_generator_velocity_limits_violation",
    "joint_motion_generator_velocity_discontinuity", "joint_motion_generator_acceleration_discontinuity",
    "cartesian_position_motion_generator_start_pose_invalid", "cartesian_motion_generator_elbow_limit_violation",
    "cartesian_motion_generator_velocity_limits_violation", "cartesian_motion_generator_velocity_discontinuity",
    "cartesian_motion_generator_acceleration_discontinuity", "cartesian_motion_generator_elbow_sign_inconsistent",
    "cartesian_motion_generator_start_elbow_invalid", "force_controller_desired_force_tolerance_violation",
    "start_elbow_sign_inconsistent", "communication_constraints_violation", "power_limit_violation",
    "cartesian_motion_generator_joint_position_limits_violation",
    "cartesian_motion_generator_joint_velocity_limits_violation",
    "cartesian_motion_generator_joint_velocity_discontinuity",
    "cartesian_motion_generator_joint_acceleration_discontinuity", "cartesian_position_motion_generator_invalid_frame",
    "controller_torque_discontinuity", "joint_p2p_insufficient_torque_for_planning", "tau_j_range_violation",
    "instability_detected", "joint_move_in_wrong_direction", "cartesian_spline_motion_generator_violation",
    "joint_via_motion_generator_planning_joint_limit_violation", "base_acceleration_initialization_timeout",
    "base_acceleration_invalid_reading",
)  # fmt: skip
"""In the order of the state's bits; a test reads each through franky."""

# Speed allowed near a joint's end: √(slope · distance) − offset, at most the last (Franka Research 3 datasheet;
# libfranka rate_limiting.h). Lower end, upper end, slope, offset, most.
_SPEED_LIMITS = (
    (-2.7501, 2.7501, 12.0, 0.30, 2.62),
    (-1.7918, 1.7918, 5.17, 0.20, 2.62),
    (-2.9065, 2.9065, 7.0, 0.20, 2.62),
    (-3.0481, -0.1458, 8.0, 0.30, 2.62),
    (-2.8101, 2.8101, 34.0, 0.35, 5.26),
    (0.54092, 4.5205, 11.0, 0.35, 4.18),
    (-3.0196, 3.0196, 34.0, 0.35, 5.26),
)
_POSITION_LIMITS = tuple(zip(FR3.q_low.tolist(), FR3.q_high.tolist(), strict=True))

_SPEED_TOLERANCE_RAD_S = 0.1
"""A joint that is held at its end trembles."""
_TORQUE_RATE_TOLERANCE = 1.2
"""franky limits its own rate to exactly 1 Nm per cycle, of a torque that reaches it rounded to single precision."""


class UnknownError(ValueError):
    """The arm knows no error of that name."""


def error_index(name: str) -> int:
    """Its bit in the state. Raises UnknownError with the nearest name."""
    if name in ERRORS:
        return ERRORS.index(name)
    near = difflib.get_close_matches(name, ERRORS, n=1, cutoff=0.0)[0]
    raise UnknownError(f"The arm knows no error '{name}'; did you mean '{near}'?")


@dataclass(frozen=True)
class CollisionThresholds:
    """What `setCollisionBehavior` set: above `lower` is contact, above `upper` collision. Nm (7,); N and Nm (6,).

    The defaults are those of libfranka's examples (`setDefaultBehavior`).
    """

    joint_lower: np.ndarray = field(default_factory=lambda: np.array([20.0, 20.0, 18.0, 18.0, 16.0, 14.0, 12.0]))
    joint_upper: np.ndarray = field(default_factory=lambda: np.array([20.0, 20.0, 18.0, 18.0, 16.0, 14.0, 12.0]))
    tool_lower: np.ndarray = field(default_factory=lambda: np.array([20.0, 20.0, 20.0, 25.0, 25.0, 25.0]))
    tool_upper: np.ndarray = field(default_factory=lambda: np.array([20.0, 20.0, 20.0, 25.0, 25.0, 25.0]))


@dataclass(frozen=True)
class Motion:
    """How the arm moves at one tick: joints rad and rad/s (7,), tool m/s then rad/s (6,) in the base frame."""

    q: np.ndarray
    dq: np.ndarray
    twist: np.ndarray


class Reflexes:
    """Thresholds, the contacts they show, and the errors that hold until a recovery.

    errors, reasons: bits of ERRORS; `reasons` (the state's reflex_reason) outlive the recovery until the next motion.
    """

    def __init__(self) -> None:
        self.errors, self.reasons = np.zeros(len(ERRORS), np.uint8), np.zeros(len(ERRORS), np.uint8)
        self.reset()

    def reset(self) -> None:
        """As after the controller's start."""
        self.thresholds = CollisionThresholds()
        self.errors[:], self.reasons[:] = 0, 0
        self.joint_contact, self.joint_collision = np.zeros(7, bool), np.zeros(7, bool)
        self.tool_contact, self.tool_collision = np.zeros(6, bool), np.zeros(6, bool)

    @property
    def active(self) -> bool:
        """Whether errors wait for a recovery."""
        return bool(self.errors.any())

    def trip(self, *names: str) -> None:
        """Sets errors and their reasons."""
        for name in names:
            self.errors[error_index(name)] = self.reasons[error_index(name)] = 1

    def recover(self) -> None:
        """Clears errors and the collisions shown."""
        self.errors[:] = 0
        self.joint_collision, self.tool_collision = np.zeros(7, bool), np.zeros(6, bool)

    def begin_motion(self) -> None:
        """Clears what the last motion left."""
        self.recover()
        self.reasons[:] = 0

    def feel(self, tau_ext: np.ndarray, wrench_stiffness: np.ndarray) -> list[str]:
        """Compares what acts on the joints (7,) and, in the stiffness frame, on the tool (6,) with the thresholds.

        Returns the errors that would end a motion now.
        """
        torque, force, limits = np.abs(tau_ext), np.abs(wrench_stiffness), self.thresholds
        self.joint_contact, self.tool_contact = torque > limits.joint_lower, force > limits.tool_lower
        joint, tool = torque > limits.joint_upper, force > limits.tool_upper
        # A collision is shown until the recovery, a contact only while it lasts.
        self.joint_collision, self.tool_collision = self.joint_collision | joint, self.tool_collision | tool
        return [name for name, hit in (("joint_reflex", joint), ("cartesian_reflex", tool)) if hit.any()]


def motion_errors(motion: Motion) -> list[str]:
    """Errors that a motion is by itself. A joint beyond its end may go back."""
    names = []
    q, dq = motion.q.tolist(), motion.dq.tolist()  # plain numbers: seven are too few for arrays to pay
    if any(
        (position > high and speed > 0.0) or (position < low and speed < 0.0)
        for position, speed, (low, high) in zip(q, dq, _POSITION_LIMITS, strict=True)
    ):
        names.append("joint_position_limits_violation")
    for position, speed, (low, high, slope, offset, most) in zip(q, dq, _SPEED_LIMITS, strict=True):
        distance = high - position if speed > 0.0 else position - low
        allowed = min(most, max(0.0, math.sqrt(max(0.0, slope * distance)) - offset))
        if abs(speed) > allowed + _SPEED_TOLERANCE_RAD_S:
            names.append("joint_velocity_violation")
            break
    linear, angular = motion.twist[:3], motion.twist[3:]
    if linear @ linear > FR3.translation[0] ** 2 or angular @ angular > FR3.rotation[0] ** 2:
        names.append("cartesian_velocity_violation")
    return names


def torque_jumped(before: np.ndarray, after: np.ndarray, cycles: int) -> bool:
    """Whether commanded torques (7,), `cycles` apart, changed faster than the arm takes."""
    return bool(np.abs(after - before).max() > _TORQUE_RATE_TOLERANCE * TORQUE_RATE_NM_PER_MS * cycles)
