"""What a generalist learns from an expert's episodes and from as many demonstrations: RLDG's comparison, in small.

Collects both kinds in the simulator, fine-tunes on subsets of each size, evaluates with objects seen and unseen,
draws, tabulates. Every cell of the table is kept as it is finished; started again, it goes on where it was stopped.
"""

from __future__ import annotations

import json
import math
import shlex
import sys
from dataclasses import asdict, dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from scipy import stats

import _demonstrations
import _generalist
import _reports
import _sim_episodes
from contract.tasks import task
from robot_runtime.collection import episode as disk
from robot_runtime.trials import wilson_interval
from sim_training import demonstrators
from sim_training.export import circumstances
from sim_training.generalist.evaluate import Outcome, evaluate
from sim_training.generalist.train import LIKELIHOOD, Training, fit
from sim_training.rollouts import SEEN, UNSEEN, VARIANTS

COLOURS = {"rl": "tab:blue", "human-like": "tab:orange"}
EVALUATION_SEED = 700_000_000
"""Episodes that are evaluated on are none of those that were collected."""


@dataclass(frozen=True)
class Arguments:
    """What to compare; cells that are finished are not repeated."""

    task: str = "lift_cube"
    """Task card."""
    sizes: tuple[int, ...] = (25, 50, 100, 200)
    """Episodes to learn from."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Of which episodes, of first weights and of the order they are seen in."""
    episodes: int = 32
    """Evaluated of each cell with objects that were seen, and as many with one that was not."""
    training: tyro.conf.OmitArgPrefixes[Training] = field(default_factory=Training)
    """How long and how; its seed is the cell's."""
    out: Path = Path("runs/generalist_study")
    """Folder of episodes, generalists and finished cells."""
    report: Path = Path("docs/results/generalist.json")
    """Figures; the picture lies beside it."""


