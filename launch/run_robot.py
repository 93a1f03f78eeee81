#!/usr/bin/env python3
"""Run a trained policy on a cell: check everything, arm, run trials, and say how often it worked.

Exit code 0: all trials ran, at least half succeeded and no limit was broken. 2: they ran and did worse.
1: something is missing, and one sentence says what. 130: stopped by Ctrl-C or the operator; the arm is at rest.
"""

import _environment

_environment.enter()

import contextlib
import json
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import _calibrated
import numpy as np
import tyro

import _judges
import _running
import _terminal
from _true_poses import TruePoses
from calibration.store import CalibrationError
from contract import artifact
from contract.poses import Pose
from contract.task_spec import TaskSpec
from contract.tasks import UnknownTask, task
from perception.camera import CameraMissing, CameraStalled, WrongCamera
from perception.detector import Detector, DetectorMissing, PictureSizeMismatch, weights_folder
from perception.detector_runtimes import RuntimeMissing
from perception.estimator import Estimator, EstimatorFailed
from perception.realsense import open_camera
from robot_runtime.bridge_client import BridgeClient, BridgeFaulted, BridgeLost, BridgeRefused
from robot_runtime.cell import Cell, CellError, load_cell
from robot_runtime.loop import NotAtStart, ObjectSource, OperatorStopped, Tick
from robot_runtime.mock_cell.cell_process import MockCell, MockCellAddresses, MockCellFailed, PortInUse
from robot_runtime.mock_cell.scoring import ScoringClient, ScoringUnreachable
from robot_runtime.trials import GripperStuck, NothingInSight, Trial, TrialRunner, summary
from robot_runtime.wire import Counters, KeysUnusable, WireError

POLICIES = Path(__file__).resolve().parent.parent / "policies"
BLIND_TRIALS = 3
"""So many trials in a row without the object in sight end the run."""

CAMERA_SILENT_S = 3.0
"""Wall time without a frame after which it is the camera's fault that nothing is in sight."""

PUSH_EXTRA_S = 2.0
"""A trial may take so much longer for every push."""

SEEDS_PER_RUN = 10_000
"""Trial k of seed s sets the scene by s * this + k, so that runs of different seeds share no scene."""


class WrongArgument(ValueError):
    """An argument cannot be meant."""


EXPECTED = (
    UnknownTask, CellError, artifact.ArtifactError, _running.CellBusy, _running.BridgeDidNotStart, _judges.NoTerminal,
    MockCellFailed, PortInUse, ScoringUnreachable, KeysUnusable, WireError, BridgeLost, BridgeRefused, BridgeFaulted,
    DetectorMissing, RuntimeMissing, PictureSizeMismatch, EstimatorFailed, CameraMissing, CameraStalled, WrongCamera,
    NothingInSight, GripperStuck, WrongArgument, NotAtStart, CalibrationError, *_calibrated.FAILURES,
)  # fmt: skip


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
        stack.enter_context(_running.cell_lock(cell))
        policy = artifact.load(arguments.policy or POLICIES / spec.name, spec)
        made = policy.card["provenance"]
        _terminal.checked(
            "policy",
            f"{spec.name}, {made.get('env_steps', 0) / 1e6:.1f} M steps, commit {made.get('commit', 'unknown')}",
        )
        detector = Detector(weights_folder(spec.name))
        judge = open_judge(stack, cell, spec, arguments)
        eye = cell.camera
        camera = stack.enter_context(
            open_camera(eye.address, eye.serial, eye.width, eye.height, eye.rate_hz, arguments.record)
        )
        _terminal.checked("camera", f"{eye.serial} at {eye.address}, {eye.width}x{eye.height}, {eye.rate_hz} Hz")
        # Checks a calibration that the cell names; one that is yet to be made replaces it before anything is looked at.
        rows, K = (np.eye(4), None) if arguments.calibrate else (eye.T_base_camera_matrix, eye.calibrated_K)
        estimator = Estimator(spec, camera, detector, Pose.from_matrix(rows), eye.clock, K)
        stack.enter_context(_running.bridge(cell, arguments.cell, _terminal.say))
        client = stack.enter_context(BridgeClient(cell, "run_robot", lambda state, _: estimator.on_state(state)))
        client.connect(spec.contract_hash(), spec.period_s)
        self.counters = self.counters_before = client.status().counters
        _terminal.checked("robot", f"{cell.robot.model} at {cell.robot.address}, {client.status().mode}")
        judge.before_first_motion()
        if arguments.calibrate:
            estimator.T_base_camera, self.calibration = _calibrated.fixed_camera(client, camera, cell, arguments.seed)
        stack.enter_context(estimator)
        try:
            objects: ObjectSource = estimator
            if arguments.true_poses and cell.scoring is not None:
                objects = TruePoses(spec, stack.enter_context(ScoringClient(cell.scoring)))
            self._run_trials(TrialRunner(client, objects, spec, policy, judge.looked_at), judge, estimator)
        except (BridgeFaulted, BridgeLost, NothingInSight):
            judge.check()
            camera.read_latest(CAMERA_SILENT_S)
            raise

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
                live = LiveLine(index, self.arguments.trials)

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
        """After every trial, so that nothing is lost; whole or not at all."""
        path = self.arguments.report
        if path is not None:
            staging = path.with_name(f".{path.name}.{os.getpid()}")
            staging.write_text(json.dumps(self.report(ended_early), indent=2) + "\n")
            staging.replace(path)


