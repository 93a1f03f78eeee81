#!/usr/bin/env python3
"""Run a trained policy on a cell: check everything, arm, run trials, and say how often it worked.

Exit code 0: all trials ran, at least half succeeded and no limit was broken. 2: they ran and did worse.
1: something is missing, and one sentence says what. 130: stopped by Ctrl-C or the operator; the arm is at rest.
"""

import _environment

_environment.enter()

import contextlib
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import _calibrated
import tyro

import _judges
import _reports
import _rig
import _terminal
from _rig import BLIND_TRIALS, SEEDS_PER_RUN, LiveLine, WrongArgument, check_seed
from _true_poses import TruePoses
from contract.tasks import task
from perception.estimator import Estimator
from robot_runtime.cell import Cell, load_cell
from robot_runtime.loop import ObjectSource, Tick
from robot_runtime.mock_cell.scoring import ScoringClient
from robot_runtime.trials import NothingInSight, Trial, TrialRunner, summary
from robot_runtime.wire import Counters

PUSH_EXTRA_S = 2.0
"""A trial may take so much longer for every push."""

EXPECTED = (*_rig.FAILURES, *_calibrated.FAILURES)


@dataclass(frozen=True)
class Arguments:
    """What to run, where, and how often."""

    task: str = "lift_cube"
    """Name of the task card."""
    cell: str = "mock"
    """Name of a cell under launch/cells, or a cell file."""
    policy: Path | None = None
    """Folder of the policy; the shipped one of the task if not given."""
    trials: int = 1
    """How many trials."""
    seed: int = 0
    """Decides where the object lies in each trial of a mock cell."""
    calibrate: bool = False
    """First find out where the camera is, with a board in the hand; the cell file's pose is not used."""
    report: Path | None = None
    """Write the figures to this JSON file."""
    video: Path | None = None
    """Record what the mock cell's camera sees, as a film."""
    randomise_visuals: bool = False
    """Another laboratory in every trial of a mock cell: colours, textures, light, things on the table."""
    pushes: int = 0
    """So many pushes in every trial of a mock cell: on the object, or on the tool once it holds it."""
    record: Path | None = None
    """Record colour and depth as a RealSense recording (.db3), which a cell file may name in place of its camera."""
    true_poses: bool = False
    """On a mock cell: the true pose in place of camera and detector, to know what perception costs."""


