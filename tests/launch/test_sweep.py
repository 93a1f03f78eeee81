"""Sweeps train what is missing, leave alone what is finished, and go through Ray where it is installed."""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
import json
import sys
from pathlib import Path

import pytest

LAUNCH = Path(__file__).resolve().parents[2] / "launch"
TOY = ("--num-envs", "4", "--rollout", "10", "--epochs", "1", "--minibatches", "2", "--total-steps", "80")
TOY += ("--eval-episodes", "2", "--checkpoint-every", "1", "--no-video")


@pytest.fixture
def sweep(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(LAUNCH))
    return importlib.import_module("_sweep")


def test_a_sweep_trains_what_is_missing_and_leaves_finished_runs_alone(sweep, tmp_path: Path) -> None:
    runs = [sweep.Run("push_cube", algo, 0, tmp_path / algo, TOY) for algo in ("ppo", "vlajs")]
    runs[0].claim()
    runs[0].report.write_text("{}")
    assert sweep.train_all(runs, ray=None, ranks=1)
    assert runs[0].report.read_text() == "{}"
    assert json.loads(runs[1].report.read_text())["env_steps"] == 80


def test_a_finished_run_of_other_settings_is_not_taken_for_this_one(sweep, tmp_path: Path) -> None:
    before = sweep.Run("push_cube", "ppo", 0, tmp_path / "run", TOY)
    before.claim()
    before.report.write_text("{}")
    longer = dataclasses.replace(before, settings=(*TOY[:-1], "160"))
    with pytest.raises(sweep.TrainedOtherwise, match="--out"):
        sweep.train_all([longer], ray=None, ranks=1)


def test_a_run_that_cannot_train_ends_the_sweep_with_what_to_do(sweep, tmp_path: Path, capfd) -> None:
    assert not sweep.train_all([sweep.Run("push_cub", "ppo", 0, tmp_path / "a", TOY)], ray=None, ranks=1)
    said = capfd.readouterr().err
    assert "did you mean 'push_cube'" in said
    assert "start again to go on" in said


def test_ray_asked_for_but_missing_is_one_sentence(sweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(sweep.NoRay, match="extra"):
        sweep.train_all([sweep.Run("push_cube", "ppo", 0, tmp_path / "a", TOY)], ray="local", ranks=1)


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is an extra")
def test_a_sweep_through_ray_trains_and_reports_failures_without_stopping(sweep, tmp_path: Path, capfd) -> None:
    good = sweep.Run("push_cube", "ppo", 0, tmp_path / "good", TOY)
    bad = sweep.Run("push_cub", "ppo", 0, tmp_path / "bad", TOY)
    assert not sweep.train_all([bad, good], ray="local", ranks=1)
    assert good.report.exists()
    assert "did you mean 'push_cube'" in (bad.folder / "log.txt").read_text()
