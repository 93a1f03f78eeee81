"""The mock cell's own time."""

from __future__ import annotations

TICK_S = 0.001
"""The FCI's control period: one state and one physics step each."""


class RobotClock:
    """Counts control ticks since the controller started; states carry this as their time, over reconnections too."""

    def __init__(self) -> None:
        self.tick = 0

    @property
    def now_s(self) -> float:
        """Robot time of the last completed step."""
        return self.tick * TICK_S


def ticks(seconds: float) -> int:
    """The nearest number of control ticks."""
    return round(seconds / TICK_S)
