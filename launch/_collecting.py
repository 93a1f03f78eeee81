"""Episode after episode: put the object in place, run the policy, record, judge, write, until enough have succeeded."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Literal

import numpy as np

import _rig
import _terminal
from perception.camera import Frame
from perception.realsense import RealSenseCamera
from robot_runtime.bridge_client import BridgeFaulted, BridgeRefused
from robot_runtime.collection.classifier import CameraNotThere, StopSignal, SuccessClassifier
from robot_runtime.collection.episode import About, Episode
from robot_runtime.collection.film import Eye
from robot_runtime.collection.folder import Folder, Kind
from robot_runtime.collection.put_down import holds_something, put_down, random_place
from robot_runtime.collection.recorder import Recorder
from robot_runtime.collection.targets import Targets
from robot_runtime.loop import LoopStatistics, Tick
from robot_runtime.trials import NothingInSight, Trial, TrialRunner

PlacedBy = Literal["cell", "arm"]

EMPTY_ATTEMPTS = 5
"""So many in a row that leave nothing to keep end the run."""


class TooManyFailures(RuntimeError):
    """The policy does not do it here. Look at its last episodes, then start the same command again."""


@dataclass(frozen=True)
class Settings:
    """seed: of the run. scripted: the arm puts down what it holds. failures: so many in a row end the run.

    calibration: which of the cameras, in words.
    """

    seed: int
    scripted: bool
    keep_frames: bool
    failures: int
    calibration: str


class Collector:
    """One folder, one rig."""

    def __init__(
        self,
        stack: contextlib.ExitStack,
        rig: _rig.Rig,
        folder: Folder,
        targets: Targets,
        kind: Kind,
        settings: Settings,
        classifier: SuccessClassifier | None = None,
    ) -> None:
        """Starts the wrist camera, which the cell has. Raises CameraMissing, WrongCamera, CameraNotThere.

        classifier: ends an episode once it takes the task for done, and labels it where nobody knows the truth.
        """
        front, wrist = rig.cell.camera, rig.cell.wrist_camera
        assert wrist is not None
        self._classifier = classifier
        if classifier is not None and not {"wrist", "front"}.issuperset(classifier.card.cameras):
            raise CameraNotThere(
                f"The classifier looks through {', '.join(classifier.card.cameras)}; this cell has wrist and front:"
                " train one for these."
            )
        wrist_camera = stack.enter_context(_rig.open_eye(wrist, name="wrist"))
        self._eyes = [_eye("wrist", rig, wrist_camera, wrist.clock), _eye("front", rig, rig.camera, front.clock)]
        self._rig, self._folder, self._targets, self._settings = rig, folder, targets, settings
        self._runner = TrialRunner(rig.client, rig.estimator, rig.spec, rig.policy, rig.judge.looked_at)
        self._loop = LoopStatistics()
        self._variant: str | None = None
        self._carries = False
        self._empty = 0
        judged_by = "truth" if rig.cell.mock is not None else "classifier" if classifier else "operator"
        self._about = About(
            task=kind.task, instruction=rig.spec.instruction, variant="", success=None,
            success_by=judged_by, contract_hash=kind.contract_hash,
            calibration=settings.calibration, policy=kind.policy, cell=rig.cell.name, began="", seed=settings.seed,
            duration_s=0.0,
            cameras={"wrist": f"{wrist.serial} {wrist_camera.mode}", "front": f"{front.serial} {rig.camera.mode}"},
        )  # fmt: skip

    def collect(self, done_one: Callable[[], None]) -> None:
        """Until all targets are met; the arm ends at its start pose. done_one: called after every episode."""
        blind, number = 0, self._folder.next_number
        while (variant := self._targets.next()) is not None:
            self._folder.check_room(self._targets.missing, self._settings.keep_frames)
            seed = self._settings.seed * _rig.SEEDS_PER_RUN + number
            try:
                placed_by = self._put_in_place(seed, variant)
            except NothingInSight as error:
                blind += 1
                if blind == _rig.BLIND_TRIALS:
                    raise
                _terminal.say(f"  {error}")
                number += 1
                continue
            blind = 0
            pause = self._one(number, seed, variant, placed_by)
            number += 1
            done_one()
            if self._targets.failures_in_a_row >= self._settings.failures:
                raise TooManyFailures(f"{self._targets.failures_in_a_row} failures in a row. {TooManyFailures.__doc__}")
            if self._empty >= EMPTY_ATTEMPTS:
                raise TooManyFailures(
                    f"{self._empty} attempts in a row ended before their first step. Look at the arm."
                )
            if pause:
                _terminal.ask("Paused, the arm is at rest. Enter goes on, Ctrl-C ends.")
        self._go_home(self._settings.seed * _rig.SEEDS_PER_RUN + number)

    def report(self) -> dict[str, Any]:
        """Of this run."""
        loop = self._loop
        return {
            "loop_jitter_ms": loop.jitter_ms(), "ticks": loop.ticks, "skipped_ticks": loop.skipped_ticks,
            "clipped": loop.clipped, "refused": loop.refused,
        }  # fmt: skip

    def _one(self, number: int, seed: int, variant: str, placed_by: PlacedBy) -> bool:
        """One episode, from the start pose to its file; whether a pause was asked for."""
        recorder = Recorder(self._eyes, self._rig.spec.rate_hz, self._settings.keep_frames)
        live = _rig.LiveLine(f"episode {number:>3}  {variant}")
        done = self._done(recorder)

        def show(tick: Tick) -> bool:
            recorder.watch(tick)
            live(tick)
            self._rig.judge.disturb(tick)
            return done(tick)

        began = datetime.now(UTC).isoformat(timespec="seconds")
        with recorder:
            trial, pause = self._run(number, seed, show)
        episode = recorder.episode(self._about) if recorder.steps else None
        said, by_classifier = None, dict[str, Any]()
        if self._classifier and episode:
            said = self._classifier.succeeded(episode)
            by_classifier = {"classifier": said, "classifier_name": self._classifier.name}
        trial = self._rig.judge.judged(trial, said)
        self._loop.add(trial.loop)
        if episode is not None:
            about = replace(
                self._about,
                began=began,
                seed=seed,
                variant=variant,
                **_outcome(trial, recorder, placed_by, by_classifier),
            )
            self._folder.add(number, self._noted(replace(episode, about=about)))
            self._targets.add(variant, bool(trial.success), trial.duration_s)
            self._empty = 0
        else:
            self._empty += 1
        self._carries = bool(trial.success) and self._settings.scripted and holds_something(self._rig.client)
        self._tell(number, variant, trial, recorder.steps)
        return pause

    def _done(self, recorder: Recorder) -> Callable[[Tick], bool]:
        """Whether an episode is over by what the classifier has seen until its last step, which is then whole."""
        if self._classifier is None:
            return lambda tick: False
        signal, spec, seen = StopSignal(self._classifier), self._rig.spec, False

        def done(tick: Tick) -> bool:
            nonlocal seen
            if seen or not recorder.begins:
                return seen and recorder.begins
            still = float(np.linalg.norm(tick.state.v_base_tcp[:3])) < spec.still_speed_m_s
            seen = signal(recorder.newest(), still)
            return False

        return done

    def _run(self, number: int, seed: int, show: Callable[[Tick], bool]) -> tuple[Trial, bool]:
        """One trial, and whether a pause was asked for."""
        with _terminal.StopKey() if sys.stdin.isatty() else contextlib.nullcontext() as key:
            trial = self._runner.run(number, seed, show, key or (lambda: False))
        return trial, key is not None and key.pause

    def _noted(self, episode: Episode) -> Episode:
        """With what only another collector knows of it."""
        return episode

    def _put_in_place(self, seed: int, variant: str) -> PlacedBy:
        """The arm at its start pose, the object at rest in sight. Raises NothingInSight."""
        rig, runner = self._rig, self._runner
        self._go_home(seed)
        if self._settings.scripted and variant == self._variant:
            rig.judge.begin(seed)
            rig.estimator.tracker.forget()
            with contextlib.suppress(NothingInSight):
                runner.wait_for_object()
                return "arm"
        rig.judge.set_up(seed, variant)
        self._variant = variant
        rig.estimator.tracker.forget()
        runner.wait_for_object()
        return "cell"

    def _go_home(self, seed: int) -> None:
        """What the hand holds is put down first. At a terminal Enter or space stops the arm and ends the run."""
        rig = self._rig
        with _terminal.StopKey(interrupts=True) if sys.stdin.isatty() else contextlib.nullcontext():
            if self._carries:
                # A fault is cleared on the way to the start, once the operator was asked; the object lies somewhere.
                try:
                    put_down(rig.client, rig.estimator.latest(rig.client.latest()), random_place(rig.spec, seed))
                except BridgeFaulted:
                    pass
                except BridgeRefused:
                    rig.client.stop()
                    rig.judge.before_opening()
                self._carries = False
            self._runner.go_to_start()

    def _tell(self, number: int, variant: str, trial: Trial, steps: int) -> None:
        colour, word = (_terminal.GREEN, "lifted") if trial.success else (_terminal.RED, "failed")
        _terminal.say(
            f"  episode {number:>3}  {_terminal.paint(word, colour)}  {variant}  {trial.duration_s:4.1f} s"
            f"  {steps} steps  |  {self._targets}"
            f"  {trial.failure or ''}"
        )


def _eye(name: str, rig: _rig.Rig, camera: RealSenseCamera, clock: Literal["host", "robot"]) -> Eye:
    def stamp_of(frame: Frame) -> float | None:
        return rig.estimator.robot_clock.stamp_of(frame, clock)

    return Eye(name, camera, stamp_of, 1.0 / camera.mode.rate_hz)


def _outcome(trial: Trial, recorder: Recorder, placed_by: PlacedBy, more: dict[str, Any]) -> dict[str, Any]:
    """What an episode's About says of its trial. more: notes."""
    timings = {
        "steps": recorder.steps, "ticks": trial.loop.ticks, "skipped_ticks": trial.loop.skipped_ticks,
        "loop_jitter_ms": trial.loop.jitter_ms(), **recorder.timings(),
    }  # fmt: skip
    notes = {
        "placed_by": placed_by, "failure": trial.failure, "faults": trial.faults, "clipped": trial.loop.clipped,
        "believed_success": trial.believed_success, **more,
    }  # fmt: skip
    return {"success": trial.success, "duration_s": trial.duration_s, "timings": timings, "notes": notes}
