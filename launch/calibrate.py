#!/usr/bin/env python3
"""Find out where a camera is: the arm shows it a board (or shows the board to it) from twenty sides.

Clamp the printed board between the fingers, upright, its face to the tool's +y side (--mount fixed), or lay it on the
table under the hand (--mount wrist). Ctrl-C stops the arm; the same command then goes on where it stopped.
Exit code 0: the calibration was written, or agrees. 1: not, and one sentence says why. 130: stopped.
"""

import _environment

_environment.enter()

import contextlib
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import _mock_board
import tyro

import _reports
import _running
import _terminal
from calibration import hand_eye, store
from calibration.board import Board, BoardError, UnknownBoard
from calibration.hand_eye import Mount
from calibration.samples import BrokenSample, OtherCollection
from calibration.surroundings import NoDepth
from calibration.tour import POSES, NoTour
from contract.tasks import LIFT_CUBE
from perception.camera import CameraMissing, CameraStalled, WrongCamera
from perception.realsense import open_camera
from robot_runtime import calibrating
from robot_runtime.bridge_client import BridgeClient, BridgeFaulted, BridgeLost, BridgeRefused
from robot_runtime.calibration_task import NoSuchCamera, Task, eye_of
from robot_runtime.cell import Cell, CellError, load_cell
from robot_runtime.mock_cell.cell_process import MockCell, MockCellAddresses, MockCellFailed, PortInUse
from robot_runtime.mock_cell.scoring import ScoringClient, ScoringUnreachable
from robot_runtime.wire import KeysUnusable, WireError


class WrongArgument(ValueError):
    """An argument cannot be meant."""


EXPECTED = (
    CellError, _running.CellBusy, _running.BridgeDidNotStart, MockCellFailed, PortInUse, ScoringUnreachable,
    KeysUnusable, WireError, BridgeLost, BridgeRefused, BridgeFaulted, CameraMissing, CameraStalled, WrongCamera,
    BoardError, UnknownBoard, NoTour, NoDepth, OtherCollection, BrokenSample, hand_eye.CalibrationFailed,
    store.CalibrationError, calibrating.CameraMoved, NoSuchCamera, WrongArgument,
    _reports.CannotWrite,
)  # fmt: skip


@dataclass(frozen=True)
class Arguments:
    """Which camera, with which board, and where the result goes."""

    cell: str = "mock"
    """Name of a cell under launch/cells, or a cell file."""
    mount: Mount = "fixed"
    """Which of its cameras: the `fixed` one, or the one on the `wrist`."""
    out: Path | None = None
    """The calibration's file; name it in the cell file afterwards. Samples and pictures go into a folder beside it."""
    board: str = str(Board())
    """Kind, columns x rows, millimetres from square to square, millimetres of a tag."""
    samples: int = POSES
    """Poses to drive to, 15 to 25."""
    refine_intrinsics: bool = False
    """Find fx, fy, cx and cy anew, too; the check tells whether that is needed."""
    print_board: Path | None = None
    """Only write the board to this PDF, to scale."""
    check: Path | None = None
    """Only look once whether this calibration still holds: the board must be where it was then."""
    seed: int = 0
    """Of the tour, and of how the mock cell's board is clamped."""
    report: Path | None = None
    """Write the figures to this JSON file."""


def check_arguments(arguments: Arguments) -> None:
    """Raises WrongArgument before anything is started."""
    if not 15 <= arguments.samples <= 25:
        raise WrongArgument("--samples must be 15 to 25.")
    if arguments.out is None and arguments.check is None:
        raise WrongArgument("Name the file to write with --out, or the one to look at with --check.")


def folder_of(out: Path) -> Path:
    """Where the raw samples of that calibration are."""
    return out.with_name(f"{out.stem}_samples")


