"""A folder is made whole or not at all, says what it is, and is compared with its source."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from robot_runtime.collection import card, catalogue, export, rlds, rlds_features, verifying
from robot_runtime.collection.convention import Frame
from robot_runtime.collection.episode import name_of, write
from robot_runtime.collection.folders import DatasetError, Entry, entries, new_folder
from tests.robot_runtime.collection.made_up import episode
from tests.robot_runtime.collection.made_up_folders import entries_of, folder_of


def never(*_: object) -> None:
    raise AssertionError("RLDS needs no environment of its own")


def exported(out: Path, found: Sequence[Entry], frame: Frame = "wrist") -> Path:
    export.export(out, "rlds", found, frame, 0, never)
    return out


def seen(folder: Path) -> Iterator[verifying.Seen]:
    for split in ("train", "val"):
        for each in rlds.read(folder, split):
            yield verifying.Seen(each.source, each.actions, each.states, each.images, each.instruction)


def told(folder: Path) -> dict[str, list[float]]:
    statistics = json.loads((folder / rlds_features.STATISTICS).read_text())
    action: dict[str, list[float]] = statistics[folder.name]["action"]
    return action


def test_an_export_is_its_source(tmp_path: Path) -> None:
    found = entries_of(tmp_path / "source", ["red", "blue", "red"])
    folder = exported(tmp_path / "lift", found, "base")
    figures = verifying.compare(folder, [tmp_path / "source"], seen(folder), told(folder))
    assert figures["problems"] == []
    assert (figures["episodes"], figures["steps"], figures["frame"]) == (3, 27, "base")
    assert figures["picture_worst_difference"] == {"wrist": 0.0, "front": 0.0}


def test_every_difference_from_the_source_is_found(tmp_path: Path) -> None:
    found = entries_of(tmp_path / "source", ["red"] * 3)
    folder = exported(tmp_path / "lift", found)
    first, second, third = seen(folder)

    def said(*episodes: verifying.Seen) -> str:
        return " ".join(verifying.compare(folder, [tmp_path / "source"], episodes, told(folder))["problems"])

    assert said(first, second, third) == ""
    assert f"{third.source} is missing" in said(first, second)
    assert "comes twice" in said(first, second, third, third)
    assert "off by up to 1.0e-05" in said(replace(first, actions=first.actions + np.float32(1e-5)), second, third)
    assert "actions of shape" in said(replace(first, actions=first.actions[:-1]), second, third)
    assert "another instruction" in said(replace(first, instruction="sing"), second, third)
    assert "first and last step" in said(replace(first, marks_ends=False), second, third)
    assert "has cameras ['wrist']" in said(replace(first, images={"wrist": first.images["wrist"]}), second, third)
    dark = {"wrist": first.images["wrist"] // 2, "front": first.images["front"]}
    assert "camera 'wrist' is off by" in said(replace(first, images=dark), second, third)
    late = {"wrist": np.roll(first.images["wrist"], 1, axis=0), "front": first.images["front"]}
    assert "fit the step before or after better" in said(replace(first, images=late), second, third)
    wrong = told(folder) | {"mean": [0.1] * 7}
    figures = verifying.compare(folder, [tmp_path / "source"], [first, second, third], wrong)
    assert "statistics of the actions are off" in " ".join(figures["problems"])


def test_a_folder_that_exists_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    with pytest.raises(DatasetError, match="exists: name another folder"), new_folder(tmp_path / "there"):
        pass


def test_a_folder_that_fails_half_way_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="full"), new_folder(tmp_path / "new") as staging:  # noqa: PT012
        (staging / "half").write_text("x")
        raise OSError("full")
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_is_swept_and_what_a_living_one_fills_is_not(tmp_path: Path) -> None:
    dead, living = tmp_path / ".new.4194304", tmp_path / f".new.{os.getppid()}"
    dead.mkdir()
    living.mkdir()
    with new_folder(tmp_path / "new"):
        pass
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([living.name, "new"])


def test_failures_unlabelled_and_mixed_contracts_are_not_exported(tmp_path: Path) -> None:
    for name, others, words in (
        ("failed", {"success": False}, "1 of 3 episodes failed"),
        ("unlabelled", {"success": None}, "1 of 3 episodes are not labelled"),
        ("other", {"contract_hash": "0" * 64}, "differ in their contract"),
    ):
        folder = folder_of(tmp_path / name, ["red", "red"])
        write(folder / name_of(2), episode(**others))
        with pytest.raises(DatasetError, match=words):
            exported(tmp_path / f"{name}_out", entries([folder]))
        assert not (tmp_path / f"{name}_out").exists()


def test_two_folders_of_one_name_are_refused(tmp_path: Path) -> None:
    found = [*entries_of(tmp_path / "a" / "same"), *entries_of(tmp_path / "b" / "same")]
    with pytest.raises(DatasetError, match="one name"):
        exported(tmp_path / "out", found)


def test_a_card_says_what_there_is_and_shows_it(tmp_path: Path) -> None:
    found = entries_of(tmp_path / "source", ["red", "blue", "blue"])
    folder = exported(tmp_path / "lift", found)
    text = (folder / card.CARD).read_text()
    for words in (
        "Dataset `lift`",
        "“lift the cube”",
        "source (3)",
        "frame of the wrist",
        found[0].about.contract_hash,
    ):
        assert words in text
    assert [line.split("|")[2].strip() for line in text.splitlines() if line.startswith("| lift_cube")] == [
        "blue",
        "red",
    ]
    assert cv2.imread(str(folder / card.SHEET)).shape == (3 * 2 * 128, card.SHEET_MOMENTS * 128, 3)


def test_the_catalogue_counts_kinds_and_all(tmp_path: Path) -> None:
    found = [
        *entries_of(tmp_path / "a", ["red", "blue"]),
        *entries_of(tmp_path / "b", ["red"], success=None, policy="another"),
        *entries_of(tmp_path / "c", ["red"], success=False),
    ]
    everything = catalogue.total(found)
    assert (everything.episodes, everything.successes, everything.unlabelled, everything.steps) == (4, 2, 1, 33)
    assert [(kind.variant, kind.policy, kind.episodes) for kind in catalogue.kinds(found)] == [
        ("blue", "made up", 1), ("red", "another", 1), ("red", "made up", 2)
    ]  # fmt: skip
    assert len({len(line) for line in catalogue.table(found).splitlines()}) == 1, "columns are straight"


def test_a_folder_without_episodes_or_none_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="holds no episodes"):
        entries([tmp_path])
    with pytest.raises(DatasetError, match="There is no folder"):
        entries([tmp_path / "nowhere"])
    with pytest.raises(DatasetError, match=r"no readable export\.json"):
        verifying.manifest(tmp_path)
