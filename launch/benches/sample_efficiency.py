"""Environment steps that algorithms need on tasks: trains every combination, draws curves, tabulates. Resumable."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from sim_training.learning_curves import Curve, band, median_steps_to, read_curve

ROOT = Path(__file__).resolve().parents[2]
COSTS = ("teacher_calls", "guided_steps", "wall_s")


@dataclass(frozen=True)
class Arguments:
    """What to train; runs that are finished are not repeated, those cut off go on where they stopped."""

    tasks: tuple[str, ...] = ("lift_cube", "pick_place", "push_cube_v2", "peg_upright")
    """Task cards."""
    algos: tuple[str, ...] = ("ppo", "vlajs_rpd", "vlajs")
    """Algorithms."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """One run for each."""
    reward: str = "simplified"
    """Reward the policies are trained with."""
    total_steps: int = 1_500_000
    """Environment steps of every run."""
    train: str = ""
    """Further settings for every training run, as one string: "--horizon-factor 10"."""
    out: Path = Path("runs/sample_efficiency")
    """Folder of the runs."""
    report: Path = Path("docs/results/sample_efficiency.json")
    """Figures; the pictures lie beside it."""


def run(arguments: Arguments) -> int:
    """Train what is missing, then draw and tabulate everything; Ctrl-C keeps what is there."""
    everything = list(product(arguments.seeds, arguments.tasks, arguments.algos))
    for number, (seed, task, algo) in enumerate(everything, 1):
        print(f"[{number}/{len(everything)}] {task} {algo} seed {seed}", flush=True)
        code = _train(arguments, task, algo, seed)
        if code != 0:
            print(f"Stopped at {task} {algo} seed {seed}; start again to go on.", file=sys.stderr)
            return code
    arguments.report.parent.mkdir(parents=True, exist_ok=True)
    tasks = {task: _summarise(arguments, task) for task in arguments.tasks}
    result = {"reward": arguments.reward, "settings": arguments.train, "seeds": list(arguments.seeds), "tasks": tasks}
    arguments.report.write_text(json.dumps(result, indent=1) + "\n")
    for task in arguments.tasks:
        picture = arguments.report.with_name(f"{arguments.report.stem}_{task}.png")
        _draw(picture, task, {algo: _curves(arguments, task, algo) for algo in arguments.algos})
    print(json.dumps(result, indent=1))
    return 0


def _folder(arguments: Arguments, task: str, algo: str, seed: int) -> Path:
    return arguments.out / task / algo / f"seed{seed}"


def _train(arguments: Arguments, task: str, algo: str, seed: int) -> int:
    folder = _folder(arguments, task, algo, seed)
    report = folder / "report.json"
    if report.exists():
        return 0
    command = [str(ROOT / "launch" / "train_sim.sh"), "--task", task, "--algo", algo, "--seed", str(seed)]
    command += ["--reward", arguments.reward, "--total-steps", str(arguments.total_steps), "--no-video"]
    command += ["--out", str(folder), "--report", str(report), *arguments.train.split()]
    if any((folder / "checkpoints").glob("*.pt")):
        command.append("--resume")
    finished = subprocess.run(command, cwd=ROOT, env=os.environ).returncode
    return finished if finished else int(not report.exists())


def _curves(arguments: Arguments, task: str, algo: str) -> list[Curve]:
    return [read_curve(_folder(arguments, task, algo, seed)) for seed in arguments.seeds]


def _summarise(arguments: Arguments, task: str) -> dict[str, Any]:
    """Per algorithm steps to 50 and 80 %, final success with its interval, what the teacher cost; and the ratio."""
    figures: dict[str, Any] = {}
    for algo in arguments.algos:
        curves = _curves(arguments, task, algo)
        reports = [json.loads((_folder(arguments, task, algo, s) / "report.json").read_text()) for s in arguments.seeds]
        end = band(curves)
        figures[algo] = {
            "steps_to_50": _finite(median_steps_to(curves, 0.5)),
            "steps_to_80": _finite(median_steps_to(curves, 0.8)),
            "steps_to_80_per_seed": [_finite(curve.steps_to(0.8)) for curve in curves],
            "final_success": float(end.mean[-1]),
            "final_success_interval": [float(end.low[-1]), float(end.high[-1])],
            **{cost: float(np.mean([one[cost] for one in reports])) for cost in COSTS},
        }
    if {"ppo", "vlajs"} <= figures.keys():
        ours, theirs = figures["vlajs"]["steps_to_80"], figures["ppo"]["steps_to_80"]
        figures["steps_to_80_ratio_vlajs_over_ppo"] = ours / theirs if ours and theirs else None
    return figures


def _finite(steps: float) -> float | None:
    return steps if math.isfinite(steps) else None


def _draw(path: Path, task: str, curves: dict[str, list[Curve]]) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axis = plt.subplots(figsize=(7, 4.2))
    for algo, runs in curves.items():
        over_seeds = band(runs)
        (line,) = axis.plot(over_seeds.steps / 1e6, over_seeds.mean, label=algo)
        axis.fill_between(over_seeds.steps / 1e6, over_seeds.low, over_seeds.high, color=line.get_color(), alpha=0.2)
    axis.set(title=task, xlabel="million environment steps", ylabel="success", ylim=(-0.02, 1.02))
    axis.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)
