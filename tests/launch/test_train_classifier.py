"""From folders of episodes to a classifier and to labels; what is wrong with them is said first."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import label_episodes
import numpy as np
import pytest
import train_classifier

from _rendered_success import rendered
from contract.poses import Pose
from contract.tasks import LIFT_CUBE
from robot_runtime.collection.classifier import CARD, WEIGHTS, SuccessClassifier
from robot_runtime.collection.classifier_training import UnusableData
from robot_runtime.collection.episode import SIDE_PX, encode, files, name_of, read, read_about, write
from robot_runtime.collection.folder import FolderBusy, alone_in
from robot_runtime.collection.folders import DatasetError
from robot_runtime.collection.success_steps import DONE, NOT_DONE
from tests.robot_runtime.collection.made_up import episode

STEPS = 10


def write_episode(folder: Path, number: int, success: bool, **others: object) -> None:
    """Synthetic: the object goes up half-way, and a bright square shows that it has."""
    folder.mkdir(exist_ok=True)
    made = episode(STEPS, number, ("wrist",), success=success, **others)
    up = np.arange(STEPS) >= STEPS // 2
    poses, pictures = made.steps["pose_base_object"].copy(), made.pictures("wrist").copy()
    if success:
        poses[up, 2] = 0.15
        pictures[up, 32:96, 32:96] = 250
    steps = made.steps | {
        "pose_base_object": poses, "object_held": (up & success).astype(float), "v_base_tcp": np.zeros((STEPS, 6)),
    }  # fmt: skip
    write(
        folder / name_of(number),
        replace(made, steps=steps, images={"wrist": [encode(picture) for picture in pictures]}),
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `episodes` and the `classifier` that the program makes of them."""
    folder = tmp_path_factory.mktemp("made")
    for number in range(16):
        write_episode(folder / "episodes", number, number % 2 == 0)
    train_classifier.main(arguments(folder / "episodes", folder / "classifier", report=folder / "report.json"))
    return folder


def arguments(data: Path, out: Path, **others: object) -> train_classifier.Arguments:
    plain: dict[str, object] = {"cameras": ("wrist",), "steps": 60, "batch": 8, "consecutive": 2}
    return train_classifier.Arguments((data,), out, **plain | others)  # type: ignore[arg-type]


def test_the_card_says_what_it_is_and_how_good(trained: Path) -> None:
    card = json.loads((trained / "classifier" / CARD).read_text())
    assert card == json.loads((trained / "report.json").read_text())
    assert {path.name for path in (trained / "classifier").iterdir()} == {WEIGHTS, CARD}
    counts = [card["figures"][part]["count"] for part in ("training", "calibration", "held_out")]
    assert counts == [12, 2, 2]
    held_out = card["figures"]["held_out"]["episodes"]
    assert (held_out["precision"], held_out["recall"]) == (1.0, 1.0)
    assert 0.0 < held_out["precision_interval"][0] < 1.0
    made = card["provenance"]
    assert (made["seed"], made["data"], made["weights"]) == (0, ["episodes"], "random")
    assert made["episodes"] == {"success": 8, "failure": 8}
    assert str(trained) not in (trained / "classifier" / CARD).read_text(), "no places of this machine"


def test_episodes_nobody_has_labelled_are_labelled_and_keep_all_they_had(trained: Path, tmp_path: Path) -> None:
    for number, success in ((0, True), (1, False)):
        write_episode(tmp_path / "new", number + 40, success)
        path = files(tmp_path / "new")[-1]
        made = read(path)
        kept = replace(made, frames={"wrist": made.images["wrist"]})
        write(path, replace(kept, about=replace(made.about, success=None, success_by=None)))
    write_episode(tmp_path / "new", 50, True, success_by="operator")
    before = [read(path, with_frames=True) for path in files(tmp_path / "new")]
    label_episodes.main(label_episodes.Arguments((tmp_path / "new",), trained / "classifier"))
    after = [read(path, with_frames=True) for path in files(tmp_path / "new")]
    assert [(one.about.success, one.about.success_by) for one in after] == [
        (True, "classifier"), (False, "classifier"), (True, "operator"),
    ]  # fmt: skip
    for old, new in zip(before, after, strict=True):
        assert (old.images, old.frames) == (new.images, new.frames)
        assert all(np.array_equal(old.steps[name], new.steps[name]) for name in old.steps)


def test_a_label_that_was_written_over_is_kept_and_compared_with(trained: Path, tmp_path: Path) -> None:
    folder = tmp_path / "new"
    for number, success in ((0, True), (1, False)):
        write_episode(folder, number + 70, success)
    wrong = read(files(folder)[1])
    write(files(folder)[1], replace(wrong, about=replace(wrong.about, success=True, success_by="operator")))
    asked = label_episodes.Arguments((folder,), trained / "classifier", relabel=True, report=tmp_path / "report.json")
    for _ in range(2):
        label_episodes.main(asked)
        abouts = [read_about(path) for path in files(folder)]
        assert [(about.success, about.success_by) for about in abouts] == [(True, "classifier"), (False, "classifier")]
        assert [about.first_label for about in abouts] == [(True, "truth"), (True, "operator")]
        assert [about.notes["classifier"] for about in abouts] == [True, False]
        against = json.loads((tmp_path / "report.json").read_text())["against_labels"]
        assert (against["count"], against["true"], against["right"]) == (2, 2, 1)


