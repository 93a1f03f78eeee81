"""Pushes in the middle of a trial: on the cube while it lies on the table, on the tool once it is held."""

from __future__ import annotations

import numpy as np

from robot_runtime.loop import Tick
from robot_runtime.mock_cell.scoring import ScoringClient

OBJECT_SPEED_M_S, OBJECT_SECONDS = 0.15, (0.2, 0.4)
"""The object is pushed 3 to 6 cm along the table."""

TOOL_FORCE_N, TOOL_SECONDS = (5.0, 12.0), 0.2
"""On the tool: with what it does itself, this stays below the 30 N at which the bridge stops the arm."""

FIRST_S, APART_S = (0.3, 1.2), (0.8, 1.5)
"""Robot time to the first push after the start of a trial, and between two."""

PUSHED_TO_M = np.array([0.55, 0.0])
"""The object is pushed to this side or the other, never away from the work area's middle."""


class Pushes:
    """So many pushes in each trial, of a kind, strength, direction and time that the trial's seed decides."""

    def __init__(self, scoring: ScoringClient, count: int) -> None:
        self._scoring, self._count = scoring, count
        self.done = 0

    def begin(self, seed: int) -> None:
        """A trial begins."""
        self._random = np.random.default_rng([seed, 1])
        self._left = self._count
        self._due: float | None = None

    def watch(self, tick: Tick) -> None:
        """Note one tick; push when it is time."""
        now = tick.state.stamp
        if self._due is None:
            self._due = now + self._random.uniform(*FIRST_S)
        if not self._left or now < self._due:
            return
        self._left, self._due = self._left - 1, now + self._random.uniform(*APART_S)
        self.done += 1
        angle = self._random.uniform(-np.pi, np.pi)
        if tick.seen.held:
            force_n = self._random.uniform(*TOOL_FORCE_N) * np.array([np.cos(angle), np.sin(angle), 0.0])
            self._scoring.disturb("push", force_n=force_n.tolist(), seconds=TOOL_SECONDS)
        else:
            direction = np.array([np.cos(angle), np.sin(angle)])
            inwards = PUSHED_TO_M - tick.seen.pose_base_object.position[:2]
            velocity = OBJECT_SPEED_M_S * direction * (1.0 if direction @ inwards >= 0.0 else -1.0)
            self._scoring.disturb(
                "push_object", velocity_m_s=velocity.tolist(), seconds=float(self._random.uniform(*OBJECT_SECONDS))
            )