def run(arguments: Arguments) -> dict[str, Any]:
    """Calibrate or check; the figures. Raises one of EXPECTED."""
    cell, board = load_cell(arguments.cell), Board.parse(arguments.board)
    eye = eye_of(cell, arguments.mount)
    target = arguments.check or arguments.out
    assert target is not None
    task = Task(
        cell, arguments.mount, board, folder_of(target), arguments.samples, arguments.seed, arguments.refine_intrinsics
    )
    known = None
    if arguments.check is not None:
        known = store.load(arguments.check, arguments.mount, eye.serial, eye.width, eye.height)
    with contextlib.ExitStack() as stack:
        stack.enter_context(_running.cell_lock(cell))
        start_mock(stack, cell, task)
        camera = stack.enter_context(open_camera(eye.address, eye.serial, eye.width, eye.height, eye.rate_hz))
        _terminal.checked("camera", f"{eye.serial} at {eye.address}, {eye.width}x{eye.height}, {eye.rate_hz} Hz")
        stack.enter_context(_running.bridge(cell, arguments.cell, _terminal.say))
        client = stack.enter_context(BridgeClient(cell, "calibrate"))
        client.connect(LIFT_CUBE.contract_hash(), LIFT_CUBE.period_s)
        _terminal.checked("robot", f"{cell.robot.model} at {cell.robot.address}, {client.status().mode}")
        if known is not None:
            off_mm = calibrating.check(client, camera, task, known, _terminal.say)
            _terminal.say(
                f"\n  The board is seen {off_mm:.1f} mm from where {arguments.check} puts it: it still holds."
            )
            return {"disagreement_mm": off_mm}
        assert arguments.out is not None
        found = calibrating.calibrate(client, camera, task, _terminal.say)
    store.save(arguments.out, found)
    return conclude(found, task, arguments.out)


def start_mock(stack: contextlib.ExitStack, cell: Cell, task: Task) -> None:
    """A mock cell, if it is one, with the board in place."""
    if cell.mock is None:
        return
    addresses = MockCellAddresses.of_cell(cell)
    stack.enter_context(MockCell(addresses, cell.mock.seed, None, cell.camera.serial))
    scoring = stack.enter_context(ScoringClient(addresses.scoring))
    _mock_board.show(scoring, task.mount, task.board, task.seed)
    _terminal.checked("mock cell", f"robot {addresses.robot}, board {task.board}")


def conclude(found: store.Calibration, task: Task, out: Path) -> dict[str, Any]:
    """Say what was found, draw it; the figures. Raises store.InaccurateCalibration."""
    from _calibration_pictures import draw

    pictures = draw(found, task, out)
    position = ", ".join(f"{x:.4f}" for x in found.T_reference_camera.position)
    used, delay = sum(found.agrees), "not measured" if found.delay_s is None else f"{1e3 * found.delay_s:.0f} ms"
    table = (
        "not seen"
        if found.table is None
        else f"{1e3 * found.table.height_m:+.1f} mm, rms {1e3 * found.table.rms_m:.1f}"
    )
    lens = (
        "fit" if found.intrinsics.ok else f"are off by {found.intrinsics.change_px.round(1).tolist()} px (fx fy cx cy)"
    )
    print(
        f"\n  camera at {position} m in the {'base' if task.mount == 'fixed' else 'tool'} frame"
        f"\n  held-out error {found.held_out_mm:.2f} mm, {found.held_out_px:.2f} px;"
        f" {used} of {len(found.agrees)} samples agree"
        f"\n  position known to {found.sigma_mm:.2f} mm (standard deviation); its intrinsics {lens}"
        f"\n  table at {table}; camera delay {delay}"
        f"\n  written to {out}; pictures {', '.join(str(picture) for picture in pictures)}"
    )
    store.check_accuracy(found, str(out))
    return {
        "held_out_mm": found.held_out_mm, "held_out_px": found.held_out_px, "sigma_mm": found.sigma_mm,
        "samples": len(found.agrees), "agree": used, "delay_s": found.delay_s,
        "table_height_m": None if found.table is None else found.table.height_m,
    }  # fmt: skip


def main() -> int:
    """Exit code."""
    arguments = tyro.cli(Arguments, description=__doc__)
    _running.Interrupts()
    began_s = time.monotonic()
    try:
        if arguments.print_board is not None:
            board = Board.parse(arguments.board)
            page = board.print_pdf(arguments.print_board)
            print(f"{arguments.print_board}: {board} on {page}. Print at 100 %, check the 100 mm line, glue it flat.")
            return 0
        check_arguments(arguments)
        _reports.check(arguments.report)
        figures = run(arguments) | {"wall_s": round(time.monotonic() - began_s, 1)}
        _reports.write(arguments.report, figures)
    except KeyboardInterrupt:
        print("\nStopped; the arm is at rest. The same command goes on from here.", file=sys.stderr)
        return 130
    except EXPECTED as error:
        print(f"{_terminal.paint('calibrate:', _terminal.RED)} {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
