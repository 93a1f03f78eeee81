"""For a run that begins with a calibration of the fixed camera: collect, solve, and say how good it is."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import _mock_board
import numpy as np

import _terminal
from calibration import hand_eye, store
from calibration.board import Board, BoardError
from calibration.surroundings import NoDepth
from calibration.tour import NoTour
from contract.poses import Pose, rotation_between
from perception.camera import Camera
from robot_runtime import calibrating
from robot_runtime.bridge_client import BridgeClient
from robot_runtime.calibration_task import Task
from robot_runtime.cell import Cell
from robot_runtime.mock_cell import scene
from robot_runtime.mock_cell.scoring import ScoringClient

RUNS = Path(__file__).resolve().parent.parent / "runs" / "calibrations"
FAILURES = (
    BoardError, NoDepth, NoTour, hand_eye.CalibrationFailed, store.CalibrationError, calibrating.CameraMoved,
)  # fmt: skip
"""What can go wrong, each with one sentence."""


@contextlib.contextmanager
def board_in_place(cell: Cell, board: Board, seed: int) -> Iterator[None]:
    """While the block runs the hand holds the board: of a mock cell by itself, of another with the operator's help."""
    if cell.scoring is None:
        _terminal.ask(f"Clamp the board {board} between the fingers, its face to the tool's +y side; then Enter.")
        yield
        _terminal.ask("Take the board out of the fingers; then Enter.")
        return
    with ScoringClient(cell.scoring) as scoring:
        _mock_board.show(scoring, "fixed", board, seed)
        try:
            yield
        finally:
            _mock_board.take_away(scoring)


def fixed_camera(client: BridgeClient, camera: Camera, cell: Cell, seed: int) -> tuple[Pose, dict[str, Any]]:
    """T_base_camera as calibrated now, and the report's figures. Raises one of FAILURES and what stops the arm."""
    name = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    task = Task(cell, "fixed", Board(), RUNS / f"{name}_samples", seed=seed)
    with board_in_place(cell, task.board, seed):
        found = calibrating.calibrate(client, camera, task, _terminal.live)
    store.save(RUNS / f"{name}.yaml", found)
    store.check_accuracy(found, str(RUNS / f"{name}.yaml"))
    figures: dict[str, Any] = {"held_out_mm": found.held_out_mm, "held_out_px": found.held_out_px}
    told = f"held-out error {found.held_out_mm:.1f} mm"
    if cell.mock is not None:
        truth, pose = scene.nominal_T_base_camera(), found.T_reference_camera
        figures["true_mm"] = 1e3 * float(np.linalg.norm(pose.position - truth.position))
        turn = np.linalg.norm(rotation_between(pose.quaternion, truth.quaternion))
        figures["true_deg"] = float(np.rad2deg(turn))
        told += f", in truth {figures['true_mm']:.1f} mm and {figures['true_deg']:.2f} degrees"
    _terminal.checked("calibrated", told)
    return found.T_reference_camera, figures
