"""The scripted reset: what the hand still holds is carried to some place on the table and let go there."""

from __future__ import annotations

import math

import numpy as np

from contract.messages import GripperCommand, ObjectState
from contract.poses import Pose, quat_from_yaw, quat_multiply
from contract.task_spec import TaskSpec
from robot_runtime.bridge_client import BridgeClient
from robot_runtime.motions import GRASP_N, STEP_M, Mover, stay, towards
from safety.grasp import EMPTY_M

SLOW_M, SLOW_STEP_M = 0.03, 0.0015
"""The last bit of the way down is gone at 0.03 m/s."""
TURN_RAD = 0.4
"""The object is turned by this much at most, either way of how the arm starts."""
REST_TICKS, OPENING_TICKS = 10, 20


def random_place(spec: TaskSpec, seed: int) -> Pose:
    """Where an object of that task may start, and how the tool is turned that lets it go there."""
    random = np.random.default_rng([seed, 2])
    xy = random.uniform(spec.object_low_m, spec.object_high_m)
    yaw = np.array(random.uniform(-TURN_RAD, TURN_RAD))
    turned = quat_multiply(quat_from_yaw(yaw), np.array(spec.start_quaternion))
    return Pose(np.array([*xy, spec.half_size_m[2]]), turned)


def holds_something(client: BridgeClient) -> bool:
    """Whether the fingers were told to close, and did not."""
    state = client.latest()
    return state.gripper_closed and state.gripper_width > EMPTY_M


def put_down(client: BridgeClient, seen: ObjectState | None, place: Pose) -> None:
    """Through the guard, as a policy moves: over that place, down, open. Begins and ends disarmed and at rest.

    seen: where the object is believed to be, in the hand. Raises BridgeFaulted, BridgeRefused, BridgeLost.
    """
    client.arm()
    tool = client.latest().pose_base_tcp.position
    hangs_m = float(tool[2] - seen.pose_base_object.position[2]) if seen is not None and seen.held else 0.0
    over, low = np.array([*place.position[:2], tool[2]]), place.position + [0.0, 0.0, hangs_m]
    move = Mover(client)
    _go(move, over, place.quaternion, STEP_M)
    _go(move, low + [0.0, 0.0, SLOW_M], place.quaternion, STEP_M)
    _go(move, low, place.quaternion, SLOW_STEP_M)
    client.gripper(GripperCommand(False, GRASP_N))
    move(stay, OPENING_TICKS)
    client.check()
    client.stop()


def _go(move: Mover, position: np.ndarray, quaternion: np.ndarray, step_m: float) -> None:
    away_m = float(np.linalg.norm(position - move.client.status().command_base_tcp.position))
    move(towards(position, quaternion, step_m), math.ceil(away_m / step_m) + REST_TICKS)
    move.client.check()
