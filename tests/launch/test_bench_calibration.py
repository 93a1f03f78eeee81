"""Kept samples are scored again without driving: ours beside OpenCV's, and with a fifth of them spoilt."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from benches import calibration as bench

from calibration.board import BoardView
from calibration.hand_eye import METHODS, Sample
from calibration.samples import SampleFolder, Taken
from contract.poses import Pose, quat_from_axis_angle

K = np.array([[312.6, 0.0, 211.5], [0.0, 312.6, 119.5], [0.0, 0.0, 1.0]])


def collection(folder: Path, seed: int) -> None:
    """Twenty noisy samples of a random camera, as the bench keeps them."""
    random = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(np.linspace(-0.11, 0.11, 8), np.linspace(-0.08, 0.08, 6)), axis=-1).reshape(-1, 2)
    points = np.c_[grid, np.zeros(len(grid))]
    X = Pose(random.normal(0, 0.5, 3), quat_from_axis_angle(random.normal(0, 1, 3)))
    Y = Pose(random.normal(0, 0.05, 3), quat_from_axis_angle(random.normal(0, 0.2, 3)))
    kept = SampleFolder(folder, {})
    kept.begin({"K": K.tolist(), "poses": []})
    for k in range(20):
        place = np.array([*random.uniform(-0.1, 0.1, 2), random.uniform(0.6, 0.9)])
        C = Pose(place, quat_from_axis_angle(random.uniform(-0.5, 0.5, 3)))
        p = C.apply(points)
        px = p[:, :2] / p[:, 2:] * [K[0, 0], K[1, 1]] + K[:2, 2] + random.normal(0, 0.2, (len(p), 2))
        sample = Sample(X @ C @ Y.inverse(), BoardView(np.arange(len(px)), px, points))
        kept.add(Taken(k, sample, 0.0, np.zeros((240, 424, 3), np.uint8), np.zeros((240, 424))))
    (folder / "truth.json").write_text(json.dumps({"T_reference_camera": X.matrix().tolist()}))


def test_kept_samples_are_scored_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for seed in (4, 5, 6):
        collection(tmp_path / f"fixed_{seed:03d}", seed)
    arguments = bench.Arguments(cameras=3, seed=4, samples=tmp_path, report=tmp_path / "report.json")
    assert bench.run(arguments) == 0
    figures = json.loads((tmp_path / "report.json").read_text())
    assert figures["median_mm"] <= figures["worst_mm"] < 5.0
    assert figures["worst_deg"] < 0.6
    assert figures["spoilt_median_mm"] < 5.0
    for method in METHODS:
        assert figures["median_mm"] < figures[f"{method.lower()}_median_mm"]
        assert figures["spoilt_median_mm"] < figures[f"{method.lower()}_spoilt_median_mm"]
    assert [row["samples"] for row in figures["placements"]] == [20, 20, 20]
    assert "held-out px" in capsys.readouterr().out


def test_a_camera_that_gave_no_samples_counts_as_infinitely_far_off(tmp_path: Path) -> None:
    folder = tmp_path / "fixed_000"
    folder.mkdir()
    (folder / "truth.json").write_text(json.dumps({"T_reference_camera": np.eye(4).tolist()}))
    arguments = bench.Arguments(cameras=1, samples=tmp_path)
    figures = bench.summary([bench.score(arguments, 0) | {"wall_s": None}])
    assert figures["worst_mm"] == np.inf


def test_spoiling_changes_a_fifth(tmp_path: Path) -> None:
    collection(tmp_path / "s", 1)
    samples = [one.sample for one in SampleFolder(tmp_path / "s", {}).all()]
    changed = [a is not b for a, b in zip(samples, bench.spoil(samples, 0), strict=True)]
    assert sum(changed) == 4
