"""What a calibration looks like: residuals of every sample, and the board where expected beside where seen."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from calibration.samples import SampleFolder, Taken
from calibration.store import Calibration
from robot_runtime.calibration_task import Task

_SHOWN = 6


def draw(found: Calibration, task: Task, out: Path) -> list[Path]:
    """Writes both pictures beside `out`."""
    taken = list(SampleFolder(task.folder, task.header).all())
    residuals, overlay = out.with_name(f"{out.stem}_residuals.png"), out.with_name(f"{out.stem}_overlay.png")
    _draw_residuals(residuals, found, taken)
    _draw_overlay(overlay, found, taken)
    return [residuals, overlay]


def expected_px(found: Calibration, one: Taken) -> np.ndarray:
    """Where the calibration expects the corners of one sample. Shape: (N, 2)"""
    tool = one.sample.pose_base_tcp
    A = tool if found.mount == "fixed" else tool.inverse()
    p = (found.T_reference_camera.inverse() @ A @ found.T_other_board).apply(one.sample.view.points_board)
    return np.asarray(p[:, :2] / p[:, 2:] * found.K[[0, 1], [0, 1]] + found.K[:2, 2])


def _draw_residuals(path: Path, found: Calibration, taken: list[Taken]) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, (bars, cloud) = plt.subplots(1, 2, figsize=(10, 4), width_ratios=(2, 1))
    colours = ["tab:blue" if used else "tab:red" for used in found.agrees]
    bars.bar([one.number + 1 for one in taken], found.residuals_px, color=colours)
    bars.set(title=f"held out: {found.held_out_px:.2f} px, {found.held_out_mm:.2f} mm", xlabel="pose", ylabel="rms, px")
    for one, used in zip(taken, found.agrees, strict=True):
        if used:
            error = one.sample.view.corners_px - expected_px(found, one)
            cloud.plot(error[:, 0], error[:, 1], ".", markersize=2)
    cloud.set(title="seen minus expected, px", aspect="equal")
    cloud.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _draw_overlay(path: Path, found: Calibration, taken: list[Taken]) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    shown = taken[:: max(1, len(taken) // _SHOWN)][:_SHOWN]
    figure, axes = plt.subplots(2, (len(shown) + 1) // 2, figsize=(4.5 * ((len(shown) + 1) // 2), 5.4))
    for axis in np.ravel(axes):
        axis.axis("off")
    for axis, one in zip(np.ravel(axes), shown, strict=False):
        axis.imshow(one.rgb)
        seen, expected = one.sample.view.corners_px, expected_px(found, one)
        axis.plot(seen[:, 0], seen[:, 1], "o", color="lime", markersize=4, fillstyle="none", linewidth=0.5)
        axis.plot(expected[:, 0], expected[:, 1], "r+", markersize=4, linewidth=0.5)
        low, high = seen.min(axis=0) - 15, seen.max(axis=0) + 15
        axis.set(xlim=(low[0], high[0]), ylim=(high[1], low[1]), title=f"pose {one.number + 1}")
    figure.suptitle("green: seen, red: expected")
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)
