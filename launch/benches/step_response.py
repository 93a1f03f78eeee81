"""Step responses of the arm's impedance loop and of the simulated controller, and a fit of one to the other."""

from __future__ import annotations

import contextlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

import _reports
from _running import bridge, cell_lock
from contract.tasks import LIFT_CUBE
from robot_runtime.cell import Cell, load_cell
from robot_runtime.mock_cell.cell_process import MockCell, MockCellAddresses
from robot_runtime.step_response import record_all
from sim_training.envs.response import FITTED_RESPONSE, ImpedanceResponse, SecondOrder
from sim_training.response_fit import StepResponse, fit, play, predict, responses


@dataclass(frozen=True)
class Arguments:
    """Which cell, and where the picture goes."""

    cell: str = "mock"
    """Name of a cell, or a cell file; the arm moves 6 cm and 0.3 rad."""
    recording: Path | None = None
    """Use this recording (.npz) instead of moving the arm."""
    out: Path = Path("runs/step_response")
    """Folder for recording and picture."""
    report: Path | None = None
    """Also write the figures here."""


def _record(cell_argument: str) -> dict[str, np.ndarray]:
    cell: Cell = load_cell(cell_argument)
    with contextlib.ExitStack() as stack:
        stack.enter_context(cell_lock(cell))
        if cell.mock is not None:
            stack.enter_context(MockCell(MockCellAddresses.of_cell(cell), cell.mock.seed, None, cell.camera.serial))
        stack.enter_context(bridge(cell, cell_argument, print))
        return record_all(cell_argument)


def _of_axis(response: ImpedanceResponse, move: str) -> SecondOrder:
    return response.rotation if move == "yaw" else response.translation


def _draw(path: Path, moves: dict[str, StepResponse], simulated: dict[str, np.ndarray]) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, len(moves), figsize=(13, 4))
    for axis, (move, recorded) in zip(axes, moves.items(), strict=True):
        unit, factor = ("degrees", 180 / np.pi) if move == "yaw" else ("mm", 1000.0)
        ticks = np.arange(len(recorded.asked)) * LIFT_CUBE.period_s
        axis.step(ticks - LIFT_CUBE.period_s, recorded.asked * factor, where="post", color="0.7", label="asked")
        axis.plot(recorded.t, recorded.measured * factor, label="arm, impedance loop")
        axis.plot(ticks, simulated[move] * factor, "o-", markersize=3, label="simulated controller in PhysX")
        axis.set(title=f"{move}: {recorded.travel * factor:.0f} {unit}", xlabel="s", ylabel=unit)
    axes[0].legend()
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def run(arguments: Arguments) -> int:
    """Record, fit, play, compare; returns the exit code."""
    recording = dict(np.load(arguments.recording)) if arguments.recording else _record(arguments.cell)
    arguments.out.mkdir(parents=True, exist_ok=True)
    np.savez(arguments.out / "recording.npz", allow_pickle=False, **recording)
    moves = responses(recording)
    fitted = fit(moves)
    simulated = play(moves)
    figures: dict[str, object] = {"fitted_now": asdict(fitted), "in_use": asdict(FITTED_RESPONSE)}
    for move, recorded in moves.items():
        ticks = np.arange(len(recorded.asked)) * LIFT_CUBE.period_s
        error = np.interp(recorded.t, ticks, simulated[move]) - recorded.measured
        model = predict(_of_axis(fitted, move), recorded, LIFT_CUBE.period_s) - recorded.measured
        factor, unit = (180 / np.pi, "deg") if move == "yaw" else (1000.0, "mm")
        figures[f"{move}_rms_{unit}"] = float(np.sqrt(np.mean(error**2)) * factor)
        figures[f"{move}_max_{unit}"] = float(np.max(np.abs(error)) * factor)
        figures[f"{move}_model_rms_{unit}"] = float(np.sqrt(np.mean(model**2)) * factor)
    _draw(arguments.out / "step_response.png", moves, simulated)
    print(json.dumps(figures, indent=1))
    print(f"Picture: {arguments.out / 'step_response.png'}")
    _reports.write(arguments.report, figures)
    return 0
