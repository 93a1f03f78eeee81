"""An episode's file holds what was recorded, or it is no episode."""

from __future__ import annotations

import errno
import os
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from robot_runtime.collection import actions
from robot_runtime.collection.episode import Episode, EpisodeBroken, files, name_of, read, read_about, write
from tests.robot_runtime.collection.made_up import episode


def test_what_is_written_is_read(tmp_path: Path) -> None:
    made = episode(seed=3)
    write(tmp_path / name_of(7), made)
    again = read(tmp_path / name_of(7))
    assert again.about == made.about == read_about(tmp_path / name_of(7))
    for group in ("steps", "image_stamps", "ticks"):
        before, after = getattr(made, group), getattr(again, group)
        assert before.keys() == after.keys()
        assert all(np.array_equal(before[name], after[name]) for name in before)
    assert again.images == made.images
    assert again.pictures("wrist").shape == (20, 128, 128, 3)


def test_a_file_that_was_cut_short_is_refused_wherever_it_was_cut(tmp_path: Path) -> None:
    write(tmp_path / "whole.h5", episode())
    whole = (tmp_path / "whole.h5").read_bytes()
    for share in (0.0, 0.01, 0.3, 0.7, 0.99):
        cut = tmp_path / "cut.h5"
        cut.write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(EpisodeBroken, match="cut short"):
            read(cut)
        with pytest.raises(EpisodeBroken, match="cut short"):
            read_about(cut)


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write(tmp_path / name_of(0), episode())
    assert list(tmp_path.iterdir()) == []


def test_half_written_files_are_no_episodes(tmp_path: Path) -> None:
    write(tmp_path / name_of(0), episode())
    (tmp_path / f".{name_of(1)}.1234").write_bytes(b"half")
    assert files(tmp_path) == [tmp_path / name_of(0)]


def without_a_column(made: Episode) -> Episode:
    return replace(made, steps={name: values for name, values in made.steps.items() if name != "wrench_base"})


def with_a_column_too_short(made: Episode) -> Episode:
    return replace(made, steps=made.steps | {"q": made.steps["q"][:-1]})


def with_a_picture_too_few(made: Episode) -> Episode:
    return replace(made, images=made.images | {"wrist": made.images["wrist"][1:]})


def with_nan(made: Episode) -> Episode:
    return replace(made, steps=made.steps | {"object_age": made.steps["object_age"] + np.nan})


@pytest.mark.parametrize("spoil", [without_a_column, with_a_column_too_short, with_a_picture_too_few, with_nan])
def test_an_episode_that_lacks_something_is_not_written(tmp_path: Path, spoil) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(EpisodeBroken):
        write(tmp_path / name_of(0), spoil(episode()))
    assert list(tmp_path.iterdir()) == []


def test_another_hdf5_file_is_no_episode(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = 1
    with pytest.raises(EpisodeBroken, match="format"):
        read(tmp_path / "other.h5")


def test_actions_lead_from_one_command_to_the_next_in_either_frame() -> None:
    steps = episode(seed=5).steps
    for k in range(len(steps["stamp"]) - 1):
        here, there = actions.pose_of(steps["command_base_tcp"][k]), actions.pose_of(steps["command_base_tcp"][k + 1])
        for base in (steps["executed_base"][k], actions.from_wrist(steps["executed_wrist"][k], here)):
            reached = actions.applied(base, here)
            np.testing.assert_allclose(reached.position, there.position, atol=1e-12)
            assert abs(reached.quaternion @ there.quaternion) == pytest.approx(1.0, abs=1e-12)