class Run:
    """One run: what was checked, and the trials so far."""

    def __init__(self, arguments: Arguments) -> None:
        self.arguments = arguments
        self.trials: list[Trial] = []
        self.calibration: dict[str, Any] | None = None
        self.began_s = time.monotonic()
        self.counters = self.counters_before = Counters()

    def go(self, stack: contextlib.ExitStack) -> None:
        """Check everything, then run all trials. Raises one of EXPECTED."""
        arguments = self.arguments
        spec = task(arguments.task)
        cell = load_cell(arguments.cell)
        check_arguments(arguments, cell)
        policy = _rig.load_policy(spec, arguments.policy)
        extras = _rig.MockExtras(arguments.video, arguments.randomise_visuals, arguments.pushes)
        rig = _rig.open_rig(
            stack, "run_robot", spec, cell, arguments.cell, policy, extras, arguments.record, arguments.calibrate
        )  # fmt: skip
        client, estimator = rig.client, rig.estimator
        self.counters = self.counters_before = client.status().counters
        rig.judge.before_first_motion()
        if arguments.calibrate:
            estimator.T_base_camera, self.calibration = _calibrated.fixed_camera(
                client, rig.camera, cell, arguments.seed
            )
        stack.enter_context(estimator)
        with rig.explained():
            objects: ObjectSource = estimator
            if arguments.true_poses and cell.scoring is not None:
                objects = TruePoses(spec, stack.enter_context(ScoringClient(cell.scoring)))
            runner = TrialRunner(client, objects, spec, rig.policy, rig.judge.looked_at)
            self._run_trials(runner, rig.judge, estimator)

    def _run_trials(self, runner: TrialRunner, judge: _judges.Judge, estimator: Estimator) -> None:
        blind = 0
        for index in range(self.arguments.trials):
            seed = self.arguments.seed * SEEDS_PER_RUN + index
            runner.go_to_start()
            judge.set_up(seed)
            estimator.tracker.forget()
            try:
                runner.wait_for_object()
            except NothingInSight as error:
                blind += 1
                if blind == BLIND_TRIALS:
                    raise
                self._add(Trial.not_begun(index, seed, str(error)))
                continue
            blind = 0
            with judge.watching() as stop_asked:
                live = LiveLine(f"trial {index + 1:>3}/{self.arguments.trials}")

                def show(tick: Tick, live: LiveLine = live) -> None:
                    live(tick)
                    judge.disturb(tick)

                trial = runner.run(index, seed, show, stop_asked, extra_s=PUSH_EXTRA_S * self.arguments.pushes)
            self.counters = runner.client.status().counters
            self._add(judge.judged(trial))
        runner.go_to_start()
        self.counters = runner.client.status().counters

    def _add(self, trial: Trial) -> None:
        self.trials.append(trial)
        mark = _terminal.paint("lifted", _terminal.GREEN) if trial.success else _terminal.paint("failed", _terminal.RED)
        _terminal.say(
            f"  trial {trial.index + 1:>3}/{self.arguments.trials}  {mark}  {trial.duration_s:4.1f} s"
            f"  faults {trial.faults}  clipped {trial.loop.clipped}  {trial.failure or ''}"
        )
        self.write_report("The run was cut off.")

    def report(self, ended_early: str | None) -> dict[str, Any]:
        """Figures so far. ended_early: why not all trials were run, or None."""
        now, before = self.counters, self.counters_before
        asked = ("task", "cell", "seed", "randomise_visuals", "pushes", "true_poses")
        settings = {name: getattr(self.arguments, name) for name in asked}
        return {
            **summary(self.trials, time.monotonic() - self.began_s),
            "limit_violations": now.limit_violations - before.limit_violations,
            "faults": now.faults - before.faults,
            "peak_speed_m_s": now.peak_speed_m_s,
            "ended_early": ended_early,
            "calibration": self.calibration,
            **settings,
        }

    def write_report(self, ended_early: str | None) -> None:
        """After every trial, so that nothing is lost."""
        _reports.write(self.arguments.report, self.report(ended_early))


def check_arguments(arguments: Arguments, cell: Cell) -> None:
    """Raises WrongArgument before anything is started."""
    if arguments.trials < 1:
        raise WrongArgument("--trials must be at least 1.")
    check_seed(arguments.seed)
    if not 0 <= arguments.pushes <= 10:
        raise WrongArgument("--pushes must be 0 to 10.")
    for name in ("video", "randomise_visuals", "pushes", "true_poses"):
        if getattr(arguments, name) and cell.mock is None:
            raise WrongArgument(f"--{name.replace('_', '-')} is for a mock cell; on a lab cell leave it out.")
    _reports.check(arguments.report, arguments.video, arguments.record)


def conclude(run: Run, ended_early: str | None) -> int:
    """Print and write the figures; the exit code they mean."""
    if not run.trials:
        return 1
    report = run.report(ended_early)
    rate, low, high = (100 * report[name] for name in ("success_rate", "wilson_low", "wilson_high"))
    cycle = "" if report["cycle_time_s"] is None else f"  cycle time {report['cycle_time_s']:.1f} s"
    late_ms, violations = report["loop_jitter_ms"]["p95"], report["limit_violations"]
    print(
        f"\n  {report['successes']} of {report['trials']} succeeded: {rate:.0f} %"
        f" (95 % interval {low:.0f} to {high:.0f} %){cycle}\n"
        f"  setpoints clipped {report['clipped']}, beyond limits {violations}, faults {report['faults']};"
        f" loop late by {late_ms:.0f} ms (p95), {report['skipped_ticks']} ticks skipped"
    )
    run.write_report(ended_early)
    if ended_early is not None:
        return 1
    return 0 if rate >= 50.0 and violations == 0 else 2


def main() -> int:
    """Exit code."""
    run = Run(tyro.cli(Arguments, description=__doc__))
    return _rig.run_to_the_end("run_robot", run.go, lambda problem: conclude(run, problem), EXPECTED)


if __name__ == "__main__":
    sys.exit(main())
