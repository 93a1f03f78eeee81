"""finetune.py small reads exports and episodes alike, and says what is wrong with them in one sentence."""

from __future__ import annotations

from pathlib import Path

import finetune
import numpy as np
import pytest

import _demonstrations
import _generalist
from contract import generalist
from robot_runtime.collection import episode as disk
from robot_runtime.collection import export, folders
from sim_training.generalist.train import NothingToLearn, Training
from tests.robot_runtime.collection.made_up import episode


@pytest.fixture
def episodes(tmp_path: Path) -> Path:
    folder = tmp_path / "episodes"
    folder.mkdir()
    for number in range(4):
        disk.write(folder / disk.name_of(number), episode(8, number, success=number != 2))
    return folder


def test_it_learns_from_episodes_that_succeeded_and_says_what_it_is(episodes: Path, tmp_path: Path) -> None:
    figures = finetune.small(finetune.Small((episodes,), tmp_path / "made", training=Training(steps=2, batch=4)))
    assert (figures["episodes"], figures["steps"]) == (3, 24)
    card = generalist.read_card(tmp_path / "made")
    assert card.instructions == ("lift the cube",)
    assert card.cameras == ("front", "wrist")
    action = _generalist.load(tmp_path / "made").act(
        {name: np.zeros((128, 128, 3), np.uint8) for name in card.cameras}, "lift the cube"
    )
    assert action.shape == (7,)


def test_of_several_experts_it_learns_every_instruction(episodes: Path, tmp_path: Path) -> None:
    other = tmp_path / "pushes"
    other.mkdir()
    disk.write(other / disk.name_of(0), episode(8, 9, task="push_cube", instruction="push the cube"))
    asked = finetune.Small((episodes, other), tmp_path / "made", training=Training(steps=2, batch=4))
    assert finetune.small(asked)["episodes"] == 4
    card = generalist.read_card(tmp_path / "made")
    assert card.instructions == ("lift the cube", "push the cube")
    assert card.provenance["data"] == ["episodes", "pushes"]


def test_an_export_gives_what_its_episodes_give(episodes: Path, tmp_path: Path) -> None:
    found = [each for each in folders.entries([episodes]) if each.about.success]
    export.export(tmp_path / "exported", "rlds", found, "base", 0, lambda *_: None)
    plain = list(_demonstrations.read(episodes))
    exported = list(_demonstrations.read(tmp_path / "exported"))
    assert len(exported) == 2  # the third is kept for validation
    for seen in exported:
        near = min(plain, key=lambda each: float(np.abs(each.actions - seen.actions).max()))
        assert np.allclose(near.actions, seen.actions, atol=1e-6)
        assert all(np.array_equal(near.images[name], seen.images[name]) for name in near.images)


def test_an_export_in_the_wrists_frame_is_refused(episodes: Path, tmp_path: Path) -> None:
    found = [each for each in folders.entries([episodes]) if each.about.success]
    export.export(tmp_path / "exported", "rlds", found, "wrist", 0, lambda *_: None)
    with pytest.raises(NothingToLearn, match="--frame base"):
        finetune.small(finetune.Small((tmp_path / "exported",), tmp_path / "made"))


def test_only_so_many_are_read(episodes: Path) -> None:
    assert len(list(_demonstrations.read(episodes, 2))) == 2


def test_a_folder_of_something_else_is_not_replaced(episodes: Path) -> None:
    with pytest.raises(finetune.OutInUse, match="no generalist"):
        finetune.small(finetune.Small((episodes,), episodes))
    assert len(disk.files(episodes)) == 4


def test_what_lies_beside_a_generalist_in_its_folder_is_not_lost(tmp_path: Path) -> None:
    for name in (*generalist.FILES, "episodes"):
        (tmp_path / name).touch()
    with pytest.raises(finetune.OutInUse, match="not only that"):
        finetune.small(finetune.Small((tmp_path,), tmp_path))
    assert len(list(tmp_path.iterdir())) == 4


def test_nothing_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(NothingToLearn, match="no folder"):
        finetune.small(finetune.Small((tmp_path / "nowhere",), tmp_path / "made"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(NothingToLearn, match="no episodes"):
        finetune.small(finetune.Small((tmp_path / "empty",), tmp_path / "made"))


def test_a_folder_that_adds_nothing_is_named(episodes: Path, tmp_path: Path) -> None:
    failed = tmp_path / "failed"
    failed.mkdir()
    disk.write(failed / disk.name_of(0), episode(success=False))
    with pytest.raises(NothingToLearn, match="failed .* none there has succeeded"):
        finetune.small(finetune.Small((episodes, failed), tmp_path / "made"))
    with pytest.raises(NothingToLearn, match="At least one"):
        finetune.small(finetune.Small((episodes,), tmp_path / "made", episodes=0))


def test_an_episode_cut_short_is_named(episodes: Path, tmp_path: Path) -> None:
    path = disk.files(episodes)[1]
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(disk.EpisodeBroken, match=path.name):
        finetune.small(finetune.Small((episodes,), tmp_path / "made"))