class LiveLine:
    """One line that follows a trial."""

    def __init__(self, index: int, trials: int) -> None:
        self._name, self._clipped = f"trial {index + 1:>3}/{trials}", 0

    def __call__(self, tick: Tick) -> None:
        """Show one tick."""
        self._clipped += bool(tick.executed.clipped)
        doing = "lifting" if tick.seen.held else "closing" if tick.decision.closed else "reaching"
        age_ms = 1e3 * (tick.state.stamp - tick.seen.stamp)
        speed = float(np.linalg.norm(tick.state.v_base_tcp[:3]))
        _terminal.live(
            f"  {self._name}  {doing:<8} {tick.index / 20:4.1f} s  {tick.seen.name} {age_ms:3.0f} ms old"
            f"  {speed:.2f} m/s  clipped {self._clipped}"
        )


def open_judge(stack: contextlib.ExitStack, cell: Cell, spec: TaskSpec, arguments: Arguments) -> _judges.Judge:
    """Starts what a mock cell needs; a lab cell needs an operator."""
    if cell.mock is None:
        return _judges.Operator(spec)
    addresses = MockCellAddresses.of_cell(cell)
    mock = stack.enter_context(MockCell(addresses, cell.mock.seed, arguments.video, cell.camera.serial))
    _terminal.checked("mock cell", f"robot {addresses.robot}, camera {addresses.frames}")
    scoring = stack.enter_context(ScoringClient(addresses.scoring))
    return _judges.GroundTruth(mock, scoring, arguments.randomise_visuals, arguments.pushes)


def check_arguments(arguments: Arguments, cell: Cell) -> None:
    """Raises WrongArgument before anything is started."""
    if arguments.trials < 1:
        raise WrongArgument("--trials must be at least 1.")
    if not 0 <= arguments.pushes <= 10:
        raise WrongArgument("--pushes must be 0 to 10.")
    for name in ("video", "randomise_visuals", "pushes", "true_poses"):
        if getattr(arguments, name) and cell.mock is None:
            raise WrongArgument(f"--{name.replace('_', '-')} is for a mock cell; on a lab cell leave it out.")
    for path in (arguments.report, arguments.video, arguments.record):
        if path is not None and (path.is_dir() or not os.access(path.absolute().parent, os.W_OK)):
            raise WrongArgument(
                f"{path} cannot be written: name a file in a folder that exists and that you may write."
            )


def conclude(run: Run, ended_early: str | None) -> int:
    """Print and write the figures; the exit code they mean."""
    if not run.trials:
        return 1
    run.write_report(ended_early)
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
    if ended_early is not None:
        return 1
    return 0 if rate >= 50.0 and violations == 0 else 2


def main() -> int:
    """Exit code."""
    arguments = tyro.cli(Arguments, description=__doc__)
    _running.Interrupts()
    run = Run(arguments)
    stopped = False
    problem: str | None = None
    try:
        with contextlib.ExitStack() as stack:
            run.go(stack)
    except (KeyboardInterrupt, OperatorStopped) as stop:
        stopped, problem = True, str(stop) or "Stopped; the arm is at rest."
    except EXPECTED as error:
        problem = str(error)
    code = conclude(run, problem)
    if problem is not None:
        print(f"{_terminal.paint('run_robot:', _terminal.RED)} {problem}", file=sys.stderr)
    return 130 if stopped else code


if __name__ == "__main__":
    sys.exit(main())
