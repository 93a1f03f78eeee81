"""The scripted reset: what the hand still holds is carried to some place on the table and let go there."""

from __future__ import annotations

import math

import numpy as np

from contract.messages import GripperCommand, ObjectState
from contract.poses import Pose, quat_from_yaw, quat_multiply, rotate_towards, rotation_between
from contract.task_spec import TaskSpec
from robot_runtime.bridge_client import BridgeClient, BridgeRefused
from robot_runtime.motions import GRASP_N, STEP_M, Mover, stay, towards
from safety.grasp import EMPTY_M

SLOW_M, SLOW_STEP_M = 0.03, 0.0015
"""The last bit of the way down is gone at 0.03 m/s."""
STEP_RAD = 0.05
"""In a tick: 1 rad/s."""
TURN_RAD = 0.4
"""The object is turned by this much at most, either way of how the arm starts."""
REST_TICKS, OPENING_TICKS = 10, 20
TRIES = 3


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
    move, low_m = Mover(client), float(place.position[2]) + hangs_m
    for height_m, step_m in ((float(tool[2]), STEP_M), (low_m + SLOW_M, STEP_M), (low_m, SLOW_STEP_M)):
        _go(move, Pose(np.array([*place.position[:2], height_m]), place.quaternion), step_m)
    client.gripper(GripperCommand(False, GRASP_N))
    move(stay, OPENING_TICKS)
    client.check()
    client.stop()


def _go(move: Mover, goal: Pose, step_m: float) -> None:
    """A busy machine's late setpoint is refused, so the rest of the way is tried again. Raises BridgeRefused."""
    nearer = towards(goal.position, step_m=step_m)

    def way(here: Pose) -> Pose:
        return Pose(nearer(here).position, rotate_towards(here.quaternion, goal.quaternion, STEP_RAD))

    for _ in range(TRIES):
        here = move.client.status().command_base_tcp
        away_m = float(np.linalg.norm(goal.position - here.position))
        away_rad = float(np.linalg.norm(rotation_between(here.quaternion, goal.quaternion)))
        last = move(way, math.ceil(max(away_m / step_m, away_rad / STEP_RAD)) + REST_TICKS)[-1]
        move.client.check()
        if last.refused is None:
            return
    raise BridgeRefused(f"The object was not put down: {last.refused}")
