"""A success classifier learns from pictures, is as sure as it has to be, and is refused where it does not belong."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from hypothesis import given
from hypothesis import strategies as st

from contract.tasks import LIFT_CUBE
from robot_runtime.collection import classifier_training as training
from robot_runtime.collection.classifier import (
    CARD,
    WEIGHTS,
    CameraNotThere,
    Card,
    ClassifierUnusable,
    StopSignal,
    SuccessClassifier,
    in_a_row,
    of_episode,
    read_card,
)
from robot_runtime.collection.classifier_training import Shown, UnusableData
from robot_runtime.collection.episode import SIDE_PX, name_of, write
from robot_runtime.collection.success_steps import DONE, NOT_DONE, UNCLEAR
from tests.robot_runtime.collection.made_up import episode

WRIST = ("wrist",)


def shown(random: np.random.Generator, success: bool, steps: int = 12) -> Shown:
    """Synthetic: noise, with a bright square once it is done."""
    pictures = random.integers(0, 160, (steps, SIDE_PX, SIDE_PX, 3), np.uint8)
    found = np.full(steps, NOT_DONE)
    if success:
        found[steps // 2 :] = DONE
        pictures[steps // 2 :, 32:96, 32:96] = 250
    return Shown(Path("made_up.h5"), success, pictures, found)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small classifier, and how well it does in its card."""
    random = np.random.default_rng(0)
    parts = training.split([shown(random, k % 2 == 0) for k in range(16)], seed=0)
    model = training.network("shufflenet_v2_x0_5", None, SIDE_PX, seed=0)
    losses: list[float] = []
    training.train(model, parts.training, 60, 8, 0, losses.append)
    assert len(losses) == 60
    scored = [(one, training.probabilities(model, one.pictures)) for one in parts.held_out]
    threshold = training.choose_threshold(scored, 2, 0.98)
    assert threshold is not None
    folder = tmp_path_factory.mktemp("classifier") / "new"
    training.ship(model, Card("lift_cube", WRIST, threshold, 2, ""), folder, SIDE_PX)
    return folder


def test_it_tells_done_from_not_done_and_so_does_the_file_it_is_written_to(trained: Path) -> None:
    random = np.random.default_rng(99)
    classifier = SuccessClassifier(trained, "lift_cube")
    for success in (True, False):
        fresh = shown(random, success)
        assert classifier.done(fresh.pictures).any() == success
        first = int(np.argmax(classifier.done(fresh.pictures)))
        assert first == (7 if success else 0), "the second picture of the square, not before"


def test_a_stop_signal_waits_for_so_many_in_a_row(trained: Path) -> None:
    signal = StopSignal(SuccessClassifier(trained))
    yes, no = (shown(np.random.default_rng(5), True).pictures[k] for k in (-1, 0))
    said = [signal({"wrist": picture}, still=True) for picture in (yes, yes, yes, no, yes, yes, yes, yes, yes)]
    assert said == [False] * 7 + [True, True], "twice the two that a label takes"
    assert not signal({"wrist": yes}, still=False)
    assert [signal({"wrist": yes}, still=True) for _ in range(4)] == [False, False, False, True], "it began anew"
    with pytest.raises(CameraNotThere, match="needs a 128 x 128 picture of camera 'wrist'"):
        signal({"front": yes}, still=True)


@given(st.lists(st.booleans(), max_size=30), st.integers(1, 6))
def test_in_a_row_means_in_a_row(done: list[bool], consecutive: int) -> None:
    found = in_a_row(np.array(done, bool), consecutive)
    expected = [k + 1 >= consecutive and all(done[k + 1 - consecutive : k + 1]) for k in range(len(done))]
    assert found.tolist() == expected


