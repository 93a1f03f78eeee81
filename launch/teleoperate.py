#!/usr/bin/env python3
"""Drive the arm by keyboard or SpaceMouse, or overrule a policy while it drives, and keep the episodes.

Touch the device and the arm is yours; let go, and after half a second the policy has it again, or it stays where it is.
Every episode counts, whether it succeeded or not. Exit code 0: all are recorded. 1: something is missing, and one
sentence says what. 130: stopped; the arm is at rest, the running episode is not kept.
"""

import _environment

_environment.enter()

import contextlib
import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tyro

import _collecting
import _reports
import _rig
import _terminal
from _rig import WrongArgument
from contract.task_spec import TaskSpec
from contract.tasks import task
from robot_runtime.cell import Cell, load_cell
from robot_runtime.cell_cameras import calibration_name
from robot_runtime.collection.episode import Episode, EpisodeBroken
from robot_runtime.collection.folder import DiskFull, Folder, FolderBusy, Kind, OtherEpisodes, alone_in
from robot_runtime.collection.targets import Tally, Targets
from robot_runtime.loop import Tick
from robot_runtime.mock_cell.variants import NOMINAL, UnknownVariant, variant
from robot_runtime.policy import Actor
from robot_runtime.teleoperation.clumsy import ClumsyHand
from robot_runtime.teleoperation.device import Device, DeviceMissing
from robot_runtime.teleoperation.intervention import Intervention, Still, marked_steps
from robot_runtime.teleoperation.keyboard import HELP, Keyboard
from robot_runtime.teleoperation.spacemouse import SpaceMouse
from robot_runtime.trials import Trial, TrialRunner

A_PERSONS_S = 60.0
"""How long a person may take over an episode."""

EXPECTED = (*_rig.FAILURES, EpisodeBroken, OtherEpisodes, FolderBusy, DiskFull, UnknownVariant, DeviceMissing)


@dataclass(frozen=True)
class Arguments:
    """With what to drive, what to overrule, and where to keep it."""

    out: Path
    """Folder of the episodes; what is there already counts."""
    device: Literal["keyboard", "spacemouse", "clumsy"] = "keyboard"
    """`clumsy` is no person: it spoils what the policy does, for failures that a success classifier learns from."""
    task: str = "lift_cube"
    """Name of the task card."""
    cell: str = "mock"
    """Name of a cell under launch/cells, or a cell file."""
    policy: Path | None = None
    """Folder of a policy to overrule; without one the arm stays where it is until the device is touched."""
    episodes: int = 1
    """How many episodes, successful or not."""
    variant: str | None = None
    """The object by name; the mock cell's usual one if not given."""
    speed: float = 0.5
    """Share of the task card's full speed at full deflection, or while a key is held."""
    seconds: float | None = None
    """An episode is over after so long, unless Enter has ended it or its object is held high and still: if not given,
    after a minute, or with the clumsy hand after the task card's time."""
    seed: int = 0
    """Decides where the object lies in each episode of a mock cell."""
    keep_frames: bool = False
    """Also keep the cameras' whole pictures."""
    randomise_visuals: bool = False
    """Another laboratory in every episode of a mock cell: colours, textures, light, things on the table."""
    report: Path | None = None
    """Write the figures to this JSON file."""


class Tried(Tally):
    """Every episode counts."""

    @property
    def missing(self) -> int:
        """Episodes until there are enough."""
        return max(0, self.wanted - self.episodes)

    def __str__(self) -> str:
        return f"{self.episodes}/{self.wanted}, {self.successes} succeeded"


class Driver(_collecting.Collector):
    """Collects with a hand on the device."""

    def attend(
        self,
        runner: TrialRunner,
        hand: Intervention,
        keyboard: Keyboard | None,
        clumsy: ClumsyHand | None,
        seconds: float | None,
    ) -> None:
        """What acts instead of the policy alone. keyboard: open while the arm moves. seconds: as in Arguments."""
        self._runner, self._hand, self._keyboard, self._clumsy = runner, hand, keyboard, clumsy
        card_s = runner.spec.horizon * runner.spec.period_s
        self._extra_s = (seconds or (A_PERSONS_S if clumsy is None else card_s)) - card_s

    def _run(self, number: int, seed: int, show: Callable[[Tick], bool]) -> tuple[Trial, bool]:
        hand = self._hand

        def watch(tick: Tick) -> bool:
            return show(tick) or hand.ends

        if self._clumsy is not None:
            self._clumsy.start(seed)
        with self._keyboard or contextlib.nullcontext():
            hand.start()
            return self._runner.run(number, seed, watch, lambda: hand.stops, self._extra_s), False

    def _noted(self, episode: Episode) -> Episode:
        notes = {**episode.about.notes, "marks": marked_steps(self._hand.marks, episode.steps["stamp"])}
        if self._clumsy is not None:
            notes["spoilt"] = f"synthetic: {self._clumsy.way}"
        return replace(episode, about=replace(episode.about, notes=notes))


