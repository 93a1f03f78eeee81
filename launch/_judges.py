"""Who sets up a trial and says whether it succeeded: the mock cell's ground truth, or the operator of a lab cell."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from typing import Protocol

import _terminal
from _pushes import Pushes
from contract.poses import Pose, yaw_of
from contract.task_spec import TaskSpec
from robot_runtime.loop import Tick
from robot_runtime.mock_cell.cell_process import MockCell
from robot_runtime.mock_cell.scoring import ScoringClient
from robot_runtime.trials import Trial
from safety.faults import LatchedFault


class NoTerminal(RuntimeError):
    """A lab cell needs an operator at a terminal, to start and to stop the arm."""


class Judge(Protocol):
    """One per run."""

    def before_first_motion(self) -> None:
        """Returns when the arm may move."""

    def looked_at(self, fault: LatchedFault) -> bool:
        """Before that fault is cleared and the arm goes on: whether a person has looked at it."""

    def set_up(self, seed: int, variant: str | None = None) -> None:
        """The arm waits at its start pose: put the object, or that variant of it, somewhere in the work area."""

    def put_back(self, variant: str, pose_base_object: Pose) -> None:
        """The arm waits at its start pose: put that variant of the object there."""

    def begin(self, seed: int) -> None:
        """The arm waits at its start pose and the object lies where the trial is to begin."""

    def watching(self) -> contextlib.AbstractContextManager[Callable[[], bool]]:
        """For the time of one trial: whether somebody asks for a stop."""

    def disturb(self, tick: Tick) -> None:
        """After every tick of a trial: whatever this side does to make it harder."""

    def judged(self, trial: Trial, said: bool | None = None) -> Trial:
        """The trial with its verdict; afterwards the gripper may open. said: by a classifier, to spare a person."""

    def succeeded(self) -> bool:
        """Whether the task has been done since the set-up."""

    def before_opening(self) -> None:
        """Returns when the gripper may let go of what it holds."""

    def check(self) -> None:
        """After trouble: raises what explains it, if this side knows."""


class GroundTruth:
    """The mock cell's scoring channel."""

    def __init__(self, mock: MockCell, scoring: ScoringClient, randomise_visuals: bool, pushes: int) -> None:
        """randomise_visuals: another laboratory in every trial. pushes: so many in every trial."""
        self._mock, self._scoring = mock, scoring
        self._randomise_visuals, self._pushes = randomise_visuals, Pushes(scoring, pushes)

    def before_first_motion(self) -> None:
        """Nobody can be hurt."""

    def looked_at(self, fault: LatchedFault) -> bool:
        """Nobody is there."""
        return False

    def set_up(self, seed: int, variant: str | None = None) -> None:
        """Teleports the cube."""
        if variant is not None:
            self._scoring.disturb("variant", kind=variant)
        self._scoring.reset(seed)
        self._prepare(seed)

    def put_back(self, variant: str, pose_base_object: Pose) -> None:
        """Teleports the cube."""
        self._scoring.disturb("variant", kind=variant)
        x, y, _ = map(float, pose_base_object.position)
        self._scoring.disturb("place_object", x=x, y=y, yaw_rad=float(yaw_of(pose_base_object.quaternion)))
        self._scoring.begin()

    def begin(self, seed: int) -> None:
        """Only what happens from now on counts."""
        self._prepare(seed)
        self._scoring.begin()

    def _prepare(self, seed: int) -> None:
        if self._randomise_visuals:
            self._scoring.disturb("looks", seed=seed)
        self._pushes.begin(seed)

    def watching(self) -> contextlib.AbstractContextManager[Callable[[], bool]]:
        """Nobody asks."""
        return contextlib.nullcontext(lambda: False)

    def disturb(self, tick: Tick) -> None:
        """Pushes, if asked for."""
        self._pushes.watch(tick)

    def judged(self, trial: Trial, said: bool | None = None) -> Trial:
        """What happened in truth, whatever was said."""
        truth = self._scoring.truth()
        return trial.judged(truth.success, truth.success_stamp)

    def succeeded(self) -> bool:
        """In truth."""
        return self._scoring.truth().success

    def before_opening(self) -> None:
        """Nothing breaks."""

    def check(self) -> None:
        """Whether the mock cell still runs. Raises MockCellFailed."""
        self._mock.check()


class Operator:
    """Whoever sits at the terminal with the stop button in reach."""

    def __init__(self, spec: TaskSpec, puts_down: bool = False) -> None:
        """puts_down: after a success the arm itself puts the object down."""
        if not sys.stdin.isatty():
            raise NoTerminal("A lab cell needs an operator: start this program from a terminal, not from a script.")
        self._object = spec.object_name
        self._instruction = spec.instruction
        self._puts_down = puts_down
        self._within_reach = False

    def before_first_motion(self) -> None:
        """Asks once."""
        _terminal.ask(
            "The arm will open its gripper, rise and drive to the start pose. Work area clear, stop button in reach?"
            " Enter starts, Ctrl-C leaves."
        )

    def looked_at(self, fault: LatchedFault) -> bool:
        """Asks; Ctrl-C leaves the fault as it is."""
        _terminal.ask(
            f"{fault.cause} Look at the arm and remove the cause. Enter clears the fault; the gripper opens and the arm"
            " drives to the start pose. Ctrl-C leaves."
        )
        return True

    def set_up(self, seed: int, variant: str | None = None) -> None:
        """The seed means nothing to a person."""
        what = variant or self._object
        _terminal.ask(f"Put the {what} anywhere in the work area and step back. Enter starts the trial.")
        self._within_reach = False

    def put_back(self, variant: str, pose_base_object: Pose) -> None:
        """Asks, with where that is."""
        x, y, _ = 100 * pose_base_object.position
        _terminal.ask(f"Put the {variant} {x:.1f} cm before the base and {y:.1f} cm to its left. Enter starts.")

    def begin(self, seed: int) -> None:
        """Asks whoever may still hold the object."""
        if self._within_reach:
            _terminal.ask(f"Leave the {self._object} where it is and step back. Enter starts the trial.")
        self._within_reach = False

    def watching(self) -> contextlib.AbstractContextManager[Callable[[], bool]]:
        """Enter or space."""
        return _terminal.StopKey()

    def disturb(self, tick: Tick) -> None:
        """Does it by hand."""

    def judged(self, trial: Trial, said: bool | None = None) -> Trial:
        """Asks where nothing was said, and warns before the gripper opens."""
        success = self.succeeded() if said is None else said
        if not (self._puts_down and success):
            self.before_opening()
        return trial.judged(success)

    def before_opening(self) -> None:
        """Warns."""
        _terminal.ask(
            f"The gripper opens now, then the arm drives away: hold the {self._object} or let it fall, and mind the"
            " arm. Enter goes on."
        )
        self._within_reach = True

    def succeeded(self) -> bool:
        """Asks."""
        answer = ""
        while answer not in ("y", "n"):
            answer = _terminal.ask(f"“{self._instruction}”: did it succeed? [y/n]")
        return answer == "y"

    def check(self) -> None:
        """The operator sees for themselves."""
