"""How closely the arm follows setpoints through the bridge, beside franky's tracker alone with the same gains."""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import _reports
from _running import bridge, cell_lock
from robot_runtime import tracking
from robot_runtime.cell import Cell, load_cell
from robot_runtime.franka import Arm
from robot_runtime.mock_cell.cell_process import MockCell, MockCellAddresses
from robot_runtime.tracking import CIRCLE_S, JUMP_M, JUMP_S, Track, circle, jump


@dataclass(frozen=True)
class Arguments:
    """Which cell, and where the picture goes."""

    cell: str = "mock"
    """Name of a cell, or a cell file; the arm moves 10 cm. What franky does alone is measured on mock cells only."""
    seed: int = 0
    """Of the setpoints that are lost."""
    out: Path = Path("runs/tracking")
    """Folder for the picture."""
    report: Path | None = None
    """Also write the figures here."""


def run(arguments: Arguments) -> int:
    """Drive, measure, draw; returns the exit code."""
    cell = load_cell(arguments.cell)
    tracks: dict[str, Track] = {}
    with contextlib.ExitStack() as stack:
        stack.enter_context(cell_lock(cell))
        if cell.mock is not None:
            stack.enter_context(MockCell(MockCellAddresses.of_cell(cell), cell.mock.seed, None, cell.camera.serial))
            tracks |= _stock(cell)
        stack.enter_context(bridge(cell, arguments.cell, print))
        gone = tracking.lost(round(CIRCLE_S / 0.05), arguments.seed)
        tracks["circle"] = tracking.through_the_bridge(cell, circle, CIRCLE_S)
        tracks["lossy"] = tracking.through_the_bridge(cell, circle, CIRCLE_S, gone)
        tracks["jump"] = tracking.through_the_bridge(cell, jump, JUMP_S)
    figures = _figures(tracks)
    arguments.out.mkdir(parents=True, exist_ok=True)
    _draw(arguments.out / "tracking.png", tracks)
    print(json.dumps(figures, indent=1))
    print(f"Picture: {arguments.out / 'tracking.png'}")
    _reports.write(arguments.report, figures)
    return 0


def _stock(cell: Cell) -> dict[str, Track]:
    """Without limits on the way: only for an arm that can hurt nobody."""
    arm = Arm(cell.robot, cell.gains, cell.limits)
    arm.connect()
    try:
        return {
            "circle_stock": tracking.with_franky_alone(cell, circle, CIRCLE_S, arm),
            "jump_stock": tracking.with_franky_alone(cell, jump, JUMP_S, arm),
        }
    finally:
        arm.close()


def _figures(tracks: dict[str, Track]) -> dict[str, Any]:
    figures: dict[str, Any] = {}
    for name in ("", "_stock"):
        if f"circle{name}" in tracks:
            figures[f"circle_rms_mm{name}"] = tracks[f"circle{name}"].rms_mm(circle)
            figures[f"jump_peak_m_s{name}"] = float(tracks[f"jump{name}"].speed.max())
            figures[f"overshoot_mm{name}"] = _overshoot_mm(tracks[f"jump{name}"])
    figures["lossy_circle_rms_mm"] = tracks["lossy"].rms_mm(circle)
    if "circle_stock" in tracks:
        figures["circle_ratio"] = figures["circle_rms_mm"] / figures["circle_rms_mm_stock"]
    return figures


def _overshoot_mm(track: Track) -> float:
    return 1e3 * max(0.0, float((track.measured[:, 1] - track.measured[0, 1]).max()) - JUMP_M)


def _draw(path: Path, tracks: dict[str, Track]) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, (plane, error, step) = plt.subplots(1, 3, figsize=(13, 4))
    labels = {"circle": "bridge", "lossy": "bridge, 10 % lost", "circle_stock": "franky alone"}
    round_once = np.array([circle(t).position for t in np.linspace(0, CIRCLE_S, 400)])
    plane.plot(round_once[:, 0], round_once[:, 1], "--", color="0.6", label="asked")
    for name, label in labels.items():
        if name in tracks:
            track = tracks[name]
            plane.plot(track.measured[:, 0], track.measured[:, 1], label=label, linewidth=0.8)
            late = track.t[track.t > tracking.SETTLED_AFTER_S]
            error.plot(late, track.error_mm(circle), label=label, linewidth=0.8)
    plane.set(title="5 cm circle, 0.1 m/s, 20 Hz", xlabel="x, m", ylabel="y, m", aspect="equal")
    error.set(title="distance from where it should be", xlabel="s", ylabel="mm")
    for name, label in (("jump", "bridge"), ("jump_stock", "franky alone")):
        if name in tracks:
            track = tracks[name]
            step.plot(track.t, 1e3 * (track.measured[:, 1] - track.measured[0, 1]), label=label)
    step.axhline(1e3 * JUMP_M, linestyle="--", color="0.6")
    step.set(title="10 cm jump", xlabel="s", ylabel="mm")
    for axis in (plane, error, step):
        axis.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)
