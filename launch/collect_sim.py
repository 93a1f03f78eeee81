#!/usr/bin/env python3
"""Collect episodes in the simulator, of a trained policy or of a synthetic stand-in for a person; failures are dropped.

What is there already is kept: started again, it goes on where it was stopped.
"""

import _environment

_environment.enter()

import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import tyro

import _reports
import _sim_episodes
from robot_runtime.collection import episode as disk
from sim_training.rollouts import SEEN


@dataclass(frozen=True)
class Arguments:
    """What to collect, of whom, and where to."""

    out: Path
    """folder of the episodes"""
    task: str = "lift_cube"
    """name of a task card"""
    source: _sim_episodes.Source = "rl"
    """rl: a trained policy; human-like: slower, noisy, with pauses and corrections, synthetic"""
    policy: Path | None = None
    """folder of the policy; the shipped one of the task if not given"""
    episodes: int = 50
    """successful ones, in equal parts of every variant"""
    variants: tuple[str, ...] = SEEN
    """objects: red_cube, orange_cube, magenta_cube"""
    seed: int = 0
    """of where things lie, and of the stand-in's habits"""
    report: Path | None = None
    """JSON file for the figures"""


def main(arguments: Arguments) -> dict[str, Any]:
    """Collects what is missing and says how much there is. Raises one of _sim_episodes.FAILURES."""
    torch.set_num_threads(1)
    began = time.monotonic()
    spec, variants = _sim_episodes.card_and_variants(arguments.task, arguments.variants)
    _sim_episodes.collect(
        arguments.out, spec, arguments.source, variants, arguments.episodes, arguments.seed, arguments.policy
    )
    abouts = [disk.read_about(path) for path in disk.files(arguments.out)]
    return {
        "task": spec.name,
        "policy": abouts[0].policy,
        "episodes": len(abouts),
        "per_variant": {each.name: sum(about.variant == each.name for about in abouts) for each in variants},
        "mean_duration_s": sum(about.duration_s for about in abouts) / len(abouts),
        "bytes": sum(path.stat().st_size for path in disk.files(arguments.out)),
        "wall_s": round(time.monotonic() - began, 1),
    }


def run() -> None:
    """What is asked for on the command line: prints the figures, or one sentence and exit code 1."""
    asked = tyro.cli(Arguments, description=__doc__)
    try:
        _reports.check(asked.report)
        figures = main(asked)
        print(json.dumps(figures, indent=1))
        _reports.write(asked.report, figures)
    except _sim_episodes.FAILURES as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit("Stopped; the episodes so far are whole. Start again to go on.")


if __name__ == "__main__":
    run()