def test_nobody_labels_where_somebody_collects(trained: Path, tmp_path: Path) -> None:
    write_episode(tmp_path, 0, True)
    with alone_in(tmp_path), pytest.raises(FolderBusy, match="collects into"):
        label_episodes.main(label_episodes.Arguments((tmp_path,), trained / "classifier", relabel=True))


def test_comparing_writes_nothing_and_says_how_often_it_was_right(trained: Path, tmp_path: Path) -> None:
    for number in range(4):
        write_episode(tmp_path / "new", number + 60, number == 0)
    wrong = read(files(tmp_path / "new")[1])
    write(files(tmp_path / "new")[1], replace(wrong, about=replace(wrong.about, success=True, success_by="operator")))
    before = [path.read_bytes() for path in files(tmp_path / "new")]
    asked = label_episodes.Arguments(
        (tmp_path / "new",), trained / "classifier", compare=True, report=tmp_path / "report.json"
    )
    label_episodes.main(asked)
    assert [path.read_bytes() for path in files(tmp_path / "new")] == before
    found = json.loads((tmp_path / "report.json").read_text())
    against = found["against_labels"]
    assert (found["episodes"], found["written"], against["true"], against["said"], against["right"]) == (4, 0, 2, 1, 1)


def test_what_cannot_be_judged_is_said_before_anything_is_labelled(trained: Path, tmp_path: Path) -> None:
    asked = label_episodes.Arguments((tmp_path,), trained / "classifier", relabel=True)
    with pytest.raises(DatasetError, match="holds no episodes"):
        label_episodes.main(asked)
    write_episode(tmp_path, 0, True)
    with pytest.raises(label_episodes.WrongEpisodes, match="leave one of them out"):
        label_episodes.main(replace(asked, compare=True))
    with pytest.raises(DatasetError, match="There is no folder"):
        label_episodes.main(replace(asked, data=(tmp_path, tmp_path / "misspelt")))
    write_episode(tmp_path, 1, True, task="pick_cube")
    with pytest.raises(label_episodes.WrongEpisodes, match="is an episode of 'pick_cube', the classifier judges"):
        label_episodes.main(asked)
    assert read_about(files(tmp_path)[0]).success_by == "truth"


def test_episodes_that_cannot_teach_are_refused_and_nothing_is_written(trained: Path, tmp_path: Path) -> None:
    data, out = tmp_path / "data", tmp_path / "out"
    with pytest.raises(DatasetError, match="There is no folder"):
        train_classifier.main(arguments(data, out))
    for words, others in (
        ("exists: name a new folder", {"out": trained}),
        ("--steps and --consecutive must be at least 1", {"steps": 0}),
    ):
        with pytest.raises(UnusableData, match=words):
            train_classifier.main(replace(arguments(data, out), **others))  # type: ignore[arg-type]
    for number in range(4):
        write_episode(data, number, True)
    with pytest.raises(UnusableData, match="are of one recording"):
        train_classifier.main(replace(arguments(data, out), data=(data, data)))
    with pytest.raises(UnusableData, match="There are 0 failed episodes; at least 3 are needed"):
        train_classifier.main(arguments(data, out))
    with pytest.raises(UnusableData, match="has no pictures of camera 'front', only of wrist"):
        train_classifier.main(arguments(data, out, cameras=("front",)))
    assert not out.exists()


def test_the_shipped_file_sees_what_the_card_says(trained: Path) -> None:
    classifier = SuccessClassifier(trained / "classifier")
    assert classifier.card.cameras == ("wrist",)
    said = classifier.probabilities(np.zeros((40, SIDE_PX, SIDE_PX, 3), np.uint8))
    assert said.shape == (40,)
    assert ((said >= 0.0) & (said <= 1.0)).all()


UPRIGHT = np.array([1.0, 0.0, 0.0, 0.0])


def test_synthetic_pictures_are_half_done_and_the_same_for_the_same_seed() -> None:
    drawn = list(rendered(4, 1, LIFT_CUBE, ("wrist", "front")))
    assert [one.success for one in drawn] == [True, False, True, False]
    assert [one.verdicts.tolist() for one in drawn] == [[DONE], [NOT_DONE], [DONE], [NOT_DONE]]
    assert all(one.pictures.shape == (1, SIDE_PX, 2 * SIDE_PX, 3) for one in drawn)
    again = list(rendered(4, 1, LIFT_CUBE, ("wrist", "front")))
    assert all(np.array_equal(one.pictures, other.pictures) for one, other in zip(drawn, again, strict=True))
    moved = list(rendered(4, 1, LIFT_CUBE, ("wrist", "front"), Pose(np.array([0.09, 0.0, -0.14]), UPRIGHT)))
    for one, other in zip(drawn, moved, strict=True):
        assert np.array_equal(one.pictures[:, :, SIDE_PX:], other.pictures[:, :, SIDE_PX:])
        assert not np.array_equal(one.pictures[:, :, :SIDE_PX], other.pictures[:, :, :SIDE_PX])
    front = drawn[0].pictures[0, :, SIDE_PX:].astype(int)
    assert ((front[..., 0] - front[..., 1:].max(-1)) > 60).sum() > 10, "the cube is seen in the hand"


def test_synthetic_pictures_are_of_the_mock_cells_cameras_and_of_lifting(tmp_path: Path) -> None:
    for given in ({"cameras": ("left",)}, {"task": "pick_cube"}):
        with pytest.raises(UnusableData, match="--rendered draws lifting tasks for the cameras wrist and front"):
            train_classifier.main(arguments(tmp_path, tmp_path / "out", rendered=10, **given))
