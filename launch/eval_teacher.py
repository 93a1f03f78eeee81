#!/usr/bin/env python3
"""Measure how often a teacher itself succeeds at a task, its deltas executed through the contract's actions."""

import _environment

_environment.enter()

import json
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
import tyro

import _reports
from contract.task_spec import TaskSpec, stretched
from contract.tasks import UnknownTask, task
from robot_runtime.trials import wilson_interval
from sim_training.envs import Camera, make_task
from sim_training.teachers import make_teacher
from sim_training.teachers.errors import TEACHER_ERRORS
from sim_training.teachers.evaluate import success
from sim_training.teachers.names import SCRIPTED
from sim_training.teachers.scripted import FAULTS, NO_FAULTS, Faults, ScriptedTeacher
from sim_training.teachers.teacher import Teacher


@dataclass(frozen=True)
class Arguments:
    """Which teacher, at what, how often."""

    task: str = "lift_cube"
    """name of a task card"""
    teacher: str = SCRIPTED
    """scripted (synthetic, knows the truth), or the address of a teacher server: tcp://HOST:PORT, ipc://PATH"""
    episodes: int = 64
    """one in each environment, under stock physics"""
    horizon_factor: Literal[1, 10] = 1
    """10 takes ten times as many, ten times smaller steps"""
    randomise: bool = True
    """vary bodies, delays, noise and starts as the card says; off, only places differ"""
    camera: Camera = "normal"
    """where a served teacher looks from: the side, further round, or as the cell's cameras do"""
    seed: int = 0
    """of episodes and faults"""
    faultless: bool = False
    """the scripted expert without its faults: whether the task can be solved"""
    report: Path | None = None
    """JSON file for the figures"""

    @property
    def spec(self) -> TaskSpec:
        """The task card, with its horizon stretched if asked. Raises UnknownTask."""
        card = task(self.task)
        return stretched(card, self.horizon_factor) if self.horizon_factor > 1 else card


def teacher_of(arguments: Arguments) -> Teacher:
    """The teacher that was asked for. Raises UnknownTask or one of TEACHER_ERRORS."""
    if arguments.teacher == SCRIPTED:
        return ScriptedTeacher(arguments.spec, NO_FAULTS if arguments.faultless else None)
    return make_teacher(arguments.teacher, arguments.spec)


def main(arguments: Arguments) -> dict[str, Any]:
    """Runs the episodes and says how many succeeded. Raises UnknownTask or one of TEACHER_ERRORS."""
    torch.set_num_threads(1)
    teacher, started = teacher_of(arguments), time.monotonic()
    options: dict[str, Any] = {"horizon_factor": arguments.horizon_factor, "randomise": arguments.randomise}
    if teacher.needs_images:
        options["render_mode"] = "rgb_array"
    env = make_task(arguments.task, arguments.episodes, camera=arguments.camera, **options)
    succeeded = int(success(env, teacher, arguments.seed).sum())
    env.close()
    low, high = wilson_interval(succeeded, arguments.episodes)
    faults = NO_FAULTS if arguments.faultless else FAULTS.get(arguments.task, Faults())
    return {
        "task": arguments.task,
        "teacher": teacher.name,
        "faults": asdict(faults) if arguments.teacher == SCRIPTED else None,
        "horizon_factor": arguments.horizon_factor,
        "randomise": arguments.randomise,
        "camera": arguments.camera if teacher.needs_images else None,
        "episodes": arguments.episodes,
        "seed": arguments.seed,
        "successes": succeeded,
        "success": succeeded / arguments.episodes,
        "wilson_95": [round(low, 3), round(high, 3)],
        "wall_s": round(time.monotonic() - started, 1),
    }


def run() -> None:
    """What is asked for on the command line: prints the figures, or one sentence and exit code 1."""
    asked = tyro.cli(Arguments, description=__doc__)
    try:
        _reports.check(asked.report)
        figures = main(asked)
        print(json.dumps(figures, indent=1))
        _reports.write(asked.report, figures)
    except (UnknownTask, _reports.CannotWrite, *TEACHER_ERRORS) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    run()
