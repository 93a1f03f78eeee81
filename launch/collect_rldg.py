#!/usr/bin/env python3
"""Roll a trained policy on a cell and keep its episodes, equally many successful ones of every variant of the object.

The same command goes on where it was stopped. At a terminal, Enter or space stops the arm and ends; p pauses after the
episode. Exit code 0: all targets are met. 1: something is missing, and one sentence says what. 130: stopped; the arm is
at rest, the running episode is not kept.
"""

import _environment

_environment.enter()

import contextlib
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tyro

import _collecting
import _reports
import _rig
import _terminal
from _rig import WrongArgument
from contract.tasks import task
from robot_runtime.cell import Cell, load_cell
from robot_runtime.cell_cameras import calibration_name
from robot_runtime.collection.classifier import (
    CameraNotThere,
    ClassifierUnusable,
    SuccessClassifier,
    precision_recall,
)
from robot_runtime.collection.episode import EpisodeBroken
from robot_runtime.collection.folder import DiskFull, Folder, FolderBusy, Kind, OtherEpisodes, alone_in
from robot_runtime.collection.targets import Targets
from robot_runtime.mock_cell.variants import UNSEEN, VARIANTS, UnknownVariant, variant

STAY_AT_A_LAB = 5
"""An operator swaps the object when its variant is so many successful episodes ahead."""

EXPECTED = (
    *_rig.FAILURES, EpisodeBroken, OtherEpisodes, FolderBusy, DiskFull, UnknownVariant, _collecting.TooManyFailures,
    CameraNotThere, ClassifierUnusable,
)  # fmt: skip


@dataclass(frozen=True)
class Arguments:
    """What to collect, where, and how much of it."""

    out: Path
    """Folder of the episodes; what is there already counts."""
    task: str = "lift_cube"
    """Name of the task card."""
    cell: str = "mock"
    """Name of a cell under launch/cells, or a cell file."""
    policy: Path | None = None
    """Folder of the policy; the shipped one of the task if not given."""
    episodes: int = 60
    """How many successful episodes, over all variants."""
    variants: str | None = None
    """Objects by name, with commas between; of a mock cell all but the one that is kept unseen, else the task's own."""
    seed: int = 0
    """Decides where the object lies in each episode of a mock cell, and where the arm puts it down."""
    reset: Literal["cell", "scripted"] | None = None
    """Who puts the object in place: the mock `cell`, or a lab's operator; or after a success the arm, `scripted`. If
    not given, a mock cell does it itself, and in a lab the arm where it can."""
    keep_frames: bool = False
    """Also keep the cameras' whole pictures."""
    randomise_visuals: bool = False
    """Another laboratory in every episode of a mock cell: colours, textures, light, things on the table."""
    classifier: Path | None = None
    """Folder of a success classifier that ends an episode once it takes the task for done, and labels it in a lab; of a
    mock cell the truth does, and the report says how often the classifier was right."""
    failures: int = 10
    """So many failed episodes in a row end the run."""
    report: Path | None = None
    """Write the figures to this JSON file."""

    def names(self, cell: Cell, object_name: str) -> list[str]:
        """Of the variants. Raises UnknownVariant, WrongArgument."""
        if self.variants is None:
            return [object_name] if cell.mock is None else [name for name in VARIANTS if name != UNSEEN]
        names = [name.strip() for name in self.variants.split(",")]
        if len(set(names)) < len(names) or not all(names):
            raise WrongArgument(f"--variants {self.variants} names one twice, or none: give names, commas between.")
        if cell.mock is not None:
            for name in names:
                variant(name)
        return names


