#!/usr/bin/env python3
"""Measure how often a teacher itself succeeds at a task, its deltas executed through the contract's actions."""

import _environment

_environment.enter()

import json
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import tyro

from contract.tasks import UnknownTask, task
from robot_runtime.trials import wilson_interval
from sim_training.envs import make_task
from sim_training.teachers import make_teacher
from sim_training.teachers.evaluate import success
from sim_training.teachers.scripted import FAULTS, NO_FAULTS, Faults, ScriptedTeacher
from sim_training.teachers.teacher import Teacher


@dataclass(frozen=True)
class Arguments:
    """Which teacher, at what, how often."""

    task: str = "lift_cube"
    """name of a task card"""
    teacher: str = "scripted"
    """scripted (synthetic, knows the truth), or the address of a teacher server: tcp://HOST:PORT, ipc://PATH"""
    episodes: int = 64
    """one in each environment, randomisation on, under stock physics"""
    seed: int = 0
    """of episodes and faults"""
    faultless: bool = False
    """the scripted expert without its faults: whether the task can be solved"""
    report: Path | None = None
    """JSON file for the figures"""


def teacher_of(arguments: Arguments) -> Teacher:
    """The teacher that was asked for."""
    spec = task(arguments.task)
    if arguments.teacher == "scripted":
        return ScriptedTeacher(spec, NO_FAULTS if arguments.faultless else None)
    return make_teacher(arguments.teacher, spec)


def main(arguments: Arguments) -> dict[str, Any]:
    """Runs the episodes and says how many succeeded. Raises UnknownTask."""
    torch.set_num_threads(1)
    teacher, started = teacher_of(arguments), time.monotonic()
    looks: dict[str, Any] = {"render_mode": "rgb_array"} if teacher.needs_images else {}
    env = make_task(arguments.task, arguments.episodes, **looks)
    succeeded = int(success(env, teacher, arguments.seed).sum())
    env.close()
    low, high = wilson_interval(succeeded, arguments.episodes)
    faults = NO_FAULTS if arguments.faultless else FAULTS.get(arguments.task, Faults())
    return {
        "task": arguments.task,
        "teacher": teacher.name,
        "faults": asdict(faults) if arguments.teacher == "scripted" else None,
        "episodes": arguments.episodes,
        "seed": arguments.seed,
        "successes": succeeded,
        "success": succeeded / arguments.episodes,
        "wilson_95": [round(low, 3), round(high, 3)],
        "wall_s": round(time.monotonic() - started, 1),
    }


if __name__ == "__main__":
    asked = tyro.cli(Arguments, description=__doc__)
    try:
        figures = main(asked)
    except UnknownTask as error:
        sys.exit(str(error))
    print(json.dumps(figures, indent=1))
    if asked.report is not None:
        asked.report.write_text(json.dumps(figures, indent=1) + "\n")
