"""Training runs for every task, algorithm and seed: one after the other, or spread over cores and machines by Ray."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sim_training.settings import complete_checkpoints

ROOT = Path(__file__).resolve().parent.parent


class NoRay(ImportError):
    """Ray was asked for and is not installed."""

    def __init__(self) -> None:
        super().__init__("Ray is an extra: install it with '.venv/bin/uv pip install ray', or leave --ray out.")


class TrainedOtherwise(ValueError):
    """A folder of the sweep holds a run of other settings."""

    def __init__(self, run: Run):
        super().__init__(f"{run.folder} holds {run} with other settings: name another folder with --out, or delete it.")


@dataclass(frozen=True)
class Run:
    """One training run. folder: everything it leaves; settings: further arguments of `train_sim.sh`."""

    task: str
    algo: str
    seed: int
    folder: Path
    settings: tuple[str, ...]

    @property
    def report(self) -> Path:
        """Written when the run is over, and only then."""
        return self.folder / "report.json"

    def __str__(self) -> str:
        return f"{self.task} {self.algo} seed {self.seed}"

    def claim(self) -> None:
        """Makes the folder, with the settings beside what will be trained. Raises TrainedOtherwise."""
        noted, settings = self.folder / "settings.txt", shlex.join(self.settings) + "\n"
        if self.report.exists() or noted.exists():
            if not noted.exists() or noted.read_text() != settings:
                raise TrainedOtherwise(self)
        else:
            self.folder.mkdir(parents=True, exist_ok=True)
            noted.write_text(settings)

    def train(self, ranks: int | None, log: Path | None = None) -> int:
        """Train, or go on where it was cut off; returns the exit status. Output goes to the terminal, or to `log`."""
        if self.report.exists():
            return 0
        command = [str(ROOT / "launch" / "train_sim.sh"), "--task", self.task, "--algo", self.algo]
        command += ["--seed", str(self.seed), "--out", str(self.folder), "--report", str(self.report), *self.settings]
        if complete_checkpoints(self.folder):
            command.append("--resume")
        environment = os.environ | ({"RANKS": str(ranks)} if ranks else {})
        with open(log, "a") if log else open(os.devnull) as output:
            sink = output if log else None
            code = subprocess.run(command, cwd=ROOT, env=environment, stdout=sink, stderr=sink).returncode
        return code if code else int(not self.report.exists())


def train_all(runs: list[Run], ray: str | None, ranks: int | None) -> bool:
    """Train what is missing; returns whether everything is there. `ray`: a cluster's address, or "local".

    One after the other the first failure ends it; under Ray the others go on. Started again, it goes on where it was.
    Raises TrainedOtherwise before anything is trained.
    """
    for run in runs:
        run.claim()
    missing = [run for run in runs if not run.report.exists()]
    print(f"{len(runs) - len(missing)} of {len(runs)} runs are there, {len(missing)} to go.", flush=True)
    if ray:
        return _train_with_ray(missing, ray, ranks or 1)
    for number, run in enumerate(missing, 1):
        print(f"[{number}/{len(missing)}] {run}", flush=True)
        if run.train(ranks) != 0:
            print(f"Stopped at {run}; start again to go on.", file=sys.stderr)
            return False
    return True


def _train_with_ray(runs: list[Run], address: str, ranks: int) -> bool:
    """Each run takes `ranks` cores of the cluster, whose machines share the folder of the runs."""
    ray = _ray()
    importable = {"env_vars": {"PYTHONPATH": str(ROOT / "launch")}}
    ray.init(address, runtime_env=importable, log_to_driver=False, include_dashboard=False)
    train = ray.remote(num_cpus=ranks, max_retries=0)(Run.train)
    running = {train.remote(run, ranks, run.folder / "log.txt"): run for run in runs}
    failed = []
    while running:
        (finished,), _ = ray.wait(list(running), num_returns=1)
        run, trouble = running.pop(finished), _trouble(ray, finished)
        failed += [run] if trouble else []
        state = f"{trouble}, see {run.folder / 'log.txt'}" if trouble else "trained"
        print(f"{run}: {state}; {len(running)} to go", flush=True)
    ray.shutdown()
    return not failed


def _trouble(ray: Any, finished: Any) -> str | None:
    """How a run's task failed, if it did. A worker or machine that died with it is this run's trouble alone."""
    try:
        code = ray.get(finished)
    except ray.exceptions.RayError as error:
        return f"lost to {type(error).__name__}"
    return f"ended with {code}" if code else None


def _ray() -> Any:
    try:
        import ray
    except ImportError:
        raise NoRay from None
    return ray
