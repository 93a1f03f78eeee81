"""Training speed of two ranks together, beside two processes that know nothing of each other and one alone."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import _reports

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Arguments:
    """What is trained, and how long."""

    task: str = "lift_cube"
    """Task card."""
    num_envs: int = 128
    """Environments in each process."""
    iterations: int = 12
    """Training iterations a turn lasts."""
    rounds: int = 3
    """Times every arrangement takes its turn."""
    report: Path | None = None
    """Also write the figures here."""


def run(arguments: Arguments) -> int:
    """Prints environment steps/s of each arrangement and their ratios, medians over rounds."""
    seen: dict[str, list[float]] = {"two_ranks": [], "two_processes": [], "one_process": []}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(arguments.rounds):
            turn = Path(folder) / str(number)
            seen["two_ranks"].append(_speed(arguments, turn / "ranks", ranks=2, processes=1))
            seen["two_processes"].append(_speed(arguments, turn / "processes", ranks=1, processes=2))
            seen["one_process"].append(_speed(arguments, turn / "one", ranks=1, processes=1))
    ratios = [ours / theirs for ours, theirs in zip(seen["two_ranks"], seen["two_processes"], strict=True)]
    over_one = [ours / theirs for ours, theirs in zip(seen["two_ranks"], seen["one_process"], strict=True)]
    figures: dict[str, Any] = {
        "ratio": median(ratios),
        "ratio_spread": [min(ratios), max(ratios)],
        "ratio_one": median(over_one),
        "ratio_one_spread": [min(over_one), max(over_one)],
        "steps_per_s": {name: median(rates) for name, rates in seen.items()},
    }
    print(json.dumps(figures, indent=1))
    _reports.write(arguments.report, figures)
    return 0


def _speed(arguments: Arguments, folder: Path, ranks: int, processes: int) -> float:
    """Environment steps per second of all processes together, start-up and evaluation left out."""
    folder.mkdir(parents=True)
    reports = [folder / f"{index}.json" for index in range(processes)]
    started = []
    for index, report in enumerate(reports):
        steps = arguments.iterations * arguments.num_envs * 50 * ranks
        command = [str(ROOT / "launch" / "train_sim.sh"), "--task", arguments.task, "--seed", str(index), "--no-video"]
        command += ["--num-envs", str(arguments.num_envs), "--total-steps", str(steps), "--eval-episodes", "2"]
        command += ["--out", str(folder / f"run{index}"), "--report", str(report), "--checkpoint-every", "1000"]
        environment = os.environ | {"RANKS": str(ranks)}
        started.append(
            subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        )
    codes = [process.wait() for process in started]
    if any(codes):
        raise RuntimeError(f"The training runs of the measurement ended with {codes}.")
    figures = [json.loads(report.read_text()) for report in reports]
    return float(sum(one["env_steps"] / (one["collect_s"] + one["update_s"]) for one in figures))
