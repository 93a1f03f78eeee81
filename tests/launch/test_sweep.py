"""Sweeps train what is missing, leave alone what is finished, and go through Ray where it is installed."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import importlib.util
import json
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

LAUNCH = Path(__file__).resolve().parents[2] / "launch"
TOY = ("--num-envs", "4", "--rollout", "10", "--epochs", "1", "--minibatches", "2", "--total-steps", "80")
TOY += ("--eval-episodes", "2", "--checkpoint-every", "1", "--no-video", "--schedule.calls-max", "1")
TRAIN_SIM = """
import os, sys
from pathlib import Path

asked = dict(zip(sys.argv[1:], sys.argv[2:]))
print("training on", os.environ["RANKS"], flush=True)
if asked["--task"] == "push_cub":
    raise SystemExit(2)
Path(asked["--report"]).write_text("{}")
"""


class RayError(Exception):
    """Stands for `ray.exceptions.RayError`."""


class WorkerCrashedError(RayError):
    """What Ray raises in the place of a result when its worker or machine has died."""


class OneProcessRay:
    """As much of Ray as a sweep uses, in this process: tasks run when their results are fetched.

    dying: folders of the runs that take their worker with them.
    """

    exceptions = SimpleNamespace(RayError=RayError)

    def __init__(self, *dying: Path):
        self.dying, self.address, self.cores, self.is_up = dying, "", 0, False

    def init(self, address: str, runtime_env: dict[str, Any], **_: Any) -> None:
        assert runtime_env["env_vars"]["PYTHONPATH"].endswith("/launch"), "workers have to find _sweep"
        self.address, self.is_up = address, True

    def shutdown(self) -> None:
        self.is_up = False

    def remote(self, num_cpus: int, max_retries: int) -> Callable[[Callable[..., int]], SimpleNamespace]:
        assert max_retries == 0, "a run that was cut off goes on from its checkpoint, not from nothing"
        self.cores = num_cpus
        return lambda function: SimpleNamespace(remote=lambda *arguments: (function, arguments))

    def wait(self, tasks: list[Any], num_returns: int) -> tuple[list[Any], list[Any]]:
        return tasks[:num_returns], tasks[num_returns:]

    def get(self, task: tuple[Callable[..., int], tuple[Any, ...]]) -> int:
        function, (run, *others) = task
        if run.folder in self.dying:
            raise WorkerCrashedError
        return function(run, *others)


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


@pytest.fixture
def through_ray(sweep, stand_in, monkeypatch: pytest.MonkeyPatch) -> Callable[..., bool]:
    """Sweeps through a Ray in this process, with a training program that only writes its report."""

    def train_all(ray: OneProcessRay, *runs: Any, ranks: int | None = None) -> bool:
        monkeypatch.setattr(sweep, "_ray", lambda: ray)
        succeeded = sweep.train_all(list(runs), ray="auto", ranks=ranks)
        assert ray.address == "auto"
        assert not ray.is_up
        return succeeded

    monkeypatch.setattr(sweep, "ROOT", stand_in("train_sim.sh", TRAIN_SIM))
    return train_all


def test_runs_through_ray_take_the_cores_of_their_ranks(sweep, through_ray, tmp_path: Path, capfd) -> None:
    runs = [sweep.Run("push_cube", "ppo", seed, tmp_path / str(seed), ()) for seed in range(2)]
    ray = OneProcessRay()
    assert through_ray(ray, *runs, ranks=2)
    assert ray.cores == 2
    assert [(run.folder / "log.txt").read_text() for run in runs] == ["training on 2\n"] * 2
    assert "push_cube ppo seed 0: trained; 1 to go" in capfd.readouterr().out


def test_a_run_that_fails_through_ray_does_not_stop_the_others(sweep, through_ray, tmp_path: Path, capfd) -> None:
    bad = sweep.Run("push_cub", "ppo", 0, tmp_path / "bad", ())
    good = sweep.Run("push_cube", "ppo", 0, tmp_path / "good", ())
    ray = OneProcessRay()
    assert not through_ray(ray, bad, good)
    assert good.report.exists()
    assert ray.cores == 1
    assert f"push_cub ppo seed 0: ended with 2, see {bad.folder / 'log.txt'}; 1 to go" in capfd.readouterr().out


def test_a_run_whose_worker_died_is_one_failed_run_and_trains_when_started_again(
    sweep, through_ray, tmp_path: Path, capfd
) -> None:
    lost = sweep.Run("push_cube", "ppo", 0, tmp_path / "lost", ())
    good = sweep.Run("push_cube", "ppo", 1, tmp_path / "good", ())
    assert not through_ray(OneProcessRay(lost.folder), lost, good)
    assert good.report.exists()
    assert "push_cube ppo seed 0: lost to WorkerCrashedError" in capfd.readouterr().out
    assert through_ray(OneProcessRay(), lost, good)
    assert lost.report.exists()


def kill_the_worker_of(folder: Path) -> None:
    """SIGKILL to the Ray worker that trains into this folder, and then to what it leaves behind."""
    training: list[psutil.Process] = []
    deadline = time.monotonic() + 120
    while not training and time.monotonic() < deadline:
        time.sleep(0.2)
        training = [one for one in psutil.process_iter(["cmdline"]) if str(folder) in (one.info["cmdline"] or ())]
    for one in training:
        with contextlib.suppress(psutil.NoSuchProcess):
            workers = [parent for parent in one.parents() if "".join(parent.cmdline()).startswith("ray::")]
            for process in (*workers, one):
                process.kill()


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is an extra")
def test_a_sweep_through_ray_trains_and_reports_failures_without_stopping(sweep, tmp_path: Path, capfd) -> None:
    good = sweep.Run("push_cube", "ppo", 0, tmp_path / "good", TOY)
    bad = sweep.Run("push_cub", "ppo", 0, tmp_path / "bad", TOY)
    lost = sweep.Run("push_cube", "ppo", 1, tmp_path / "lost", TOY)
    killer = threading.Thread(target=kill_the_worker_of, args=(lost.folder,))
    killer.start()
    assert not sweep.train_all([bad, lost, good], ray="local", ranks=1)
    killer.join()
    assert good.report.exists()
    assert not lost.report.exists()
    assert "push_cube ppo seed 1: lost to WorkerCrashedError" in capfd.readouterr().out
    assert "did you mean 'push_cube'" in (bad.folder / "log.txt").read_text()
