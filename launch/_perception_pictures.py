"""Where on the table the estimates err, and whether their covariance says so."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from scipy.stats import chi2

from contract.tasks import LIFT_CUBE


class Looked(Protocol):
    """truth_m: where the object was, base frame (3,). error: of x, y, z (m) and yaw (rad) (4,). squared: normalised."""

    @property
    def truth_m(self) -> np.ndarray: ...

    @property
    def error(self) -> np.ndarray: ...

    @property
    def squared(self) -> float: ...


def draw_map(path: Path, looks: Sequence[Looked]) -> None:
    """Errors over the work area as arrows, their distribution, and normalised errors against chi-square."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    truth = np.array([one.truth_m for one in looks])
    error_mm = 1e3 * np.array([one.error[:3] for one in looks])
    distance_mm = np.linalg.norm(error_mm, axis=1)
    figure, (area, sizes, honest) = plt.subplots(1, 3, figsize=(14, 4.6))
    arrows = area.quiver(
        truth[:, 1], truth[:, 0], error_mm[:, 1], error_mm[:, 0], distance_mm, cmap="viridis", clim=(0.0, 5.0),
        angles="xy", scale_units="xy", scale=40, width=0.004,
    )  # fmt: skip
    low, high = LIFT_CUBE.object_low_m, LIFT_CUBE.object_high_m
    area.plot([low[1], high[1], high[1], low[1], low[1]], [low[0], low[0], high[0], high[0], low[0]], "k:", lw=0.8)
    area.set(title="error over the work area, 25 x", xlabel="y, m", ylabel="x, m", aspect="equal")
    area.invert_xaxis()
    figure.colorbar(arrows, ax=area, label="mm")
    sizes.hist(np.clip(distance_mm, 0, 10), bins=50)
    for share in (50, 95):
        at = float(np.percentile(distance_mm, share))
        sizes.axvline(at, color="tab:red", lw=1)
        sizes.text(at, sizes.get_ylim()[1] * 0.9, f" p{share} {at:.1f} mm", color="tab:red")
    sizes.set(title=f"position error, {len(looks)} poses", xlabel="mm")
    grid = np.linspace(0.0, 20.0, 200)
    honest.hist(np.clip([one.squared for one in looks], 0, 20), bins=60, range=(0, 20), density=True, label="measured")
    honest.plot(grid, chi2.pdf(grid, 4), color="tab:red", label="chi-square, 4 degrees")
    honest.set(title="squared error in claimed standard deviations", xlabel="20 and more at the right end")
    honest.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)