class Run:
    """One run of the program on one folder."""

    def __init__(self, arguments: Arguments) -> None:
        self.arguments = arguments
        self.began_s = time.monotonic()
        self.folder: Folder | None = None
        self.targets = Targets({})

    def go(self, stack: contextlib.ExitStack) -> None:
        """Check everything, then drive until all episodes are there. Raises one of EXPECTED."""
        arguments = self.arguments
        spec, cell = task(arguments.task), load_cell(arguments.cell)
        check_arguments(arguments, cell)
        assert cell.wrist_camera is not None
        calibration = f"front {calibration_name(cell.camera)}, wrist {calibration_name(cell.wrist_camera)}"
        down = np.array(spec.start_quaternion)
        keyboard = open_keyboard(arguments, down)
        mouse = [stack.enter_context(SpaceMouse(arguments.speed, down))] if arguments.device == "spacemouse" else []
        actor, name = choose_actor(arguments, spec)
        kind = Kind(spec.name, spec.contract_hash(), name, cell.name)
        stack.enter_context(alone_in(arguments.out))
        self.folder = Folder(arguments.out, kind)
        thing = arguments.variant or (spec.object_name if cell.mock is None else NOMINAL)
        self.targets = Targets({thing: Tried(arguments.episodes)})
        self.targets.count(self.folder.abouts)
        self.folder.check_room(self.targets.missing, arguments.keep_frames)
        _terminal.checked("folder", f"{arguments.out}  {self.targets}")
        if not self.targets.missing:
            return
        extras = _rig.MockExtras(randomise_visuals=arguments.randomise_visuals)
        rig = _rig.open_rig(stack, "teleoperate", spec, cell, arguments.cell, actor, extras)
        settings = _collecting.Settings(
            arguments.seed, False, arguments.keep_frames, failures=sys.maxsize, calibration=calibration
        )
        driver = Driver(stack, rig, self.folder, self.targets, kind, settings)
        clumsy = ClumsyHand(spec, rig.client.latest) if arguments.device == "clumsy" else None
        devices: list[Device] = [*mouse, *([keyboard] if keyboard else []), *([clumsy] if clumsy else [])]
        hand = Intervention(actor, devices, rig.client.latest)
        # Nobody who drives by eye is stopped because the detector does not see what they see.
        patient = spec if arguments.policy else replace(spec, max_object_age_s=math.inf)
        runner = TrialRunner(rig.client, rig.estimator, patient, hand, rig.judge.looked_at)
        driver.attend(runner, hand, keyboard, clumsy, arguments.seconds)
        rig.judge.before_first_motion()
        for line in HELP if keyboard else ():
            _terminal.say(f"  {line}")
        stack.enter_context(rig.estimator)
        with rig.explained():
            driver.collect(lambda: self.write_report("The run was cut off."))

    def report(self, ended_early: str | None) -> dict[str, Any]:
        """Figures of the whole folder. ended_early: why not all episodes are there, or None."""
        figures = self.targets.report() | (self.folder.report() if self.folder is not None else {})
        asked = ("task", "cell", "device", "speed", "seed", "randomise_visuals")
        settings = {name: getattr(self.arguments, name) for name in asked}
        wall_s = round(time.monotonic() - self.began_s, 1)
        return {**figures, "wall_s": wall_s, "ended_early": ended_early, **settings}

    def write_report(self, ended_early: str | None) -> None:
        """After every episode, so that nothing is lost."""
        _reports.write(self.arguments.report, self.report(ended_early))


def choose_actor(arguments: Arguments, spec: TaskSpec) -> tuple[Actor, str]:
    """Who drives until the device is touched, and what episodes say of who drove. Raises artifact.ArtifactError."""
    by = "a clumsy synthetic hand" if arguments.device == "clumsy" else f"a person with the {arguments.device}"
    if arguments.policy is None and arguments.device != "clumsy":
        return Still(), by
    policy = _rig.load_policy(spec, arguments.policy)
    return policy, f"{_rig.described(policy)}, {policy.weights_name}, overruled by {by}"


def open_keyboard(arguments: Arguments, hand: np.ndarray) -> Keyboard | None:
    """There beside every other device, to end and to stop; only the clumsy hand does without. Raises DeviceMissing."""
    if arguments.device == "clumsy" and not sys.stdin.isatty():
        return None
    keyboard = Keyboard(arguments.speed, hand)
    with keyboard:
        return keyboard


def check_arguments(arguments: Arguments, cell: Cell) -> None:
    """Raises WrongArgument, UnknownVariant before anything is started."""
    if arguments.episodes < 1 or (arguments.seconds is not None and not 1.0 <= arguments.seconds < math.inf):
        raise WrongArgument("--episodes and --seconds must be at least 1.")
    _rig.check_seed(arguments.seed)
    if not 0.0 < arguments.speed <= 1.0:
        raise WrongArgument(f"--speed is {arguments.speed:g}; it is a share of full speed: above 0, 1 at most.")
    if cell.wrist_camera is None:
        raise WrongArgument(
            f"Cell '{cell.name}' has no wrist_camera, whose pictures episodes need: add it to the cell file."
        )
    if cell.mock is None:
        if arguments.randomise_visuals or arguments.device == "clumsy":
            raise WrongArgument("--randomise-visuals and --device clumsy are for a mock cell: leave them out.")
    elif arguments.variant is not None:
        variant(arguments.variant)
    _reports.check(arguments.report)


def conclude(run: Run, ended_early: str | None) -> int:
    """Print and write the figures; the exit code they mean."""
    if run.folder is None:
        return 1
    report = run.report(ended_early)
    print(f"\n  {run.arguments.out}: {report['episodes']} episodes, {report['successes']} succeeded")
    run.write_report(ended_early)
    return 0 if ended_early is None else 1


def main() -> int:
    """Exit code."""
    run = Run(tyro.cli(Arguments, description=__doc__))
    return _rig.run_to_the_end(
        "teleoperate",
        run.go,
        lambda problem: conclude(run, problem),
        EXPECTED,
        "Stopped; the arm is at rest. The same command goes on from here.",
    )


if __name__ == "__main__":
    sys.exit(main())
