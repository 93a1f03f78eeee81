"""Task cards: everything about a task that both training and the robot must know, as numbers."""

from __future__ import annotations

import difflib
import hashlib
import json
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from contract.poses import Pose

CONTRACT_VERSION = 1
"""Raised whenever observation.py, action.py or grasp.py change what their numbers mean."""


class UnknownTask(ValueError):
    """No task card has this name."""


@dataclass(frozen=True)
class Range:
    """A closed interval that randomisation samples uniformly."""

    low: float
    high: float


@dataclass(frozen=True)
class Randomisation:
    """What differs from episode to episode in training, so that the robot is one more sample. Units in the names."""

    cube_half_size_m: Range = Range(0.019, 0.021)
    cube_mass_kg: Range = Range(0.03, 0.15)
    friction: Range = Range(0.6, 1.4)
    tracking_frequency_scale: Range = Range(0.75, 1.3)
    command_delay_ticks: Range = Range(0, 1)
    start_position_m: Range = Range(-0.03, 0.03)
    start_yaw_rad: Range = Range(-0.15, 0.15)
    tcp_noise_m: Range = Range(0.0, 0.0005)
    object_noise_m: Range = Range(0.0, 0.002)
    object_bias_m: Range = Range(-0.003, 0.003)
    object_yaw_noise_rad: Range = Range(0.0, 0.05)
    object_latency_ticks: Range = Range(0, 4)
    object_dropout: Range = Range(0.0, 0.1)
    gripper_delay_ticks: Range = Range(0, 4)


@dataclass(frozen=True)
class TaskSpec:
    """One task card.

    translation_scale_m, rotation_scale_rad: what a full-scale action moves in one tick, base frame; 0 locks an axis.
    max_lead_m, max_lead_rad: how far the commanded pose may run ahead of the measured one.
    command_low_m, command_high_m: box the commanded tool position stays in, base frame.
    start_q_rad: joint pose an episode starts near; start_position_m / start_quaternion is its tool pose.
    object_low_m, object_high_m: where the object may start, x and y in the base frame; the table top is z = 0.
    max_object_age_s: an estimate older than this stops the arm.
    """

    name: str
    instruction: str
    observation_fields: tuple[str, ...]
    object_name: str
    object_width_m: float
    object_low_m: tuple[float, float]
    object_high_m: tuple[float, float]
    rate_hz: float = 20.0
    horizon: int = 100
    translation_scale_m: float = 0.012
    rotation_scale_rad: tuple[float, float, float] = (0.06, 0.06, 0.06)
    gripper_threshold: float = 0.5
    gripper_force_n: float = 30.0
    gripper_open_m: float = 0.08
    max_lead_m: float = 0.06
    max_lead_rad: float = 0.3
    command_low_m: tuple[float, float, float] = (0.30, -0.32, 0.018)
    command_high_m: tuple[float, float, float] = (0.78, 0.32, 0.45)
    start_q_rad: tuple[float, ...] = (0.0, -0.04176, 0.0, -2.33427, 0.0, 2.29251, 0.785398)
    start_position_m: tuple[float, float, float] = (0.5, 0.0, 0.25)
    start_quaternion: tuple[float, float, float, float] = (0.0, 1.0, 0.0, 0.0)
    lift_height_m: float = 0.10
    hold_s: float = 0.5
    still_speed_m_s: float = 0.05
    max_object_age_s: float = 1.0
    randomisation: Randomisation = field(default_factory=Randomisation)

    @property
    def period_s(self) -> float:
        """Seconds between two policy decisions."""
        return 1.0 / self.rate_hz

    @property
    def start_pose_base_tcp(self) -> Pose:
        """Tool pose at `start_q_rad`."""
        return Pose(np.array(self.start_position_m), np.array(self.start_quaternion))

    def as_dict(self) -> dict[str, Any]:
        """The card as plain JSON types."""
        card: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return card

    def contract_hash(self) -> str:
        """Names everything a policy depends on: the deployable part of the card and the meaning of its numbers."""
        card = self.as_dict()
        card.pop("randomisation")
        text = json.dumps({"version": CONTRACT_VERSION, "card": card}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


LIFT_CUBE = TaskSpec(
    name="lift_cube",
    instruction="lift the cube",
    observation_fields=(
        "tcp_position",
        "tcp_yaw",
        "command_lead",
        "gripper_width",
        "gripper_closed",
        "object_from_tcp",
        "object_position",
        "object_yaw_from_tcp",
        "object_age",
        "object_held",
        "previous_action",
    ),
    object_name="cube",
    object_width_m=0.04,
    object_low_m=(0.40, -0.20),
    object_high_m=(0.70, 0.20),
    rotation_scale_rad=(0.0, 0.0, 0.06),
)

TASKS: dict[str, TaskSpec] = {card.name: card for card in (LIFT_CUBE,)}


def task(name: str) -> TaskSpec:
    """The card of that name. Raises UnknownTask with the nearest name."""
    if name in TASKS:
        return TASKS[name]
    near = difflib.get_close_matches(name, TASKS, n=1, cutoff=0.0)[0]
    raise UnknownTask(f"There is no task '{name}'; did you mean '{near}'? Tasks: {', '.join(sorted(TASKS))}.")
