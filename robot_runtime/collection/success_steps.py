"""Which steps of an episode show the task done, and which do not: marked by a person, or read off how it went."""

from __future__ import annotations

import numpy as np

from contract.task_spec import TaskSpec
from robot_runtime.collection.episode import Episode

DONE, NOT_DONE, UNCLEAR = 1, 0, -1
MARGIN_M = 0.02
"""An object held so little lower than the task asks for is neither: the estimate and the eye may differ."""


class CannotJudge(ValueError):
    """The episode does not say which of its steps show the task done. Mark them while teleoperating."""


def verdicts(episode: Episode, spec: TaskSpec) -> np.ndarray:
    """DONE, NOT_DONE or UNCLEAR for every step. Shape: (N,) int. Raises CannotJudge.

    A person's marks (`notes["marks"]`: step, and whether the task is done from there on) decide where there are any.
    Otherwise, of a task that lifts: the last steps of a success in which the object was held high and still are done;
    steps in which it was low, or not held, are not.
    """
    marks = episode.about.notes.get("marks")
    if marks:
        return _marked(len(episode), marks)
    if episode.about.success is None:
        raise CannotJudge("is not labelled: label it, or leave it out.")
    if not lifts(spec):
        raise CannotJudge(f"'{spec.name}' is no lifting task: mark its steps while teleoperating.")
    return _lifted(episode, spec)


def lifts(spec: TaskSpec) -> bool:
    """Whether the task is done once its object is held high enough and still."""
    return not (spec.has_goal or spec.has_second or spec.object_tilts or spec.gripper_stays_closed)


def _marked(steps: int, marks: list[tuple[int, bool]]) -> np.ndarray:
    """Not done until the first mark, then as the last one says."""
    found = np.full(steps, NOT_DONE)
    for step, done in sorted(marks, key=lambda mark: mark[0]):
        found[step:] = DONE if done else NOT_DONE
    return found


def _lifted(episode: Episode, spec: TaskSpec) -> np.ndarray:
    steps = episode.steps
    height_m = steps["pose_base_object"][:, 2] - spec.half_size_m[2]
    held = steps["object_held"] > 0.5
    found = np.full(len(episode), UNCLEAR)
    found[~held | (height_m < spec.lift_height_m - MARGIN_M)] = NOT_DONE
    if episode.about.success:
        speed_m_s = np.linalg.norm(steps["v_base_tcp"][:, :3], axis=-1)
        up = held & (height_m >= spec.lift_height_m) & (speed_m_s < spec.still_speed_m_s)
        last = len(up) - int(np.argmin(up[::-1])) if not up.all() else 0
        found[last:] = DONE
    return found
