#!/usr/bin/env python3
"""Run a generalist on a cell: it sees the cell's cameras and the instruction, nothing else; say how often it worked.

Exit code 0: all trials ran. 1: something is missing, and one sentence says what. 130: stopped; the arm is at rest.
"""

import _environment

_environment.enter()

import contextlib
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro

import _generalist
import _reports
import _rig
import _running
import _terminal
from contract import generalist
from contract.task_spec import TaskSpec
from contract.tasks import task
from robot_runtime.bridge_client import BridgeClient, BridgeFaulted, BridgeLost, BridgeRefused
from robot_runtime.cell import Cell, load_cell
from robot_runtime.collection.episode import square
from robot_runtime.generalist_loop import GeneralistLoop, Step
from robot_runtime.mock_cell.variants import UnknownVariant, variant
from robot_runtime.trials import Trial, go_to_start, summary

EXPECTED = (
    *_rig.FAILURES, generalist.GeneralistUnusable, generalist.UnknownInstruction, generalist.MissingPicture,
    UnknownVariant,
)  # fmt: skip
SETTLE_S, SILENT_S = 1.0, 1.0
"""Robot time until what was put down lies still; wall time without a picture after which a camera is lost."""
TRIAL_SEEDS = 600_000_000
"""Objects lie elsewhere in trials than in any episode that was collected."""
_ASK_EVERY = 10
"""Setpoints between two looks at whether the task is done."""


@dataclass(frozen=True)
class Arguments:
    """What to run, where, and how often."""

    generalist: Path
    """folder of the generalist"""
    task: str = "lift_cube"
    """name of the task card: start pose, bounds, and what counts as success"""
    instruction: str | None = None
    """what to tell it; the task card's words if not given"""
    cell: str = "mock_rldg"
    """name of a cell under launch/cells, or a cell file"""
    trials: int = 10
    """how many"""
    variants: tuple[str, ...] = ()
    """objects of the mock cell, in turn; its usual one if not given"""
    longest_s: float = 12.0
    """robot time after which a trial has failed"""
    seed: int = 0
    """decides where the object lies in each trial of a mock cell"""
    report: Path | None = None
    """JSON file for the figures"""


