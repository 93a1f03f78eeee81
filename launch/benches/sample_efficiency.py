"""Environment steps that algorithms need on tasks: trains every combination, draws curves, tabulates. Resumable."""

from __future__ import annotations

import json
import math
import shlex
import subprocess
import sys
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from _sweep import ROOT, NoRay, Run, TrainedOtherwise, train_all

import _reports
from sim_training.learning_curves import Curve, band, median_steps_to, read_curve

_TRAIN = "--no-randomise --near-starts 0 --num-envs 64 --log-std-end -2.5 --eval-every 15 --eval-episodes 64"
COSTS = ("teacher_calls", "guided_steps", "env_steps", "wall_s")
_LABELS = {"ppo": "PPO", "vlajs": "VLAJS", "vlajs_rpd": "VLAJS (RPD)", "sparse_rpd": "Sparse RPD", "rpd_mse": "RPD-MSE"}


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
    total_steps: tuple[int, ...] = (500_000,)
    """Environment steps of a run, of all tasks or one number for each; none stops early."""
    ppo_factor: int = 2
    """PPO gets this many times as many, or half of what it needs could not be told from all of it."""
    train: str = _TRAIN
    """Further settings for every training run, as one string; the default is the papers' setting: nothing varies but
    places, every episode begins at its beginning."""
    ray: str | None = None
    """Spread the runs over this Ray cluster (its machines share `out`); "local" starts one on this machine."""
    ranks: int | None = None
    """Processes of each run: every core if not given, 1 under Ray."""
    out: Path = Path("runs/sample_efficiency")
    """Folder of the runs."""
    report: Path = Path("docs/results/sample_efficiency.json")
    """Figures; the picture lies beside it."""

    def steps(self, task: str, algo: str) -> int:
        """Environment steps of a run."""
        steps = self.total_steps * len(self.tasks) if len(self.total_steps) == 1 else self.total_steps
        return dict(zip(self.tasks, steps, strict=True))[task] * (self.ppo_factor if algo == "ppo" else 1)


def run(arguments: Arguments) -> None:
    """Train what is missing, then draw and tabulate everything; Ctrl-C keeps what is there."""
    if len(arguments.total_steps) not in (1, len(arguments.tasks)):
        sys.exit(f"--total-steps takes one number, or one for each of the {len(arguments.tasks)} tasks.")
    everything = [
        _run(arguments, task, algo, seed)
        for seed, task, algo in product(arguments.seeds, arguments.tasks, arguments.algos)
    ]
    try:
        complete = train_all(everything, arguments.ray, arguments.ranks)
    except (NoRay, TrainedOtherwise) as trouble:
        sys.exit(str(trouble))
    if not complete:
        sys.exit(1)
    result: dict[str, Any] = {
        "command": "./launch/bench.py sample_efficiency " + shlex.join(sys.argv[2:]),
        "commits": sorted({str(_provenance(run)["commit"]) for run in everything}),
        "teacher": _teachers(everything),
        "reward": arguments.reward,
        "ppo_factor": arguments.ppo_factor,
        "settings": arguments.train,
        "seeds": list(arguments.seeds),
        "tasks": {task: _summarise(arguments, task) for task in arguments.tasks},
    }
    _reports.write(arguments.report, result)
    _draw(arguments, result["tasks"])
    print(_table(arguments, result["tasks"]))


def _run(arguments: Arguments, task: str, algo: str, seed: int) -> Run:
    settings = ["--reward", arguments.reward, "--total-steps", str(arguments.steps(task, algo)), "--stop-at", "1.1"]
    settings += ["--no-video", *shlex.split(arguments.train)]
    return Run(task, algo, seed, arguments.out.absolute() / task / algo / f"seed{seed}", tuple(settings))


def _provenance(run: Run) -> dict[str, Any]:
    """What a run was trained by, from its artifact."""
    provenance: dict[str, Any] = json.loads((run.folder / "policy" / "contract.json").read_text())["provenance"]
    return provenance


def _teachers(runs: list[Run]) -> str | None:
    """Full names of the teachers that guided the runs; runs from before these were noted have only their setting."""
    names = set()
    for provenance in map(_provenance, runs):
        asked = provenance["settings"]["teacher"]
        names.add(provenance.get("teacher", "scripted (synthetic)" if asked == "scripted" else asked))
    return ", ".join(sorted(names - {None})) or None


def _curves(arguments: Arguments, task: str, algo: str) -> list[Curve]:
    return [read_curve(_run(arguments, task, algo, seed).folder) for seed in arguments.seeds]


