"""Task cards: everything about a task that both training and the robot must know, as numbers."""

from __future__ import annotations

import difflib
import hashlib
import json
from dataclasses import asdict, dataclass, field, replace
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
    """What differs from episode to episode in training, so that the robot is one more sample. Units in the names.

    cube_half_size_m: half the object's width between the fingers; its other sides scale along.
    second_half_size_m: the same of the second object; None for its nominal size.
    push_impulse_ns: one horizontal knock to the object at a random tick, newton seconds; None for none.
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
    gripper_delay_ticks: Range = Range(0, 4)
    push_impulse_ns: Range | None = None
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


_TOOL = ("tcp_position", "tcp_yaw", "command_lead", "gripper_width", "gripper_closed")
_CUBE = ("object_from_tcp", "object_position", "object_yaw_from_tcp", "object_age", "object_held")

LIFT_CUBE = TaskSpec(
    name="lift_cube",
    instruction="lift the cube",
    observation_fields=(*_TOOL, *_CUBE, "previous_action"),
    object_name="cube",
    object_width_m=0.04,
    object_low_m=(0.40, -0.20),
    object_high_m=(0.70, 0.20),
    rotation_scale_rad=(0.0, 0.0, 0.06),
)

PICK_CUBE = replace(
    LIFT_CUBE,
    name="pick_cube",
    instruction="pick up the cube",
    observation_fields=(*_TOOL, *_CUBE, "goal_from_object", "previous_action"),
    goal_low_m=(0.42, -0.18, 0.08),
    goal_high_m=(0.66, 0.18, 0.28),
    goal_tolerance_m=0.025,
)

PICK_PLACE = replace(
    PICK_CUBE,
    name="pick_place",
    instruction="pick up the cube and place it on the target",
    horizon=150,
    goal_low_m=(0.42, -0.20, 0.0),
    goal_high_m=(0.68, 0.20, 0.0),
)

_KNOCKED = Randomisation(push_impulse_ns=Range(0.0, 0.02))

PUSH_CUBE = replace(
    PICK_CUBE,
    name="push_cube",
    instruction="push the cube away from the robot base",
    gripper_stays_closed=True,
    object_low_m=(0.40, -0.15),
    object_high_m=(0.50, 0.15),
    goal_low_m=None,
    goal_high_m=None,
    goal_distance_m=0.2,
    goal_bearing_rad=Range(0.0, 0.0),
    goal_tolerance_m=0.1,
    randomisation=_KNOCKED,
)

PUSH_CUBE_V2 = replace(
    PUSH_CUBE,
    name="push_cube_v2",
    instruction="push the cube to the target",
    horizon=150,
    object_width_m=0.06,
    object_low_m=(0.42, -0.18),
    object_high_m=(0.62, 0.02),
    goal_distance_m=0.16,
    goal_bearing_rad=Range(0.8, 2.0),
    goal_tolerance_m=0.05,
    randomisation=replace(_KNOCKED, cube_half_size_m=Range(0.028, 0.032)),
)

PULL_CUBE = replace(
    PUSH_CUBE,
    name="pull_cube",
    instruction="pull the cube towards the robot base",
    object_low_m=(0.55, -0.15),
    object_high_m=(0.68, 0.15),
    goal_bearing_rad=Range(3.14159, 3.14159),
)

PEG_UPRIGHT = replace(
    LIFT_CUBE,
    name="peg_upright",
    instruction="lift the peg upright",
    observation_fields=(
        "tcp_position",
        "tcp_rotation",
        "command_lead",
        "gripper_width",
        "gripper_closed",
        "object_from_tcp",
        "object_position",
        "object_axis",
        "object_age",
        "object_held",
        "previous_action",
    ),
    horizon=150,
    object_name="peg",
    object_half_size_m=(0.10, 0.02, 0.02),
    object_low_m=(0.45, -0.12),
    object_high_m=(0.62, 0.12),
    rotation_scale_rad=(0.06, 0.06, 0.06),
    start_q_rad=(0.0, -0.04176, 0.0, -2.33427, 0.0, 2.29251, -0.785398),
    start_quaternion=(0.0, 0.70710678, 0.70710678, 0.0),
)

_PEG = ("object_from_tcp", "object_position", "object_heading", "object_age", "object_held")

POKE_CUBE = replace(
    LIFT_CUBE,
    name="poke_cube",
    instruction="push the cube by using the blue tool",
    observation_fields=(
        *_TOOL,
        *_PEG,
        "second_from_object",
        "second_age",
        "goal_from_second",
        "previous_action",
    ),
    horizon=150,
    object_name="peg",
    object_half_size_m=(0.12, 0.02, 0.02),
    object_low_m=(0.38, -0.12),
    object_high_m=(0.44, 0.12),
    second_name="cube",
    second_half_size_m=(0.02, 0.02, 0.02),
    second_low_m=(0.61, -0.12),
    second_high_m=(0.66, 0.12),
    goal_distance_m=0.1,
    goal_bearing_rad=Range(0.0, 0.0),
    goal_tolerance_m=0.05,
    randomisation=Randomisation(second_half_size_m=Range(0.019, 0.021)),
)

PULL_CUBE_TOOL = replace(
    LIFT_CUBE,
    name="pull_cube_tool",
    instruction="pull the cube by using the red tool",
    observation_fields=(*_TOOL, *_PEG, "second_from_object", "second_age", "previous_action"),
    horizon=200,
    object_name="hook",
    object_half_size_m=(0.15, 0.02, 0.02),
    object_low_m=(0.38, -0.18),
    object_high_m=(0.44, 0.02),
    second_name="cube",
    second_half_size_m=(0.02, 0.02, 0.02),
    second_low_m=(0.80, -0.02),
    second_high_m=(0.86, 0.12),
    randomisation=Randomisation(second_half_size_m=Range(0.019, 0.021)),
)

PEG_INSERTION = replace(
    LIFT_CUBE,
    name="peg_insertion",
    instruction="insert the peg into the hole",
    observation_fields=(*_TOOL, *_PEG, "second_from_object", "second_heading", "second_age", "previous_action"),
    horizon=200,
    object_name="peg",
    object_half_size_m=(0.10, 0.02, 0.02),
    object_low_m=(0.45, -0.22),
    object_high_m=(0.60, -0.10),
    start_q_rad=PEG_UPRIGHT.start_q_rad,
    start_quaternion=PEG_UPRIGHT.start_quaternion,
    second_name="box with a hole",
    second_half_size_m=(0.05, 0.06, 0.10),
    second_low_m=(0.45, 0.16),
    second_high_m=(0.60, 0.24),
    randomisation=Randomisation(
        cube_half_size_m=Range(0.0195, 0.0205),
        object_noise_m=Range(0.0, 0.001),
        object_bias_m=Range(-0.001, 0.001),
        object_yaw_noise_rad=Range(0.0, 0.01),
    ),
)

ROLL_BALL = replace(
    LIFT_CUBE,
    name="roll_ball",
    instruction="push the ball",
    observation_fields=(
        *_TOOL,
        "object_from_tcp",
        "object_position",
        "object_age",
        "goal_from_object",
        "previous_action",
    ),
    gripper_stays_closed=True,
    horizon=150,
    object_name="ball",
    object_width_m=0.07,
    object_low_m=(0.45, -0.12),
    object_high_m=(0.55, 0.12),
    hold_s=0.05,
    still_speed_m_s=1.0,
    goal_low_m=(0.92, -0.22, 0.0),
    goal_high_m=(0.98, 0.22, 0.0),
    goal_tolerance_m=0.1,
    randomisation=Randomisation(cube_half_size_m=Range(0.033, 0.037), friction=Range(0.05, 0.25)),
)

STACK_CUBE = replace(
    LIFT_CUBE,
    name="stack_cube",
    instruction="stack the red cube on the green cube",
    observation_fields=(*_TOOL, *_CUBE, "second_from_object", "second_age", "previous_action"),
    horizon=150,
    second_name="green cube",
    second_half_size_m=(0.02, 0.02, 0.02),
    second_low_m=(0.40, -0.20),
    second_high_m=(0.70, 0.20),
    randomisation=Randomisation(second_half_size_m=Range(0.019, 0.021)),
)

_CARDS = (
    LIFT_CUBE,
    PICK_CUBE,
    PICK_PLACE,
    PUSH_CUBE,
    PUSH_CUBE_V2,
    PULL_CUBE,
    PEG_UPRIGHT,
    PEG_INSERTION,
    POKE_CUBE,
    PULL_CUBE_TOOL,
    ROLL_BALL,
    STACK_CUBE,
)
TASKS: dict[str, TaskSpec] = {card.name: card for card in _CARDS}


def task(name: str) -> TaskSpec:
    """The card of that name. Raises UnknownTask with the nearest name."""
    if name in TASKS:
        return TASKS[name]
    near = difflib.get_close_matches(name, TASKS, n=1, cutoff=0.0)[0]
    raise UnknownTask(f"There is no task '{name}'; did you mean '{near}'? Tasks: {', '.join(sorted(TASKS))}.")


def stretched(card: TaskSpec, factor: int) -> TaskSpec:
    """The same task in `factor` times as many, as much smaller steps (VLAJS use case 1: 10)."""
    turn = (scale / factor for scale in card.rotation_scale_rad)
    return replace(
        card,
        horizon=card.horizon * factor,
        translation_scale_m=card.translation_scale_m / factor,
        rotation_scale_rad=(next(turn), next(turn), next(turn)),
    )