def test_episodes_are_split_whole_and_alike(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    many = [replace(shown(random, k < 20, 4), path=Path(str(k))) for k in range(30)]
    parts = training.split(many, seed=3)
    names = [{one.path for one in part} for part in (parts.training, parts.calibration, parts.held_out)]
    assert [len(some) for some in names] == [18, 6, 6]
    assert not names[0] & names[1]
    assert not (names[0] | names[1]) & names[2]
    assert sum(one.success for one in parts.held_out) == 4
    assert [one.path for one in training.split(many, seed=3).held_out] == [one.path for one in parts.held_out]


def scored(*rows: tuple[bool, list[float]]) -> list[tuple[Shown, np.ndarray]]:
    """Episodes whose pictures all show the same, with what was said of each."""
    return [
        (Shown(Path("x"), done, np.zeros(0), np.full(len(said), DONE if done else NOT_DONE)), np.array(said))
        for done, said in rows
    ]


def test_the_threshold_lies_between_what_is_precise_and_what_recognises_and_counts_only_runs() -> None:
    rows = scored((True, [0.9, 0.9, 0.9]), (False, [0.7, 0.1, 0.7]), (False, [0.2, 0.8, 0.6]))
    assert training.choose_threshold(rows, 2, 0.98) == pytest.approx(0.75, abs=0.006), "0.7 is alone, 0.8 beside 0.6"
    assert training.choose_threshold(rows, 1, 0.98) == pytest.approx(0.85, abs=0.006)
    assert training.choose_threshold(scored((True, [0.6] * 3), (False, [0.9] * 3)), 2, 0.98) is None
    easy = scored((True, [0.4] * 3), (True, [0.9] * 3), (False, [0.1] * 3))
    assert training.choose_threshold(easy, 2, 0.98) == pytest.approx(0.7, abs=0.006), "0.5 at least, 0.9 at most"
    missed = scored((True, [0.95] * 3), (True, [0.8] * 3), (False, [0.1] * 3))
    assert training.choose_threshold(missed, 2, 0.98) == pytest.approx(0.65, abs=0.006), "both are recognised"


def test_unclear_pictures_count_for_nobody() -> None:
    one, said = scored((True, [0.9, 0.9, 0.1]))[0]
    found = training.count([(replace(one, verdicts=np.array([DONE, UNCLEAR, NOT_DONE])), said)], 0.5, 1)
    assert (found["pictures"]["count"], found["pictures"]["right"], found["pictures"]["said"]) == (2, 1, 1)
    assert found["episodes"]["recall"] == 1.0
    assert found["pictures"]["precision_interval"][0] < 1.0


def test_augmentation_changes_the_picture_but_leaves_the_cameras_apart() -> None:
    pixels = torch.full((4, 3, SIDE_PX, 2 * SIDE_PX), -0.5)
    pixels[..., SIDE_PX:] = 0.5
    changed = training.changed(pixels, torch.Generator().manual_seed(0))
    left, right = changed[..., :SIDE_PX], changed[..., SIDE_PX:]
    assert float(left.max()) < float(right.min())
    assert changed.mean((1, 2, 3)).std() > 0.01
    assert float(changed.abs().max()) <= 1.0


def test_what_is_not_this_task_or_has_not_these_cameras_is_refused(tmp_path: Path) -> None:
    for number, (made, words) in enumerate(
        [
            (episode(task="pick_cube"), "is an episode of 'pick_cube', not of 'lift_cube': leave it out"),
            (episode(success=None, success_by=None), "is not labelled: label it, or leave it out"),
            (episode(cameras=("wrist",)), "has no pictures of camera 'front', only of wrist"),
        ]
    ):
        path = tmp_path / name_of(number)
        write(path, made)
        with pytest.raises(UnusableData, match=words):
            training.show(path, LIFT_CUBE, ("wrist", "front"))


def test_without_enough_of_both_kinds_nothing_is_trained() -> None:
    random = np.random.default_rng(2)
    with pytest.raises(UnusableData, match="There are 0 failed episodes; at least 3"):
        training.split([shown(random, True, 4) for _ in range(8)], 0)
    blind = [replace(shown(random, k % 2 == 0, 4), verdicts=np.full(4, NOT_DONE)) for k in range(10)]
    with pytest.raises(UnusableData, match="No step of 6 episodes shows the task done"):
        training.split(blind, 0)


def test_weights_of_something_else_are_refused(tmp_path: Path) -> None:
    (tmp_path / "other.pt").write_bytes(b"no weights")
    with pytest.raises(UnusableData, match="does not hold the weights of shufflenet_v2_x0_5: leave --weights out"):
        training.network("shufflenet_v2_x0_5", tmp_path / "other.pt", SIDE_PX, 0)
    kept = torchvision.models.shufflenet_v2_x0_5(weights=None).state_dict()
    torch.save(kept, tmp_path / "good.pt")
    again = training.network("shufflenet_v2_x0_5", tmp_path / "good.pt", SIDE_PX, 0)
    assert torch.equal(again.state_dict()["0.0.0.weight"], kept["conv1.0.weight"])


def copied(trained: Path, folder: Path) -> Path:
    folder.mkdir()
    for name in (WEIGHTS, CARD):
        (folder / name).write_bytes((trained / name).read_bytes())
    return folder


def test_a_damaged_classifier_is_refused_with_one_sentence(trained: Path, tmp_path: Path) -> None:
    with pytest.raises(ClassifierUnusable, match="holds no classifier: train one"):
        SuccessClassifier(tmp_path)
    with pytest.raises(ClassifierUnusable, match="judges 'lift_cube', not 'pick_cube'"):
        SuccessClassifier(trained, "pick_cube")
    changed = copied(trained, tmp_path / "changed")
    weights = bytearray((changed / WEIGHTS).read_bytes())
    weights[len(weights) // 2] ^= 1
    (changed / WEIGHTS).write_bytes(weights)
    with pytest.raises(ClassifierUnusable, match="is not the file its card was written for"):
        SuccessClassifier(changed)
    (changed / WEIGHTS).unlink()
    with pytest.raises(ClassifierUnusable, match=f"has no {WEIGHTS}"):
        SuccessClassifier(changed)
    for text in ("{", "[]", json.dumps({"task": "lift_cube"})):
        (changed / CARD).write_text(text)
        with pytest.raises(ClassifierUnusable, match="is damaged"):
            read_card(changed)


def test_a_classifier_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(torch.onnx, "export", interrupted)
    model = training.network("shufflenet_v2_x0_5", None, SIDE_PX, 0)
    with pytest.raises(KeyboardInterrupt):
        training.ship(model, Card("lift_cube", WRIST, 0.5, 2, ""), tmp_path / "new", SIDE_PX)
    assert list(tmp_path.iterdir()) == []


def test_an_episode_without_that_camera_cannot_be_judged() -> None:
    with pytest.raises(CameraNotThere, match="'front', only of wrist"):
        of_episode(episode(4, cameras=("wrist",)), ("wrist", "front"))
