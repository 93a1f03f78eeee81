"""Scripted experts: for each task the phases it goes through, told from how things truly stand, without memory."""

from __future__ import annotations

from collections.abc import Callable

from sim_training.envs.truth import Truth
from sim_training.teachers.experts import grasping, pushing, wielding
from sim_training.teachers.experts.phase import Phase

Expert = Callable[[Truth], list[Phase]]
"""Every phase of the task in order; the first that is not done is the one to act out."""

EXPERTS: dict[str, Expert] = {
    "lift_cube": grasping.lift,
    "pick_cube": grasping.bring,
    "pick_place": grasping.place,
    "push_cube": pushing.push,
    "push_cube_v2": pushing.push,
    "pull_cube": pushing.push,
    "peg_upright": grasping.stand,
    "poke_cube": wielding.poke,
    "pull_cube_tool": wielding.hook,
    "peg_insertion": wielding.insert,
    "roll_ball": pushing.roll,
    "stack_cube": grasping.stack,
}
