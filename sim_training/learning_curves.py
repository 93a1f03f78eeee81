"""Learning curves of finished runs: success against environment steps, over seeds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import stats


@dataclass(frozen=True)
class Curve:
    """One run. steps: (E,) environment steps at each evaluation. success: (E,) share of episodes.

    calls: teacher calls so far by environment steps, at every iteration.
    """

    steps: np.ndarray
    success: np.ndarray
    calls: dict[int, int]

    def steps_to(self, level: float) -> float:
        """Environment steps at the first evaluation of at least `level`; infinity if there was none."""
        reached = np.flatnonzero(self.success >= level)
        return float(self.steps[reached[0]]) if len(reached) else float("inf")

    def calls_since(self, steps: int) -> int:
        """Teacher calls after so many environment steps."""
        return self.calls[max(self.calls)] - self.calls[steps]


def read_curve(folder: Path) -> Curve:
    """What a run left in its TensorBoard events; a resumed run's overlap is read once."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder))
    events.Reload()
    success = {event.step: event.value for event in events.Scalars("eval/success")}
    calls = {event.step: int(event.value) for event in events.Scalars("ledger/teacher_calls")}
    steps = np.array(sorted(success))
    return Curve(steps, np.array([success[step] for step in steps]), calls)


@dataclass(frozen=True)
class Band:
    """Mean over seeds with its 95 % t interval. Shapes: (E,)"""

    steps: np.ndarray
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray


def band(curves: list[Curve]) -> Band:
    """On the steps all runs were evaluated at; a run that stopped early keeps its last success."""
    steps = max((curve.steps for curve in curves), key=len)
    held = [np.pad(curve.success, (0, len(steps) - len(curve.success)), mode="edge") for curve in curves]
    rows = np.array(held)
    mean = rows.mean(0)
    if len(rows) == 1:
        return Band(steps, mean, mean, mean)
    reach = stats.t.ppf(0.975, len(rows) - 1) * rows.std(0, ddof=1) / np.sqrt(len(rows))
    return Band(steps, mean, np.clip(mean - reach, 0, 1), np.clip(mean + reach, 0, 1))


def median_steps_to(curves: list[Curve], level: float) -> float:
    """Median over seeds, so that one seed that never got there does not decide alone."""
    return float(np.median([curve.steps_to(level) for curve in curves]))
