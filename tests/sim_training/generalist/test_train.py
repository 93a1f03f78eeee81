"""The small generalist learns what pictures and words say, goes on from an earlier one, and refuses what cannot be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import _generalist
from contract import generalist
from sim_training.generalist.train import Demonstration, NothingToLearn, Training, augmented, fit

SIDE = 48
QUICK = Training(steps=800, batch=32, shift_px=0)


def dots(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Pictures of a bright dot, and where it is, -1..1. Shapes: (count, SIDE, SIDE, 3), (count, 2)"""
    places = rng.integers(4, SIDE - 4, (count, 2))
    pictures = np.full((count, SIDE, SIDE, 3), 60, np.uint8)
    for picture, (x, y) in zip(pictures, places, strict=True):
        picture[y - 2 : y + 3, x - 2 : x + 3] = (220, 40, 30)
    return pictures, 2 * places / SIDE - 1


def episodes(count: int, seed: int, instructions: tuple[str, ...] = ("go to the dot",)) -> list[Demonstration]:
    """Go to the dot, 20 mm at most in a step, or away from it; open while it is in the left half."""
    rng, made = np.random.default_rng(seed), []
    for number in range(count):
        instruction = instructions[number % len(instructions)]
        pictures, places = dots(rng, 20)
        actions = np.zeros((20, 7))
        actions[:, :2] = 0.02 * places * (1 if instruction.startswith("go") else -1)
        actions[:, 6] = places[:, 0] < 0
        made.append(Demonstration({"wrist": pictures}, actions, instruction))
    return made


def errors(folder: Path, instruction: str, seed: int = 99) -> tuple[float, float]:
    """Root mean square error of the motion over that of standing still, and how often the gripper is right."""
    (shown,) = episodes(1, seed, (instruction,))
    answers = _generalist.load(folder).act(shown.images, instruction)
    off = np.sqrt(((answers - shown.actions)[:, :2] ** 2).mean() / (shown.actions[:, :2] ** 2).mean())
    return float(off), float(((answers[:, 6] > 0.5) == shown.actions[:, 6]).mean())


def test_it_goes_where_the_picture_says_and_the_words_decide_which_way(tmp_path: Path) -> None:
    both = ("go to the dot", "leave the dot")
    figures = fit(episodes(60, 0, both), tmp_path / "made", QUICK, show=False)
    assert figures["episodes"] == 60
    for instruction in both:
        off, right = errors(tmp_path / "made", instruction)
        assert off < 0.5
        assert right > 0.85
    assert np.all(_generalist.load(tmp_path / "made").act(episodes(1, 1)[0].images, both[0])[:, 2:6] == 0.0)


def test_going_on_from_an_earlier_one_keeps_its_words_and_its_units(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    fit(episodes(10, 0), first, Training(steps=5), show=False)
    fit(episodes(10, 1, ("leave the dot",)), second, Training(steps=5), start=first, show=False)
    old, new = generalist.read_card(first), generalist.read_card(second)
    assert new.instructions == ("go to the dot", "leave the dot")
    assert (new.low, new.high) == (old.low, old.high)
    assert new.provenance["likelihood"].startswith("mixture")


def test_the_same_seed_gives_the_same_generalist(tmp_path: Path) -> None:
    for name in "ab":
        fit(episodes(4, 0), tmp_path / name, Training(steps=5), show=False)
    first, second = (generalist.read_tensors(tmp_path / name) for name in "ab")
    assert all(np.array_equal(first[name], second[name]) for name in first)


def test_nothing_to_learn_from_is_said(tmp_path: Path) -> None:
    with pytest.raises(NothingToLearn, match="no episodes"):
        fit([], tmp_path / "made", QUICK, show=False)
    assert list(tmp_path.iterdir()) == []


def test_a_camera_that_one_episode_lacks_is_named(tmp_path: Path) -> None:
    whole = episodes(1, 0)[0]
    blind = Demonstration({"front": whole.images["wrist"]}, whole.actions, whole.instruction)
    with pytest.raises(NothingToLearn, match="'wrist'"):
        fit([whole, blind], tmp_path / "made", QUICK, show=False)


def test_pictures_of_another_size_than_the_earlier_ones_are_refused(tmp_path: Path) -> None:
    fit(episodes(2, 0), tmp_path / "first", Training(steps=2), show=False)
    whole = episodes(1, 0)[0]
    small = Demonstration({"wrist": whole.images["wrist"][:, ::2, ::2]}, whole.actions, whole.instruction)
    with pytest.raises(NothingToLearn, match=f"{SIDE} px"):
        fit([small], tmp_path / "made", QUICK, start=tmp_path / "first", show=False)


def test_episodes_that_move_what_the_earlier_one_keeps_still_are_refused(tmp_path: Path) -> None:
    fit(episodes(5, 0), tmp_path / "first", Training(steps=2), show=False)
    for each in (turned := episodes(5, 1)):
        each.actions[::2, 5] = 0.05
    with pytest.raises(NothingToLearn, match="first never does"):
        fit(turned, tmp_path / "second", Training(steps=2), start=tmp_path / "first", show=False)


def test_hues_are_turned_by_up_to_the_share_asked_for_and_grey_stays_grey() -> None:
    pictures = torch.tensor([[200, 20, 40], [90, 90, 90]], dtype=torch.uint8).expand(500, 2, 2, 3)
    seen = augmented(pictures, Training(shift_px=0, brightness=0.0, tint=0.0, hue=0.1))[:, 0].numpy()

    def hue_turns(rgb: np.ndarray) -> np.ndarray:
        red, green, blue = rgb.T
        return np.arctan2(3**0.5 * (green - blue), 2 * red - green - blue) / (2 * np.pi)

    turned = hue_turns(seen[:, 0]) - hue_turns(np.array([[200.0, 20.0, 40.0]]))
    assert -0.1001 < turned.min() < -0.08
    assert 0.08 < turned.max() < 0.1001
    np.testing.assert_allclose(seen[:, 0].sum(-1), 260, atol=0.01)
    np.testing.assert_allclose(seen[:, 1], 90, atol=0.01)
