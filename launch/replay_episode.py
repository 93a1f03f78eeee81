#!/usr/bin/env python3
"""Play episodes once more: the object where it was, the recorded actions open loop, and how far the tool is from where
it was then.

Exit code 0: it stays within 5 mm. 2: it does not. 1: something is missing, and one sentence says what. 130: stopped.
"""

import _environment

_environment.enter()

import contextlib
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro

import _judges
import _reports
import _rig
import _running
import _terminal
from contract.task_spec import TaskSpec
from contract.tasks import task
from robot_runtime.bridge_client import BridgeClient, BridgeFaulted, BridgeLost
from robot_runtime.cell import load_cell
from robot_runtime.collection import actions, episode
from robot_runtime.collection.episode import Episode, EpisodeBroken
from robot_runtime.collection.playback import distances_mm, off_path_mm, play
from robot_runtime.collection.put_down import holds_something
from robot_runtime.mock_cell.variants import UnknownVariant, variant
from robot_runtime.trials import go_to_start

MOST_MM = 5.0
EXPECTED = (*_rig.FAILURES, EpisodeBroken, UnknownVariant)


@dataclass(frozen=True)
class Arguments:
    """Which episodes, and where."""

    episodes: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Their files, all of one task."""
    cell: str = "mock"
    """Name of a cell under launch/cells, or a cell file."""
    raw: bool = False
    """Send the setpoints of every tick, 20 Hz, instead of the dataset's actions, 10 Hz."""
    report: Path | None = None
    """Write the figures to this JSON file."""


@dataclass(frozen=True)
class Replay:
    """How one episode came out, over its steps.

    path_max_mm: from the tool then to the path it takes now. max_mm, rms_mm: to where it is now at the same time.
    """

    file: str
    steps: int
    path_max_mm: float
    max_mm: float
    rms_mm: float
    clipped: int
    success: bool | None
    success_then: bool | None


def read(files: tuple[Path, ...], raw: bool) -> tuple[TaskSpec, list[Episode]]:
    """The episodes and the one task of all of them. Raises EpisodeBroken, UnknownTask, WrongArgument."""
    if not files:
        raise _rig.WrongArgument("Name the episodes' files.")
    made = [episode.read(file) for file in files]
    spec = task(made[0].about.task)
    for file, each in zip(files, made, strict=True):
        if raw and "stamp" not in each.ticks:
            raise _rig.WrongArgument(f"{file} has no raw signals, as those of a simulator: leave out --raw.")
        if each.about.contract_hash != spec.contract_hash():
            raise _rig.WrongArgument(
                f"{file} is of '{each.about.task}' under contract {each.about.contract_hash[:12]}, '{spec.name}' has"
                f" {spec.contract_hash()[:12]}: replay it by itself, with the version that recorded it."
            )
    return spec, made


def set_up(judge: _judges.Judge, made: Episode, by_seed: bool) -> None:
    """The object where it was when the episode began: by its seed, if a mock cell has it, or where it was seen then."""
    about = made.about
    if by_seed and about.notes.get("placed_by") == "cell" and about.first_label[1] == "truth":
        judge.set_up(about.seed, about.variant)
    else:
        judge.put_back(about.variant, actions.pose_of(made.steps["pose_base_object"][0]))


def replay(stack: contextlib.ExitStack, arguments: Arguments, done: list[Replay]) -> None:
    """All of them, one after the other, added to `done`. Raises one of EXPECTED."""
    spec, episodes = read(arguments.episodes, arguments.raw)
    cell = load_cell(arguments.cell)
    _reports.check(arguments.report)
    if cell.mock is not None:
        for made in episodes:
            variant(made.about.variant)
    stack.enter_context(_running.cell_lock(cell))
    judge = _rig.open_judge(stack, cell, spec, _rig.MockExtras())
    stack.enter_context(_running.bridge(cell, arguments.cell, _terminal.say))
    client = stack.enter_context(BridgeClient(cell, "replay_episode"))
    client.connect(spec.contract_hash(), spec.period_s)
    _terminal.checked("robot", f"{cell.robot.model} at {cell.robot.address}, {client.status().mode}")
    judge.before_first_motion()
    try:
        for file, made in zip(arguments.episodes, episodes, strict=True):
            go_to_start(client, spec, judge.looked_at)
            set_up(judge, made, by_seed=cell.mock is not None)
            played = play(client, spec, made, arguments.raw)
            path_mm, off_mm = off_path_mm(made, played).max(), distances_mm(made, played)
            max_mm, rms_mm = float(off_mm.max()), float(np.sqrt(np.mean(off_mm**2)))
            success = judge.succeeded()
            if holds_something(client):
                judge.before_opening()
            done.append(
                Replay(
                    file.name, len(made), float(path_mm), max_mm, rms_mm, played.clipped, success, made.about.success
                )
            )
            _terminal.say(
                f"  {file.name}  {len(made)} steps  {path_mm:.1f} mm off the path at most; by time {max_mm:.1f} mm at"
                f" most, {rms_mm:.1f} mm rms"
            )
        go_to_start(client, spec, judge.looked_at)
    except (BridgeFaulted, BridgeLost):
        judge.check()
        raise


def report(done: list[Replay]) -> dict[str, Any]:
    """Over all of them."""
    return {
        "episodes": len(done),
        "path_max_mm": max(each.path_max_mm for each in done),
        "max_mm": max(each.max_mm for each in done),
        "rms_mm": float(np.sqrt(np.mean([each.rms_mm**2 for each in done]))),
        "within_mm": MOST_MM,
        "same_outcome": sum(each.success == each.success_then for each in done),
        "per_episode": [asdict(each) for each in done],
    }


def main() -> int:
    """Exit code."""
    arguments = tyro.cli(Arguments, description=__doc__)
    _running.Interrupts()
    done: list[Replay] = []
    code = 0
    try:
        with contextlib.ExitStack() as stack:
            replay(stack, arguments, done)
    except KeyboardInterrupt:
        print("\nStopped; the arm is at rest.", file=sys.stderr)
        code = 130
    except EXPECTED as error:
        print(f"{_terminal.paint('replay_episode:', _terminal.RED)} {error}", file=sys.stderr)
        code = 1
    if not done:
        return code
    figures = report(done) | {"raw": arguments.raw}
    print(
        f"\n  {figures['episodes']} episodes: {figures['path_max_mm']:.1f} mm off the path at most; by time"
        f" {figures['max_mm']:.1f} mm at most, {figures['rms_mm']:.1f} mm rms;"
        f" {figures['same_outcome']} came out as then"
    )
    try:
        _reports.write(arguments.report, figures)
    except _reports.CannotWrite as error:
        print(f"{_terminal.paint('replay_episode:', _terminal.RED)} {error}", file=sys.stderr)
        return 1
    return code or (0 if figures["path_max_mm"] <= MOST_MM else 2)


if __name__ == "__main__":
    sys.exit(main())
