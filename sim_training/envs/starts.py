"""Where things are when an episode begins; everything is drawn from torch's generator, in the order of the calls."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from contract.poses import Pose, quat_from_yaw, yaw_of
from contract.task_spec import Range, TaskSpec
from sim_training.envs.estimate import sample, sample_ticks
from sim_training.envs.kinematics import turn_about_z

if TYPE_CHECKING:
    from sim_training.envs.contract_task import ContractTask

_ABOVE_UP_TO_M = 0.08
"""How high above the object the tool is in episodes that begin with it there."""

_PLACE_TRIES = 32


@dataclass(frozen=True)
class Start:
    """Poses in the base frame (n, ...); held: whether the object is in the tool (n,) bool."""

    tool: Pose
    object: Pose
    held: Tensor
    second: Pose | None


def draw(task: ContractTask, rows: Tensor) -> Start:
    """Tool and objects of the episodes that begin. rows: (n,) indices"""
    spec, none = task.card, torch.zeros(len(rows)) > 0
    low, high = torch.tensor(spec.object_low_m), torch.tensor(spec.object_high_m)
    xy = low + (high - low) * torch.rand(len(rows), 2)
    start = Start(_tool(spec, len(rows)), _upright(xy, task.half_size[rows, 2], task.object_yaw), none, None)
    if task.randomise:
        share = task.near_starts if task.holdable else 0.0
        start = _further_on(spec, start.object, share, task.held_up_to_m)
    if spec.second_low_m is None or spec.second_high_m is None:
        return start
    place = _apart((*spec.second_low_m, 0.0), (*spec.second_high_m, 0.0), start.object.position, task.other.apart_m)
    second = _upright(place[:, :2], task.second_half_size[rows, 2], task.other.yaw)
    return Start(start.tool, start.object, start.held, second)


def _tool(spec: TaskSpec, count: int) -> Pose:
    position, quaternion = torch.tensor(spec.start_position_m), torch.tensor(spec.start_quaternion)
    return Pose(position.repeat(count, 1), quaternion.repeat(count, 1))


def _upright(xy: Tensor, height: Tensor, heading: Range) -> Pose:
    """On the table, turned within `heading`. Shapes: (n, 2), (n,)"""
    middle, reach = (heading.low + heading.high) / 2, heading.high - heading.low
    yaw = middle + (2 * torch.rand(len(xy)) - 1) * (reach / 2)
    return Pose(torch.cat([xy, height[:, None]], -1), quat_from_yaw(yaw))


def _further_on(spec: TaskSpec, pose: Pose, share: float, held_up_to_m: float) -> Start:
    """Tool near its start and the object lying at `pose`, or for a share of episodes further on in the task.

    Half of those begin with the tool above the object, half with it held up to `held_up_to_m` above where it lay.
    """
    ranges, count, device = spec.randomisation, len(pose.position), pose.position.device
    nominal = _tool(spec, count)
    offset = torch.stack([sample(ranges.start_position_m, count, device) for _ in range(3)], -1)
    quaternion = turn_about_z(nominal.quaternion, sample(ranges.start_yaw_rad, count, device))
    chance, up = torch.rand(count, 1), torch.tensor([0.0, 0.0, 1.0])
    held, above = chance < share / 2, chance > 1 - share / 2
    raised = pose.position + held_up_to_m * torch.rand(count, 1) * up
    over = pose.position + offset * (1 - up) + _ABOVE_UP_TO_M * torch.rand(count, 1) * up
    position = torch.where(held, raised, torch.where(above, over, nominal.position + offset))
    heading = quat_from_yaw(yaw_of(quaternion))
    start = Pose(torch.where(held, raised, pose.position), torch.where(held, heading, pose.quaternion))
    return Start(Pose(position, quaternion), start, held[:, 0], None)


def _apart(low: tuple[float, ...], high: tuple[float, ...], others: Tensor, distance: float) -> Tensor:
    """A place in the box for each row, that far from the other's on the table if luck allows. Shape: (n, 3)"""
    corner = torch.tensor(low)
    tries = corner + (torch.tensor(high) - corner) * torch.rand(_PLACE_TRIES, len(others), 3)
    good = (tries[..., :2] - others[:, :2]).norm(dim=-1) > distance
    return tries[good.float().argmax(0), torch.arange(len(others))]


def goal(spec: TaskSpec, start: Tensor, rest: Tensor, distance: float) -> Tensor:
    """Where the centre of what starts at `start` (n, 3) and lies `rest` (n,) m high is to go, base frame. (n, 3)"""
    if spec.goal_distance_m is not None and spec.goal_bearing_rad is not None:
        return start + spec.goal_distance_m * _along(sample(spec.goal_bearing_rad, len(start), start.device))
    assert spec.goal_low_m is not None
    assert spec.goal_high_m is not None
    place = _apart(spec.goal_low_m, spec.goal_high_m, start, distance)
    return torch.cat([place[:, :2], torch.maximum(place[:, 2], rest)[:, None]], -1)


def knock(strength: Range, ticks: Range, count: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """A horizontal impulse in any direction, newton seconds (n, 3), and its tick (n,)."""
    way = _along(2 * math.pi * torch.rand(count))
    return way * sample(strength, count, device)[:, None], sample_ticks(ticks, count, device)


def _along(bearing: Tensor) -> Tensor:
    return torch.stack([torch.cos(bearing), torch.sin(bearing), torch.zeros_like(bearing)], -1)
