"""What travels between perception, policy and robot. Base frame, SI units, stamps of robot time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from contract.poses import Pose


@dataclass(frozen=True)
class RobotState:
    """What the arm and gripper measured at one instant.

    stamp: robot time, seconds (monotonic, starts anywhere).
    q, dq: joint positions rad and velocities rad/s. Shape: (7,)
    pose_base_tcp: tool centre point in the base frame.
    v_base_tcp: linear m/s then angular rad/s, base frame. Shape: (6,)
    wrench_base: external force N then torque Nm that act on the tool, base frame. Shape: (6,)
    gripper_width: opening between the fingers, metres, and the robot time it was read at.
    gripper_closed: what the gripper was last *told*.
    """

    stamp: float
    q: np.ndarray
    dq: np.ndarray
    pose_base_tcp: Pose
    v_base_tcp: np.ndarray
    wrench_base: np.ndarray
    gripper_width: float
    gripper_stamp: float
    gripper_closed: bool


@dataclass(frozen=True)
class ObjectState:
    """Where one object is believed to be.

    stamp: robot time of the measurement (not of its arrival).
    pose_base_object: pose in the base frame; for a cube only yaw modulo 90 degrees is meaningful.
    covariance: of x, y, z (m²) and yaw (rad²), at the time it was asked for, which may be later than the stamp.
    Shape: (4, 4); of an object that may tilt x, y, z and a rotation vector in the base frame. Shape: (6, 6)
    held: true while the object is taken to move with the tool rather than seen.
    """

    stamp: float
    name: str
    pose_base_object: Pose
    covariance: np.ndarray
    confidence: float
    held: bool


@dataclass(frozen=True)
class Setpoint:
    """Where the tool should be, and how it should be moving, at one instant.

    stamp: robot time in seconds at which this holds.
    sequence: counts up by one with every setpoint of a session.
    pose_base_tcp: tool pose in the base frame, metres and unit quaternion wxyz.
    twist_base_tcp: linear m/s then angular rad/s, base frame. Shape: (6,)
    """

    stamp: float
    sequence: int
    pose_base_tcp: Pose
    twist_base_tcp: np.ndarray


@dataclass(frozen=True)
class GripperCommand:
    """Open fully, or close until something is held with `force` newtons."""

    closed: bool
    force: float
