"""What a task card says: everything about a task that both training and the robot must know, as numbers."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from contract.poses import Pose

CONTRACT_VERSION = 1
"""Raised whenever observation.py, action.py or grasp.py change what their numbers mean."""


@dataclass(frozen=True)
class Range:
    """A closed interval that randomisation samples uniformly."""

    low: float
    high: float


@dataclass(frozen=True)
class Randomisation:
    """What differs from episode to episode in training, so that the robot is one more sample. Units in the names.

    object_sigma_share: what the tracker takes a fresh estimate's noise for, over what it is.
    cube_half_size_m: half the object's width between the fingers; its other sides scale along.
    second_half_size_m: the same of the second object; None for its nominal size.
    push_impulse_ns: one horizontal knock to the object, newton seconds; None for none.
    push_ticks: when; None for any tick.
    """

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
    object_sigma_share: Range = Range(0.5, 2.0)
    gripper_delay_ticks: Range = Range(0, 4)
    push_impulse_ns: Range | None = None
    push_ticks: Range | None = None
    second_half_size_m: Range | None = None


def _without_none(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    return {name: value for name, value in pairs if value is not None}


@dataclass(frozen=True)
class TaskSpec:
    """One task card.

    translation_scale_m, rotation_scale_rad: what a full-scale action moves in one tick, base frame; 0 locks an axis.
    max_lead_m, max_lead_rad: how far the commanded pose may run ahead of the measured one.
    command_low_m, command_high_m: box the commanded tool position stays in, base frame.
    start_q_rad: joint pose an episode starts near; start_position_m / start_quaternion is its tool pose.
    object_low_m, object_high_m: where the object may start, x and y in the base frame; the table top is z = 0.
    max_object_age_s: an estimate older than this stops the arm.

    What only some tasks have is None in the others, and left out of their contract's hash:
    gentle_low_m, gentle_high_m, gentle_step_m: between these heights the commanded tool sinks by so much in a tick at
    most, so that fingers that land on something land softly.
    gentle_lead_m: below gentle_high_m the commanded tool is never further below the measured one, so that fingers that
    have landed do not press hard.
    gripper_stays_closed: the task is done with closed fingers, whatever the action's last number says.
    object_half_size_m: half sides along the object's own axes; a cube of `object_width_m` where None.
    second_name, second_half_size_m, second_low_m, second_high_m: a second object, as the first is described.
    goal_low_m, goal_high_m: where the goal may be, base frame. Or, relative to where what is brought there starts:
    goal_distance_m, goal_bearing_rad: how far off and in which direction; 0 is away from the robot, pi towards it.
    goal_tolerance_m: how near counts as there.
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
    gentle_low_m: float | None = None
    gentle_high_m: float | None = None
    gentle_step_m: float | None = None
    gentle_lead_m: float | None = None
    gripper_stays_closed: bool | None = None
    object_half_size_m: tuple[float, float, float] | None = None
    second_name: str | None = None
    second_half_size_m: tuple[float, float, float] | None = None
    second_low_m: tuple[float, float] | None = None
    second_high_m: tuple[float, float] | None = None
    goal_low_m: tuple[float, float, float] | None = None
    goal_high_m: tuple[float, float, float] | None = None
    goal_distance_m: float | None = None
    goal_bearing_rad: Range | None = None
    goal_tolerance_m: float | None = None
    randomisation: Randomisation = field(default_factory=Randomisation)

    @property
    def period_s(self) -> float:
        """Seconds between two policy decisions."""
        return 1.0 / self.rate_hz

    @property
    def half_size_m(self) -> tuple[float, float, float]:
        """Half sides of the object along its own axes, metres."""
        half = self.object_width_m / 2
        return self.object_half_size_m or (half, half, half)

    @property
    def object_tilts(self) -> bool:
        """Whether the object may leave the upright, because the tool may."""
        return any(self.rotation_scale_rad[:2])

    @property
    def has_goal(self) -> bool:
        """Whether a place is given to bring the object to."""
        return self.goal_tolerance_m is not None

    @property
    def has_second(self) -> bool:
        """Whether there is a second object."""
        return self.second_name is not None

    @property
    def start_pose_base_tcp(self) -> Pose:
        """Tool pose at `start_q_rad`."""
        return Pose(np.array(self.start_position_m), np.array(self.start_quaternion))

    def as_dict(self) -> dict[str, Any]:
        """The card as plain JSON types, without what the task does not have."""
        card: dict[str, Any] = json.loads(json.dumps(asdict(self, dict_factory=_without_none)))
        return card

    def contract_hash(self) -> str:
        """Names everything a policy depends on: the deployable part of the card and the meaning of its numbers."""
        card = self.as_dict()
        card.pop("randomisation")
        text = json.dumps({"version": CONTRACT_VERSION, "card": card}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


def stretched(card: TaskSpec, factor: int) -> TaskSpec:
    """The same task in `factor` times as many, as much smaller steps (VLAJS use case 1: 10)."""
    turn = (scale / factor for scale in card.rotation_scale_rad)
    return replace(
        card,
        horizon=card.horizon * factor,
        translation_scale_m=card.translation_scale_m / factor,
        rotation_scale_rad=(next(turn), next(turn), next(turn)),
        gentle_step_m=None if card.gentle_step_m is None else card.gentle_step_m / factor,
    )