class Run:
    """The trials so far."""

    def __init__(self, arguments: Arguments) -> None:
        self.arguments, self.trials = arguments, list[Trial]()
        self.variants: list[str] = []
        self.began_s = time.monotonic()

    def go(self, stack: contextlib.ExitStack) -> None:
        """Check everything, then run all trials. Raises one of EXPECTED."""
        arguments = self.arguments
        spec, cell, model = task(arguments.task), load_cell(arguments.cell), _generalist.load(arguments.generalist)
        instruction = arguments.instruction or spec.instruction
        self._check(model, cell, instruction)
        _terminal.checked("generalist", f"{arguments.generalist.name}, “{instruction}”")
        stack.enter_context(_running.cell_lock(cell))
        self._judge = _rig.open_judge(stack, cell, spec, _rig.MockExtras())
        eyes = {"front": cell.camera, "wrist": cell.wrist_camera}
        cameras = {
            name: stack.enter_context(_rig.open_eye(eye, name=name))
            for name, eye in eyes.items()
            if eye is not None and name in model.card.cameras
        }

        def see() -> dict[str, np.ndarray]:
            return {name: square(camera.read_latest(SILENT_S).rgb) for name, camera in cameras.items()}

        stack.enter_context(_running.bridge(cell, arguments.cell, _terminal.say))
        client = stack.enter_context(BridgeClient(cell, "run_generalist"))
        client.connect(spec.contract_hash(), spec.period_s)
        self._judge.before_first_motion()
        loop = GeneralistLoop(client, see, model, spec, instruction)
        for index in range(arguments.trials):
            self._one(index, client, spec, cell, loop)
        go_to_start(client, spec, self._judge.looked_at)

    def _check(self, model: generalist.Generalist, cell: Cell, instruction: str) -> None:
        """Raises before anything is started."""
        model.check(instruction)
        if self.arguments.trials < 1:
            raise _rig.WrongArgument("--trials must be at least 1.")
        _rig.check_seed(self.arguments.seed)
        if self.arguments.variants and cell.mock is None:
            raise _rig.WrongArgument("--variants is for a mock cell; on a lab cell put the object there yourself.")
        for name in self.arguments.variants:
            variant(name)
        there = {"front", *(["wrist"] if cell.wrist_camera else [])}
        missing = sorted(set(model.card.cameras) - there)
        if missing:
            raise generalist.MissingPicture(
                f"This generalist looks at camera '{missing[0]}', which cell '{cell.name}' has not."
            )
        _reports.check(self.arguments.report)

    def _one(self, index: int, client: BridgeClient, spec: TaskSpec, cell: Cell, loop: GeneralistLoop) -> None:
        arguments, judge = self.arguments, self._judge
        kind = arguments.variants[index % len(arguments.variants)] if arguments.variants else None
        seed = TRIAL_SEEDS + arguments.seed * _rig.SEEDS_PER_RUN + index
        go_to_start(client, spec, judge.looked_at)
        judge.set_up(seed, kind)
        client.wait_until(client.latest().stamp + SETTLE_S)
        faults_before, failure = client.status().counters.faults, None
        client.arm()
        begin = client.latest().stamp

        def finished(step: Step) -> bool:
            done_s = step.state.stamp - begin
            _terminal.live(f"  trial {index + 1:>3}/{arguments.trials}  {done_s:4.1f} s  closed {step.closed}")
            return cell.mock is not None and step.index % _ASK_EVERY == 0 and judge.succeeded()

        try:
            with judge.watching() as stop_asked:
                loop.run(round(arguments.longest_s * 10), finished, stop_asked)
        except BridgeFaulted as error:
            failure = str(error)
        except BaseException:
            with contextlib.suppress(BridgeLost, BridgeRefused, BridgeFaulted):
                client.stop()
            raise
        duration_s = client.latest().stamp - begin
        client.stop()
        faults = client.status().counters.faults - faults_before
        trial = judge.judged(Trial(index, seed, None, failure, begin, duration_s, False, faults, loop.statistics))
        self.trials.append(trial)
        self.variants.append(kind or "usual")
        word = _terminal.paint("done", _terminal.GREEN) if trial.success else _terminal.paint("failed", _terminal.RED)
        _terminal.say(f"  trial {index + 1:>3}/{arguments.trials}  {word}  {trial.duration_s:4.1f} s  {failure or ''}")
        _reports.write(arguments.report, self.report("The run was cut off."))

    def report(self, ended_early: str | None) -> dict[str, Any]:
        """Figures so far."""
        by_variant: dict[str, list[bool]] = {}
        for name, trial in zip(self.variants, self.trials, strict=True):
            by_variant.setdefault(name, []).append(bool(trial.success))
        return {
            **summary(self.trials, time.monotonic() - self.began_s),
            "per_variant": {name: [sum(won), len(won)] for name, won in by_variant.items()},
            "generalist": self.arguments.generalist.name,
            "task": self.arguments.task,
            "cell": self.arguments.cell,
            "seed": self.arguments.seed,
            "ended_early": ended_early,
        }


def conclude(run: Run, ended_early: str | None) -> int:
    """Print and write the figures; the exit code they mean."""
    if run.trials:
        figures = run.report(ended_early)
        print(json.dumps({name: value for name, value in figures.items() if name != "per_trial"}, indent=1))
        _reports.write(run.arguments.report, figures)
    return 0 if ended_early is None else 1


def main() -> int:
    """Exit code."""
    run = Run(tyro.cli(Arguments, description=__doc__))
    return _rig.run_to_the_end("run_generalist", run.go, lambda problem: conclude(run, problem), EXPECTED)


if __name__ == "__main__":
    sys.exit(main())