class Run:
    """One run of the program on one folder."""

    def __init__(self, arguments: Arguments) -> None:
        self.arguments = arguments
        self.began_s = time.monotonic()
        self.folder: Folder | None = None
        self.collector: _collecting.Collector | None = None
        self.classifier: SuccessClassifier | None = None
        self.targets = Targets({})

    def go(self, stack: contextlib.ExitStack) -> None:
        """Check everything, then collect until the targets are met. Raises one of EXPECTED."""
        arguments = self.arguments
        spec, cell = task(arguments.task), load_cell(arguments.cell)
        check_arguments(arguments, cell)
        names = arguments.names(cell, spec.object_name)
        policy = _rig.load_policy(spec, arguments.policy)
        if arguments.classifier is not None:
            self.classifier = SuccessClassifier(arguments.classifier, spec.name)
        assert cell.wrist_camera is not None
        calibration = f"front {calibration_name(cell.camera)}, wrist {calibration_name(cell.wrist_camera)}"
        kind = Kind(spec.name, spec.contract_hash(), f"{_rig.described(policy)}, {policy.weights_name}", cell.name)
        stack.enter_context(alone_in(arguments.out))
        self.folder = Folder(arguments.out, kind)
        self.targets = Targets.shared(arguments.episodes, names, 1 if cell.mock is not None else STAY_AT_A_LAB)
        self.targets.count(self.folder.abouts)
        self.folder.check_room(self.targets.missing, arguments.keep_frames)
        _terminal.checked("folder", f"{arguments.out}  {self.targets}")
        if not self.targets.missing:
            return
        scripted = (arguments.reset or ("cell" if cell.mock is not None else "scripted")) == "scripted"
        extras = _rig.MockExtras(randomise_visuals=arguments.randomise_visuals, puts_down=scripted)
        rig = _rig.open_rig(stack, "collect_rldg", spec, cell, arguments.cell, policy, extras)
        settings = _collecting.Settings(
            arguments.seed, scripted, arguments.keep_frames, arguments.failures, calibration
        )
        self.collector = _collecting.Collector(stack, rig, self.folder, self.targets, kind, settings, self.classifier)
        rig.judge.before_first_motion()
        stack.enter_context(rig.estimator)
        with rig.explained():
            self.collector.collect(lambda: self.write_report("The run was cut off."))

    def report(self, ended_early: str | None) -> dict[str, Any]:
        """Figures of the whole folder, and of this run's loop. ended_early: why the targets are not met, or None."""
        figures = self.targets.report()
        if self.folder is not None:
            figures |= self.folder.report()
            name = self.classifier.name if self.classifier else ""
            known = [about for about in self.folder.abouts if about.success_by == "truth"]
            said = [about for about in known if about.notes.get("classifier_name") == name]
            if said:
                claimed = np.array([about.notes["classifier"] for about in said], bool)
                figures["classifier"] = precision_recall(claimed, np.array([about.success for about in said], bool))
        if self.collector is not None:
            figures |= self.collector.report()
        asked = ("task", "cell", "seed", "randomise_visuals", "keep_frames")
        settings = {name: getattr(self.arguments, name) for name in asked}
        wall_s = round(time.monotonic() - self.began_s, 1)
        return {**figures, "wall_s": wall_s, "ended_early": ended_early, **settings}

    def write_report(self, ended_early: str | None) -> None:
        """After every episode, so that nothing is lost."""
        _reports.write(self.arguments.report, self.report(ended_early))


def check_arguments(arguments: Arguments, cell: Cell) -> None:
    """Raises WrongArgument before anything is started."""
    if arguments.episodes < 1:
        raise WrongArgument("--episodes must be at least 1.")
    if arguments.failures < 1:
        raise WrongArgument("--failures must be at least 1.")
    _rig.check_seed(arguments.seed)
    if cell.wrist_camera is None:
        raise WrongArgument(
            f"Cell '{cell.name}' has no wrist_camera, whose pictures episodes need: add it to the cell file."
        )
    if arguments.randomise_visuals and cell.mock is None:
        raise WrongArgument("--randomise-visuals is for a mock cell; on a lab cell leave it out.")
    _reports.check(arguments.report)


def conclude(run: Run, ended_early: str | None) -> int:
    """Print and write the figures; the exit code they mean."""
    if run.folder is None:
        return 1
    report = run.report(ended_early)
    rate, low, high = (100 * report[name] for name in ("success_rate", "wilson_low", "wilson_high"))
    print(
        f"\n  {run.arguments.out}: {report['episodes']} episodes, {report['successes']} succeeded: {rate:.0f} %"
        f" (95 % interval {low:.0f} to {high:.0f} %)\n  {run.targets}\n"
        f"  frames dropped {report['frames_dropped']} in {report['steps']} steps;"
        f" {report['bytes_per_episode'] / 1e3:.0f} kB per episode; {report['wall_s']:.0f} s"
    )
    run.write_report(ended_early)
    return 0 if ended_early is None else 1


def main() -> int:
    """Exit code."""
    run = Run(tyro.cli(Arguments, description=__doc__))
    return _rig.run_to_the_end(
        "collect_rldg",
        run.go,
        lambda problem: conclude(run, problem),
        EXPECTED,
        "Stopped; the arm is at rest. The same command goes on from here.",
    )


if __name__ == "__main__":
    sys.exit(main())