def run(arguments: Arguments) -> int:
    """Does what is missing, then draws and tabulates everything; Ctrl-C and kills keep what is finished."""
    torch.set_num_threads(1)
    try:
        if not arguments.sizes or not arguments.seeds:
            raise _sim_episodes.NothingAsked("At least one size and one seed have to be asked for.")
        _sim_episodes.claim(arguments.out / "study.json", arguments, ("sizes", "seeds", "out", "report"))
        collect(arguments)
        studio = _sim_episodes.Studio()
        cells = list(product(arguments.sizes, arguments.seeds, _sim_episodes.SOURCES))
        for number, (size, seed, source) in enumerate(cells, 1):
            print(f"[{number}/{len(cells)}] {size} episodes, {source}, seed {seed}", flush=True)
            measure(arguments, studio, source, size, seed)
    except _sim_episodes.FAILURES as error:
        print(f"bench generalist: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("bench generalist: Stopped; start again to go on.", file=sys.stderr)
        return 130
    report = summarise(arguments)
    _reports.write(arguments.report, report)
    draw(arguments, report["cells"])
    print(table(report["cells"]))
    return 0


def collect(arguments: Arguments) -> None:
    """As many successful episodes of each source as the largest size needs. Raises _sim_episodes.FAILURES."""
    spec, variants = _sim_episodes.card_and_variants(arguments.task, SEEN)
    count = len(SEEN) * math.ceil(max(arguments.sizes) / len(SEEN))
    for source in _sim_episodes.SOURCES:
        _sim_episodes.collect(arguments.out / "episodes" / source, spec, source, variants, count, 0)


def measure(
    arguments: Arguments, studio: _sim_episodes.Studio, source: _sim_episodes.Source, size: int, seed: int
) -> None:
    """Trains and evaluates one cell of the table, unless it is there."""
    name, spec = f"{source}-{size}-seed{seed}", task(arguments.task)
    done = arguments.out / "cells" / f"{name}.json"
    if done.exists():
        return
    folder = arguments.out / "generalists" / name
    training = Training(**{**vars(arguments.training), "seed": seed})
    paths = chosen(arguments.out / "episodes" / source, size, seed)
    figures = fit(_demonstrations.of_files(paths), folder, training, provenance={**circumstances(), "data": source})
    model = _generalist.load(folder)

    def outcome(variant: str, count: int) -> Outcome:
        painter = studio.painter(VARIANTS[variant])
        return evaluate(model, spec.name, spec.instruction, VARIANTS[variant], painter, count, EVALUATION_SEED)

    seen = [outcome(variant, arguments.episodes // len(SEEN)) for variant in SEEN]
    unseen = [outcome(UNSEEN, arguments.episodes)]
    result = {"source": source, "size": size, "seed": seed, **figures, "seen": joined(seen), "unseen": joined(unseen)}
    _reports.write(done, result)


def chosen(folder: Path, size: int, seed: int) -> list[Path]:
    """So many episodes, in equal parts of every variant, drawn by the seed."""
    by_variant: dict[str, list[Path]] = {}
    for path in disk.files(folder):
        by_variant.setdefault(disk.read_about(path).variant, []).append(path)
    rng, picked = np.random.default_rng([seed, size]), []
    for index, (_, paths) in enumerate(sorted(by_variant.items())):
        share = size // len(by_variant) + (index < size % len(by_variant))
        picked += [paths[k] for k in rng.permutation(len(paths))[:share]]
    return sorted(picked)


def joined(outcomes: list[Outcome]) -> dict[str, Any]:
    """Of several variants together."""
    return {
        "episodes": sum(each.episodes for each in outcomes),
        "times_s": [round(time_s, 2) for each in outcomes for time_s in each.times_s],
    }


def summarise(arguments: Arguments) -> dict[str, Any]:
    """Per source, size and kind of object: success over all seeds with its interval, and how long it took."""
    cells = []
    for source, size in product(_sim_episodes.SOURCES, arguments.sizes):
        names = [f"{source}-{size}-seed{seed}.json" for seed in arguments.seeds]
        done = [json.loads((arguments.out / "cells" / name).read_text()) for name in names]
        for kind in ("seen", "unseen"):
            cells.append({"source": source, "size": size, "objects": kind, **pooled([one[kind] for one in done])})
    spec = task(arguments.task)
    lengths = {source: mean_duration(arguments.out / "episodes" / source) for source in _sim_episodes.SOURCES}
    return {
        "command": "./launch/bench.py generalist " + shlex.join(sys.argv[2:]),
        "commit": circumstances()["commit"],
        "task": spec.name,
        "instruction": spec.instruction,
        "objects": {"seen": SEEN, "unseen": UNSEEN},
        "likelihood": LIKELIHOOD,
        "training": vars(arguments.training),
        "human-like": {"name": demonstrators.NAME, **asdict(demonstrators.Habits())},
        "demonstrations_mean_s": lengths,
        "seeds": list(arguments.seeds),
        "cells": cells,
    }


def pooled(outcomes: list[dict[str, Any]]) -> dict[str, Any]:
    """Of all seeds. Intervals of 95 %: Wilson's of the success, Student's of the time."""
    episodes, times = sum(each["episodes"] for each in outcomes), np.concatenate([each["times_s"] for each in outcomes])
    low, high = wilson_interval(len(times), episodes)
    figures: dict[str, Any] = {
        "episodes": episodes,
        "success": len(times) / episodes,
        "wilson_95": [low, high],
        "success_per_seed": [len(each["times_s"]) / each["episodes"] for each in outcomes],
        "cycle_time_s": None,
    }
    if len(times) > 1:
        reach = stats.t.ppf(0.975, len(times) - 1) * times.std(ddof=1) / np.sqrt(len(times))
        figures |= {"cycle_time_s": float(times.mean()), "cycle_time_reach_s": float(reach)}
    return figures


def mean_duration(folder: Path) -> float:
    """Of the episodes that were learnt from, seconds."""
    return float(np.mean([disk.read_about(path).duration_s for path in disk.files(folder)]))


def table(cells: list[dict[str, Any]]) -> str:
    """One line per cell, as Markdown."""
    lines = ["| episodes of | size | objects | success (95 %) | cycle time s |", "| --- | --- | --- | --- | --- |"]
    for one in cells:
        low, high = (100 * bound for bound in one["wilson_95"])
        time_s = "–" if one["cycle_time_s"] is None else f"{one['cycle_time_s']:.1f} ± {one['cycle_time_reach_s']:.1f}"
        success = f"{100 * one['success']:.0f} % ({low:.0f}–{high:.0f})"
        lines.append(f"| {one['source']} | {one['size']} | {one['objects']} | {success} | {time_s} |")
    return "\n".join(lines)


def draw(arguments: Arguments, cells: list[dict[str, Any]]) -> None:
    """Success and cycle time over the number of episodes, beside each other."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, 3, figsize=(12, 3.6))
    for axis, objects in zip(axes[:2], ("seen", "unseen"), strict=True):
        for source in _sim_episodes.SOURCES:
            of = [one for one in cells if (one["source"], one["objects"]) == (source, objects)]
            middle = np.array([one["success"] for one in of])
            reach = np.abs(np.array([one["wilson_95"] for one in of]).T - middle)
            axis.errorbar(
                [one["size"] for one in of], middle, reach, marker="o", capsize=3, label=source, color=COLOURS[source]
            )
        axis.set(title=f"objects {objects}", xlabel="episodes", ylim=(-0.03, 1.03))
    axes[0].set_ylabel("success")
    for source, objects in product(_sim_episodes.SOURCES, ("seen", "unseen")):
        of = [one for one in cells if (one["source"], one["objects"]) == (source, objects) and one["cycle_time_s"]]
        times, spread = [one["cycle_time_s"] for one in of], [one["cycle_time_reach_s"] for one in of]
        style = "-" if objects == "seen" else "--"
        label, colour = f"{source}, {objects}", COLOURS[source]
        axes[2].errorbar([one["size"] for one in of], times, spread, fmt=f"o{style}", label=label, color=colour)
    axes[2].set(title="time of what succeeded", xlabel="episodes", ylabel="s")
    for axis in axes:
        axis.set_xscale("log")
        axis.set_xticks(arguments.sizes, [str(size) for size in arguments.sizes], minor=False)
        axis.minorticks_off()
        axis.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(arguments.report.with_suffix(".png"), dpi=110)
    plt.close(figure)
