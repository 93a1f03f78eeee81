"""The task cards."""

from __future__ import annotations

import difflib
from dataclasses import replace

from contract import perception_noise
from contract.task_spec import Randomisation, Range, TaskSpec


class UnknownTask(ValueError):
    """No task card has this name."""


_MEASURED = perception_noise.read()


def _randomised(name: str, **others: Range) -> Randomisation:
    """The estimate of that object as bad as it was measured and worse; of one not yet measured, as the cube's."""
    return replace(perception_noise.injected(_MEASURED.get(name, _MEASURED["cube"])), **others)


_TOOL = ("tcp_position", "tcp_yaw", "command_lead", "gripper_width", "gripper_closed")
_CUBE = ("object_from_tcp", "object_position", "object_yaw_from_tcp", "object_age", "object_sigma", "object_held")

_CUBE_ON_TABLE = TaskSpec(
    name="lift_cube",
    instruction="lift the cube",
    observation_fields=(*_TOOL, *_CUBE, "previous_action"),
    object_name="cube",
    object_width_m=0.04,
    object_low_m=(0.40, -0.20),
    object_high_m=(0.70, 0.20),
    rotation_scale_rad=(0.0, 0.0, 0.06),
    randomisation=_randomised("cube"),
)

LIFT_CUBE = replace(
    _CUBE_ON_TABLE,
    horizon=150,
    gentle_low_m=0.044,  # fingers meet the cube's top at 0.047
    gentle_high_m=0.056,
    gentle_step_m=0.00075,  # 0.015 m/s: landing on a cube that was just pushed was 26 to 46 N at 0.03 m/s, 52 at 0.24
    gentle_lead_m=0.005,  # 10 N of the arm's stiffness; friction and waiting add as much, and at 30 the bridge stops it
    # While the hand comes down: then a knock decides whether a finger lands on the cube.
    randomisation=_randomised("cube", push_impulse_ns=Range(0.0, 0.06), push_ticks=Range(5, 40)),
)

PICK_CUBE = replace(
    _CUBE_ON_TABLE,
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

_KNOCKED = _randomised("cube", push_impulse_ns=Range(0.0, 0.02))

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
    _CUBE_ON_TABLE,
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
        "object_sigma",
        "object_held",
        "previous_action",
    ),
    horizon=150,
    object_name="peg",
    object_half_size_m=(0.10, 0.02, 0.02),
    object_low_m=(0.45, -0.12),
    object_high_m=(0.62, 0.12),
    rotation_scale_rad=(0.06, 0.06, 0.06),
    randomisation=_randomised("peg"),
    start_q_rad=(0.0, -0.04176, 0.0, -2.33427, 0.0, 2.29251, -0.785398),
    start_quaternion=(0.0, 0.70710678, 0.70710678, 0.0),
)

_PEG = ("object_from_tcp", "object_position", "object_heading", "object_age", "object_sigma", "object_held")

POKE_CUBE = replace(
    _CUBE_ON_TABLE,
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
    randomisation=_randomised("peg", second_half_size_m=Range(0.019, 0.021)),
)

PULL_CUBE_TOOL = replace(
    _CUBE_ON_TABLE,
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
    randomisation=_randomised("hook", second_half_size_m=Range(0.019, 0.021)),
)

PEG_INSERTION = replace(
    _CUBE_ON_TABLE,
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
    # A peg that has to fit a hole needs better eyes than one that only has to be taken.
    randomisation=_randomised(
        "peg",
        cube_half_size_m=Range(0.0195, 0.0205),
        object_noise_m=Range(0.0, 0.001),
        object_bias_m=Range(-0.001, 0.001),
        object_yaw_noise_rad=Range(0.0, 0.01),
    ),
)

ROLL_BALL = replace(
    _CUBE_ON_TABLE,
    name="roll_ball",
    instruction="push the ball",
    observation_fields=(
        *_TOOL,
        "object_from_tcp",
        "object_position",
        "object_age",
        "object_sigma",
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
    randomisation=_randomised("ball", cube_half_size_m=Range(0.033, 0.037), friction=Range(0.05, 0.25)),
)

STACK_CUBE = replace(
    _CUBE_ON_TABLE,
    name="stack_cube",
    instruction="stack the red cube on the green cube",
    observation_fields=(*_TOOL, *_CUBE, "second_from_object", "second_age", "previous_action"),
    horizon=150,
    second_name="green cube",
    second_half_size_m=(0.02, 0.02, 0.02),
    second_low_m=(0.40, -0.20),
    second_high_m=(0.70, 0.20),
    randomisation=_randomised("cube", second_half_size_m=Range(0.019, 0.021)),
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
