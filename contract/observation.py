"""States to observation vector: the only place where its order and units are written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from contract.arrays import namespace
from contract.poses import Pose, quat_rotate, yaw_of
from contract.task_spec import TaskSpec

MOST_SIGMA_M = 0.05
"""A belief less certain than this is shown as this: more is as good as not knowing."""


@dataclass(frozen=True)
class PolicyInput:
    """What the robot can know at one tick, batched on the left, numpy or torch alike.

    pose_base_tcp: measured tool pose. command_base_tcp: pose last commanded, after every bound.
    gripper_width: metres (...). gripper_closed: last command, 1.0 closed (...).
    pose_base_object: the estimate (symmetries not removed). object_age: seconds since it was measured (...).
    object_sigma: believed standard deviation of the object's position now, m: the root of the mean of its three
    variances (...). object_held: 1.0 while it is taken to move with the tool (...).
    previous_action: as the policy gave it (..., 7).
    goal_position: where the object is to go, m, base frame (..., 3).
    pose_base_second, second_age: the same of the second object, which is never taken to be held.
    """

    pose_base_tcp: Pose
    command_base_tcp: Pose
    gripper_width: Any
    gripper_closed: Any
    pose_base_object: Pose
    object_age: Any
    object_sigma: Any
    object_held: Any
    previous_action: Any
    goal_position: Any = None
    pose_base_second: Pose | None = None
    second_age: Any = None


def _axis(q: Any, axis: int) -> Any:
    """Where the rotated frame's own axis points. Shape: (..., 4) -> (..., 3)"""
    unit = namespace(q).zeros_like(q[..., :3])
    unit[..., axis] = 1.0
    return quat_rotate(q, unit)


def _direction(yaw: Any) -> Any:
    xp = namespace(yaw)
    return xp.stack([xp.cos(yaw), xp.sin(yaw)], -1)


def _second(state: PolicyInput) -> Pose:
    assert state.pose_base_second is not None, "this task observes a second object"
    return state.pose_base_second


_FIELDS: dict[str, tuple[int, str, Callable[[PolicyInput], Any]]] = {
    "tcp_position": (3, "m, base frame", lambda s: s.pose_base_tcp.position),
    "tcp_yaw": (2, "cos, sin of the tool's yaw", lambda s: _direction(yaw_of(s.pose_base_tcp.quaternion))),
    "command_lead": (
        3,
        "m, commanded minus measured tool position, base frame",
        lambda s: s.command_base_tcp.position - s.pose_base_tcp.position,
    ),
    "gripper_width": (1, "m between the fingers", lambda s: s.gripper_width[..., None]),
    "gripper_closed": (1, "1 when last told to close", lambda s: s.gripper_closed[..., None]),
    "object_from_tcp": (
        3,
        "m, object minus tool position, base frame",
        lambda s: s.pose_base_object.position - s.pose_base_tcp.position,
    ),
    "object_position": (3, "m, base frame", lambda s: s.pose_base_object.position),
    "object_yaw_from_tcp": (
        2,
        "cos, sin of 4 x (object yaw - tool yaw): equal for the cube's four faces",
        lambda s: _direction(4 * (yaw_of(s.pose_base_object.quaternion) - yaw_of(s.pose_base_tcp.quaternion))),
    ),
    "object_age": (1, "s since the object was measured", lambda s: s.object_age[..., None]),
    "object_sigma": (
        1,
        f"m, believed standard deviation of the object's position now, at most {MOST_SIGMA_M:g}",
        lambda s: namespace(s.object_sigma).clip(s.object_sigma[..., None], 0.0, MOST_SIGMA_M),
    ),
    "object_held": (1, "1 while the object is taken to move with the tool", lambda s: s.object_held[..., None]),
    "tcp_rotation": (
        6,
        "the tool's x and z axes, base frame",
        lambda s: namespace(s.pose_base_tcp.quaternion).concatenate(
            [_axis(s.pose_base_tcp.quaternion, 0), _axis(s.pose_base_tcp.quaternion, 2)], -1
        ),
    ),
    "object_axis": (3, "the object's x axis, base frame", lambda s: _axis(s.pose_base_object.quaternion, 0)),
    "object_heading": (2, "cos, sin of the object's yaw", lambda s: _direction(yaw_of(s.pose_base_object.quaternion))),
    "second_from_object": (
        3,
        "m, second object minus object position, base frame",
        lambda s: _second(s).position - s.pose_base_object.position,
    ),
    "second_heading": (2, "cos, sin of the second object's yaw", lambda s: _direction(yaw_of(_second(s).quaternion))),
    "second_age": (1, "s since the second object was measured", lambda s: s.second_age[..., None]),
    "goal_from_second": (
        3,
        "m, goal minus second object's position, base frame",
        lambda s: s.goal_position - _second(s).position,
    ),
    "goal_from_object": (
        3,
        "m, goal minus object position, base frame",
        lambda s: s.goal_position - s.pose_base_object.position,
    ),
    "previous_action": (7, "normalised", lambda s: s.previous_action),
}


def layout(spec: TaskSpec) -> list[dict[str, Any]]:
    """Name, size and unit of every field in order, for the artifact."""
    return [{"name": name, "size": _FIELDS[name][0], "unit": _FIELDS[name][1]} for name in spec.observation_fields]


def observation_size(spec: TaskSpec) -> int:
    """Length of the observation vector."""
    return sum(_FIELDS[name][0] for name in spec.observation_fields)


def observe(spec: TaskSpec, state: PolicyInput) -> Any:
    """The observation vector. Shape: (..., observation_size(spec))"""
    parts = [_FIELDS[name][2](state) for name in spec.observation_fields]
    return namespace(parts[0]).concatenate(parts, -1)