def _summarise(arguments: Arguments, task: str) -> dict[str, Any]:
    """Per algorithm steps to 50 and 80 %, final success with its interval, what the teacher cost; and the ratio."""
    figures: dict[str, Any] = {"teacher_success": _teacher_success(arguments, task)}
    for algo in arguments.algos:
        curves = _curves(arguments, task, algo)
        reports = [json.loads(_run(arguments, task, algo, seed).report.read_text()) for seed in arguments.seeds]
        end = band(curves)
        figures[algo] = {
            "total_steps": arguments.steps(task, algo),
            "steps_to_50": _finite(median_steps_to(curves, 0.5)),
            "steps_to_50_per_seed": [_finite(curve.steps_to(0.5)) for curve in curves],
            "steps_to_80": _finite(median_steps_to(curves, 0.8)),
            "steps_to_80_per_seed": [_finite(curve.steps_to(0.8)) for curve in curves],
            "final_success": float(end.mean[-1]),
            "final_success_interval": [float(end.low[-1]), float(end.high[-1])],
            "final_success_per_seed": [float(curve.success[-1]) for curve in curves],
            **_ledger(curves, reports),
            "curves": [{"env_steps": curve.steps.tolist(), "success": curve.success.tolist()} for curve in curves],
            **{cost: float(np.mean([one[cost] for one in reports])) for cost in COSTS},
        }
    if {"ppo", "vlajs"} <= figures.keys() and figures["vlajs"]["steps_to_80"]:
        # PPO that never got there needs more than it was given: the ratio is then at most this.
        figures["ppo_never_reached_80"] = figures["ppo"]["steps_to_80"] is None
        needed = figures["ppo"]["steps_to_80"] or float(arguments.steps(task, "ppo"))
        figures["steps_to_80_ratio_vlajs_over_ppo"] = figures["vlajs"]["steps_to_80"] / needed
    return figures


def _ledger(curves: list[Curve], reports: list[dict[str, Any]]) -> dict[str, Any]:
    """When guidance ended in each run; which share of the steps until then was asked about and guided; calls since."""
    ended = [one["switched_off_at"] for one in reports]
    until = [steps if steps > 0 else one["env_steps"] for steps, one in zip(ended, reports, strict=True)]
    return {
        "switched_off_at": ended,
        "asked_until_then": [one["teacher_calls"] / steps for one, steps in zip(reports, until, strict=True)],
        "guided_until_then": [one["guided_steps"] / steps for one, steps in zip(reports, until, strict=True)],
        "calls_since_then": [curve.calls_since(steps) for curve, steps in zip(curves, until, strict=True)],
    }


def _teacher_success(arguments: Arguments, task: str) -> float | None:
    """How often the scripted teacher succeeds by itself where the task's runs were trained; None if it was another.

    Measured once, by `eval_teacher.py`, and kept beside the runs in a file named after what it was measured under.
    """
    settings = _provenance(_run(arguments, task, arguments.algos[0], arguments.seeds[0]))["settings"]
    if settings["teacher"] != "scripted":
        return None
    conditions = [] if settings["randomise"] else ["--no-randomise"]
    if settings["horizon_factor"] != 1:
        conditions += ["--horizon-factor", str(settings["horizon_factor"])]
    name = "-".join(["teacher", *(word.lstrip("-") for word in conditions)])
    report = arguments.out.absolute() / task / f"{name}.json"
    if not report.exists():
        command = [str(ROOT / "launch" / "eval_teacher.py"), "--task", task, *conditions, "--report", str(report)]
        subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return float(json.loads(report.read_text())["success"])


def _finite(steps: float) -> float | None:
    return steps if math.isfinite(steps) else None


def _table(arguments: Arguments, tasks: dict[str, Any]) -> str:
    """One line per task and algorithm, as Markdown."""
    lines = ["| task | algorithm | steps to 50 % | steps to 80 % | final success | teacher calls | wall s |"]
    lines.append("| --- | --- | --- | --- | --- | --- | --- |")
    for task, algo in product(arguments.tasks, arguments.algos):
        one = tasks[task][algo]
        steps = [f"{value / 1000:.0f} k" if (value := one[f"steps_to_{level}"]) else "–" for level in (50, 80)]
        low, high = (100 * bound for bound in one["final_success_interval"])
        interval = f" ({low:.0f}–{high:.0f})" if len(arguments.seeds) > 1 else ""
        success = f"{100 * one['final_success']:.0f} %{interval}"
        share = f"{one['teacher_calls']:.0f} ({100 * one['teacher_calls'] / one['env_steps']:.1f} %)"
        lines.append(f"| {task} | {algo} | {steps[0]} | {steps[1]} | {success} | {share} | {one['wall_s']:.0f} |")
    return "\n".join(lines)


def _draw(arguments: Arguments, tasks: dict[str, Any]) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, len(tasks), figsize=(4.2 * len(tasks), 3.6), sharey=True, squeeze=False)
    for axis, (task, figures) in zip(axes[0], tasks.items(), strict=True):
        for algo in arguments.algos:
            over_seeds = band(_curves(arguments, task, algo))
            steps = over_seeds.steps / 1e3
            (line,) = axis.plot(steps, over_seeds.mean, label=_LABELS.get(algo, algo))
            axis.fill_between(steps, over_seeds.low, over_seeds.high, color=line.get_color(), alpha=0.15)
            for ended in figures[algo]["switched_off_at"]:
                if ended > 0:
                    axis.plot(ended / 1e3, -0.02, "^", color=line.get_color(), clip_on=False)
        if figures["teacher_success"] is not None:
            axis.axhline(figures["teacher_success"], color="grey", linestyle="--", label="teacher, synthetic")
        axis.set(title=task, xlabel="thousand environment steps", ylim=(-0.03, 1.03))
    axes[0][0].set_ylabel("success")
    axes[0][-1].plot([], [], "^", color="grey", label="guidance ends")
    axes[0][-1].legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(arguments.report.with_suffix(".png"), dpi=110)
    plt.close(figure)
