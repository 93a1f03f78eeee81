"""Episodes of the simulator with pictures: whole, true to what was commanded, and not made twice."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import _sim_episodes
from contract.tasks import LIFT_CUBE
from robot_runtime.collection import actions
from robot_runtime.collection import episode as disk
from sim_training.rollouts import VARIANTS

COUNT = 3


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("collected")
    _collect(made, COUNT)
    return made


def _collect(folder: Path, count: int) -> None:
    variants = [VARIANTS["red_cube"], VARIANTS["magenta_cube"]]
    _sim_episodes.collect(folder, LIFT_CUBE, "rl", variants, count, 0, batch=4)


def test_as_many_successes_as_were_asked_for_in_equal_parts(folder: Path) -> None:
    abouts = [disk.read_about(path) for path in disk.files(folder)]
    assert [about.variant for about in abouts] == ["red_cube", "magenta_cube", "red_cube"]
    assert all(about.success and about.success_by == "truth" and about.cell == "simulation" for about in abouts)


def test_the_actions_lead_from_command_to_command(folder: Path) -> None:
    for _, each in disk.read_all(folder):
        commands = each.steps["command_base_tcp"]
        for row, start, end in zip(each.steps["executed_base"], commands, commands[1:], strict=False):
            there = actions.applied(row, actions.pose_of(start))
            assert np.allclose(there.position, end[:3], atol=1e-6)
            assert abs(float(there.quaternion @ end[3:])) > 1 - 1e-9


def test_it_is_the_cube_that_ends_up_high_and_the_gripper_that_closed(folder: Path) -> None:
    for _, each in disk.read_all(folder):
        assert each.steps["pose_base_object"][0, 2] < 0.03
        assert each.steps["pose_base_object"][-1, 2] > 0.10
        assert each.steps["executed_base"][0, 6] == 1.0
        assert each.steps["executed_base"][-1, 6] == 0.0


def test_both_cameras_see_the_object_in_its_own_colour(folder: Path) -> None:
    """The wrist's sees it on the way down; magenta has more blue in it than red has."""
    blue = {}
    for _, each in disk.read_all(folder):
        for camera in ("front", "wrist"):
            pictures = each.pictures(camera).astype(int)
            strong = (pictures[..., 0] - pictures[..., 1] > 60) & (pictures[..., 0] > 120)
            assert strong.sum((1, 2)).max() > 30
            blue[each.about.variant] = float((pictures[..., 2] - pictures[..., 1])[strong].mean())
    assert blue["magenta_cube"] > blue["red_cube"] + 20


def test_what_is_there_is_not_made_again(folder: Path) -> None:
    before = [path.stat().st_mtime_ns for path in disk.files(folder)]
    os.unlink(disk.files(folder)[1])
    _collect(folder, COUNT)
    after = [path.stat().st_mtime_ns for path in disk.files(folder)]
    assert (after[0], after[2]) == (before[0], before[2])
    assert len(after) == COUNT


def test_episodes_of_somebody_else_are_left_alone(folder: Path) -> None:
    with pytest.raises(_sim_episodes.OtherEpisodes, match="--out"):
        _sim_episodes.collect(folder, LIFT_CUBE, "human-like", [VARIANTS["red_cube"]], 1, 0)
    with pytest.raises(_sim_episodes.OtherEpisodes, match="another contract"):
        _sim_episodes._there(
            folder, replace(LIFT_CUBE, translation_scale_m=0.02), disk.read_about(disk.files(folder)[0]).policy
        )


@pytest.mark.parametrize("task", ["push_cube", "pick_cube", "stack_cube", "peg_upright"])
def test_a_task_of_which_pictures_do_not_show_all_is_refused(task: str) -> None:
    with pytest.raises(_sim_episodes.NotDrawn, match="lift_cube"):
        _sim_episodes.card_and_variants(task, ("red_cube",))


def test_no_episodes_and_no_such_object_are_said(tmp_path: Path) -> None:
    with pytest.raises(_sim_episodes.NothingAsked, match="At least one"):
        _collect(tmp_path, 0)
    with pytest.raises(_sim_episodes.NothingAsked, match="At least one"):
        _sim_episodes.collect(tmp_path, LIFT_CUBE, "human-like", [], 1, 0)
    with pytest.raises(_sim_episodes.NothingAsked, match="from 0 to 599"):
        _sim_episodes.collect(tmp_path, LIFT_CUBE, "human-like", [VARIANTS["red_cube"]], 1, 600)
    with pytest.raises(_sim_episodes.UnknownVariant, match="red_cube"):
        _sim_episodes.card_and_variants("lift_cube", ("green_cube",))
