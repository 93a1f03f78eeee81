"""Every kind of damage to a dataset has its sentence, and a sound one has none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from robot_runtime.collection.checking import check
from robot_runtime.collection.episode import Episode, files, name_of, write
from tests.robot_runtime.collection.made_up import episode
from tests.robot_runtime.collection.made_up_folders import folder_of


def test_a_sound_folder_has_nothing_wrong(tmp_path: Path) -> None:
    assert list(check(files(folder_of(tmp_path / "a", ["red", "blue"])))) == []


def with_a_small_picture(made: Episode) -> Episode:
    small = cv2.imencode(".jpg", np.zeros((64, 64, 3), np.uint8))[1].tobytes()
    return replace(made, images=made.images | {"front": [*made.images["front"][:-1], small]})


def with_half_a_picture(made: Episode) -> Episode:
    return replace(made, images=made.images | {"front": [b"no picture", *made.images["front"][1:]]})


def with_a_pause(made: Episode) -> Episode:
    stamps = made.steps["stamp"] + 0.2 * (np.arange(len(made)) > 3)
    return replace(made, steps=made.steps | {"stamp": stamps})


def with_pictures_out_of_order(made: Episode) -> Episode:
    return replace(made, image_stamps=made.image_stamps | {"wrist": made.image_stamps["wrist"][::-1]})


def with_a_wrong_action(frame: str) -> Callable[[Episode], Episode]:
    def spoil(made: Episode) -> Episode:
        rows = made.steps[f"executed_{frame}"] + np.where(np.arange(len(made)) == 4, 1e-4, 0.0)[:, None]
        return replace(made, steps=made.steps | {f"executed_{frame}": rows})

    return spoil


def unlabelled(made: Episode) -> Episode:
    return replace(made, about=replace(made.about, success=None))


def of_another_contract(made: Episode) -> Episode:
    return replace(made, about=replace(made.about, contract_hash="f" * 64))


def without_the_front_camera(made: Episode) -> Episode:
    return replace(made, images={"wrist": made.images["wrist"]}, image_stamps={"wrist": made.image_stamps["wrist"]})


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (with_a_small_picture, "Picture 9 of camera 'front' cannot be decoded or is not 128"),
        (with_half_a_picture, "Picture 0 of camera 'front'"),
        (with_a_pause, "Steps 3 and 4 are 0.200 s off the 10 Hz"),
        (with_pictures_out_of_order, "'wrist' are not in the order"),
        (with_a_wrong_action("base"), "executed in step 4 (base frame) misses the next command by 0.173 mm"),
        (with_a_wrong_action("wrist"), "executed in step 4 (wrist frame)"),
        (unlabelled, "1 of 2 episodes are not labelled"),
        (of_another_contract, "differ in their contract"),
        (without_the_front_camera, "differ in their cameras (front, wrist and wrist)"),
    ],
)
def test_each_damage_has_its_sentence(tmp_path: Path, spoil: Callable[[Episode], Episode], words: str) -> None:
    write(tmp_path / name_of(0), episode(steps=10, seed=1))
    write(tmp_path / name_of(1), spoil(episode(steps=10, seed=2)))
    said = list(check(files(tmp_path)))
    assert len(said) == 1
    assert words in said[0]
    assert name_of(1) in said[0]


def test_a_file_cut_short_is_named_and_the_others_are_still_checked(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "a", ["red", "red", "red"])
    cut = folder / name_of(0)
    cut.write_bytes(cut.read_bytes()[:2000])
    write(folder / name_of(2), with_a_pause(episode()))
    said = list(check(files(folder)))
    assert len(said) == 2
    assert "cut short" in said[0]
    assert "off the 10 Hz" in said[1]
