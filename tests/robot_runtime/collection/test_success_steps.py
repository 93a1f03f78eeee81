"""Which steps show the task done is read off how the episode went, or a person has said so."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from contract.tasks import LIFT_CUBE, PICK_CUBE
from robot_runtime.collection.episode import Episode
from robot_runtime.collection.success_steps import DONE, NOT_DONE, UNCLEAR, CannotJudge, verdicts
from tests.robot_runtime.collection.made_up import about, episode

LIFT_M, REST_M = LIFT_CUBE.lift_height_m, LIFT_CUBE.object_width_m / 2


def lifted(heights_m: list[float], held: list[int], speeds: list[float] | None = None, **others: object) -> Episode:
    """An episode with that course of the object. heights_m: above where it rests."""
    made = episode(len(heights_m), **others)  # type: ignore[arg-type]
    poses = made.steps["pose_base_object"].copy()
    poses[:, 2] = REST_M + np.array(heights_m)
    twists = np.zeros((len(heights_m), 6))
    twists[:, 2] = 0.0 if speeds is None else speeds
    return replace(
        made,
        steps=made.steps | {"pose_base_object": poses, "object_held": np.array(held, float), "v_base_tcp": twists},
    )


def test_the_last_steps_of_a_success_are_done_and_the_early_ones_not() -> None:
    up = LIFT_M + 0.02
    made = lifted([0, 0, 0.05, up, up, up], [0, 1, 1, 1, 1, 1], [0, 0, 0.2, 0.2, 0, 0])
    assert verdicts(made, LIFT_CUBE).tolist() == [NOT_DONE] * 3 + [UNCLEAR] + [DONE] * 2


def test_high_and_still_but_let_go_again_is_done_only_where_it_stayed() -> None:
    up = LIFT_M + 0.02
    made = lifted([up, 0, up], [1, 0, 1])
    assert verdicts(made, LIFT_CUBE).tolist() == [UNCLEAR, NOT_DONE, DONE]


def test_of_a_failure_nothing_is_done_and_what_looks_like_it_is_left_out() -> None:
    up = LIFT_M + 0.02
    made = lifted([0, 0.05, LIFT_M - 0.01, up, 0], [0, 1, 1, 1, 0], success=False)
    assert verdicts(made, LIFT_CUBE).tolist() == [NOT_DONE, NOT_DONE, UNCLEAR, UNCLEAR, NOT_DONE]


def test_a_hand_high_above_the_object_is_not_done() -> None:
    made = lifted([0.2, 0.2], [0, 0], success=False)
    assert verdicts(made, LIFT_CUBE).tolist() == [NOT_DONE] * 2


def test_a_persons_marks_decide_also_where_the_label_says_otherwise() -> None:
    made = episode(6, success=False, notes={"marks": [[4, False], [2, True]]})
    assert verdicts(made, PICK_CUBE).tolist() == [NOT_DONE, NOT_DONE, DONE, DONE, NOT_DONE, NOT_DONE]


def test_what_cannot_be_judged_is_said() -> None:
    with pytest.raises(CannotJudge, match="not labelled"):
        verdicts(episode(4, success=None, success_by=None), LIFT_CUBE)
    with pytest.raises(CannotJudge, match="'pick_cube' is no lifting task: mark"):
        verdicts(replace(episode(4), about=about(task="pick_cube")), PICK_CUBE)
