"""How fast the batched CPU simulator is beside ManiSkill's own CPU backend, or whether both compute the same."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import _reports
from sim_training.backends import parity, throughput


@dataclass(frozen=True)
class Arguments:
    """What to measure."""

    task: str = "PickCube-v1"
    """ManiSkill task whose speed is measured."""
    control: str = "pd_ee_delta_pose"
    """Control mode whose speed is measured."""
    num_envs: int = 256
    """Environments in each process of the batched backend."""
    rounds: int = 6
    """Times every contender takes its turn."""
    turn_s: float = 4.0
    """Seconds a turn lasts."""
    parity: bool = False
    """Compare observations, rewards and success with stock ManiSkill instead, on four tasks under joint control."""
    report: Path | None = None
    """Also write the figures here."""


def measure_speed(arguments: Arguments) -> dict[str, Any]:
    """See `throughput.summarise`."""
    reached = throughput.measure(
        arguments.task, arguments.control, arguments.num_envs, arguments.rounds, arguments.turn_s
    )
    return {"task": arguments.task, "control": arguments.control, **throughput.summarise(reached)}


def measure_parity() -> dict[str, Any]:
    """Largest difference over all tasks, and how many environments were too chaotic to judge."""
    found = {task: parity.compare(task, seed=100 * index) for index, task in enumerate(parity.TASKS)}
    return {
        "parity_max_abs": max(one.worst for one in found.values()),
        "parity_chaotic": sum(int(one.chaotic.sum()) for one in found.values()),
        "parity_environments": sum(len(one.chaotic) for one in found.values()),
        "tasks": {
            task: {"max_abs": one.worst, "chaotic": int(one.chaotic.sum()), "environments": one.max_abs.tolist()}
            for task, one in found.items()
        },
    }


def run(arguments: Arguments) -> dict[str, Any]:
    """Prints and returns the figures. Exits with 1 when parity does not hold."""
    result = measure_parity() if arguments.parity else measure_speed(arguments)
    print(json.dumps(result, indent=2))
    _reports.write(arguments.report, result)
    if arguments.parity and not result["parity_max_abs"] <= parity.TOLERANCE:
        sys.exit(1)
    return result
