"""The RLDS export holds its source, in OpenVLA's and Octo's conventions. TensorFlow reads it in tests/launch."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from contract.poses import quat_from_axis_angle, quat_multiply
from robot_runtime.collection import rlds, rlds_features
from robot_runtime.collection.convention import exported_actions
from robot_runtime.collection.episode import read as read_episode
from robot_runtime.collection.folders import DatasetError, Entry
from robot_runtime.collection.tfrecords import RecordsBroken
from tests.robot_runtime.collection.made_up import episode
from tests.robot_runtime.collection.made_up_folders import entries_of


@pytest.fixture
def source(tmp_path: Path) -> list[Entry]:
    return entries_of(tmp_path / "source", ["red", "blue"] * 6)


@pytest.fixture
def exported(tmp_path: Path, source: list[Entry]) -> Path:
    folder = tmp_path / "lift"
    folder.mkdir()
    rlds.write(folder, "lift", source, "wrist")
    return folder


def test_what_was_exported_is_read(exported: Path, source: list[Entry]) -> None:
    found = {each.source: each for split in ("train", "val") for each in rlds.read(exported, split)}
    assert found.keys() == {entry.source for entry in source}
    for entry in source:
        before, after = read_episode(entry.path), found[entry.source]
        np.testing.assert_allclose(after.actions[:, :3], before.steps["executed_wrist"][:, :3], atol=1e-8)
        np.testing.assert_array_equal(after.actions[:, 6], before.steps["executed_wrist"][:, 6])
        np.testing.assert_allclose(after.states[:, :7], before.steps["pose_base_tcp"], atol=1e-7)
        assert after.images.keys() == before.images.keys()
        for camera, pictures in after.images.items():
            np.testing.assert_array_equal(pictures, before.pictures(camera))
        assert (after.instruction, after.variant, after.success) == ("lift the cube", before.about.variant, True)


@pytest.mark.parametrize("frame", ["wrist", "base"])
def test_rotations_are_roll_pitch_yaw_about_fixed_axes(frame) -> None:  # type: ignore[no-untyped-def]
    steps = episode(steps=30, seed=3).steps
    steps[f"executed_{frame}"][:, 3:6] = np.random.default_rng(0).uniform(-0.8, 0.8, (30, 3))
    for row, action in zip(steps[f"executed_{frame}"], exported_actions(steps, frame), strict=True):
        roll, pitch, yaw = (quat_from_axis_angle(turn) for turn in np.diag(action[3:6]))
        turned = quat_multiply(yaw, quat_multiply(pitch, roll))
        assert abs(turned @ quat_from_axis_angle(row[3:6])) == pytest.approx(1.0, abs=1e-12)


def test_first_and_last_steps_and_the_reward_are_marked(exported: Path, source: list[Entry]) -> None:
    columns = rlds.decode_example(rlds._encode(read_episode(source[0].path), "x", "base"))
    count = len(source[0])
    for name, marked in (("is_first", 0), ("is_last", count - 1), ("is_terminal", count - 1), ("reward", count - 1)):
        assert np.flatnonzero(columns[f"steps/{name}"]).tolist() == [marked]
    assert len(columns["steps/discount"]) == len(columns["steps/language_instruction"]) == count


def test_a_tenth_is_kept_for_val_and_never_nothing(source: list[Entry]) -> None:
    sizes = {count: len(rlds.split_episodes(source[:count], 0)["val"]) for count in (2, 5, 12)}
    assert sizes == {2: 1, 5: 1, 12: 1}
    drawn = {tuple(entry.source for entry in rlds.split_episodes(source, seed)["val"]) for seed in range(20)}
    assert len(drawn) > 3, "the seed decides"
    with pytest.raises(DatasetError, match="two recordings at least"):
        rlds.split_episodes(source[:1], 0)


def test_many_episodes_are_spread_over_files(
    tmp_path: Path, source: list[Entry], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rlds, "SHARD_EPISODES", 4)
    (tmp_path / "many").mkdir()
    rlds.write(tmp_path / "many", "many", source, "base")
    assert len(list((tmp_path / "many" / "1.0.0").glob("many-train.tfrecord-*-of-00003"))) == 3
    assert len(list(rlds.read(tmp_path / "many", "train"))) == 11


def test_statistics_are_those_of_all_actions(exported: Path, source: list[Entry]) -> None:
    told = json.loads((exported / rlds_features.STATISTICS).read_text())["lift"]
    rows = np.concatenate([exported_actions(entry.steps, "wrist") for entry in source])
    assert told["num_trajectories"] == 12
    assert told["num_transitions"] == len(rows)
    for name, value in (("mean", rows.mean(0)), ("std", rows.std(0)), ("q01", np.quantile(rows, 0.01, axis=0))):
        np.testing.assert_allclose(told["action"][name], value, atol=1e-6)
    assert told["action"]["mask"] == [True] * 6 + [False]


def test_a_damaged_export_is_refused(exported: Path) -> None:
    shard = next((exported / "1.0.0").glob("*train*"))
    whole = shard.read_bytes()
    shard.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(RecordsBroken, match="cut short"):
        list(rlds.read(exported, "train"))
    shard.write_bytes(b"")
    with pytest.raises(DatasetError, match="holds 0 of 11"):
        list(rlds.read(exported, "train"))


def test_what_is_no_export_is_one_sentence(tmp_path: Path, exported: Path, source: list[Entry]) -> None:
    with pytest.raises(DatasetError, match="is no RLDS dataset"):
        list(rlds.read(tmp_path, "train"))
    with pytest.raises(DatasetError, match="no split 'test'"):
        list(rlds.read(exported, "test"))
    with pytest.raises(DatasetError, match="no name of an RLDS dataset"):
        rlds.write(tmp_path, "with-dashes", source, "base")
