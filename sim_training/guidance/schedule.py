"""How often the teacher is asked, how much it weighs, and when it is let go for good. VLAJS, section III-B."""

from __future__ import annotations

import math
from dataclasses import dataclass, field


@dataclass(frozen=True)
class ScheduleConfig:
    """calls per 50-step rollout and environment; kappa: decay per unit of mean-reward gain; window: in iterations.

    threshold: mean reward a step above which a monotonic rise ends guidance. weight: lambda_0. The paper leaves N_max,
    N_min, kappa and the threshold's unit open.
    """

    calls_max: int = 5
    calls_min: int = 1
    window: int = 3
    threshold: float = 0.3
    weight: float = 0.5

    @property
    def kappa(self) -> float:
        """So that a gain of one unit brings the rate from the most to the fewest calls."""
        return math.log(self.calls_max / self.calls_min)


@dataclass
class JumpStart:
    """The schedule's state; everything in it goes into a checkpoint."""

    config: ScheduleConfig
    history: list[float] = field(default_factory=list)
    active: bool = True

    def record(self, mean_reward: float) -> None:
        """Tell the schedule the mean reward of the rollout just finished."""
        window = self.config.window
        self.history = [*self.history, mean_reward][-2 * window :]
        recent = self.history[-window:]
        rising = len(recent) == window and all(a < b for a, b in zip(recent, recent[1:], strict=False))
        if rising and mean_reward > self.config.threshold:
            self.active = False

    @property
    def gain(self) -> float:
        """Mean reward of the last window minus that of the one before, never negative."""
        window = self.config.window
        if len(self.history) < 2 * window:
            return 0.0
        return max(0.0, sum(self.history[window:]) / window - sum(self.history[:window]) / window)

    @property
    def calls(self) -> int:
        """Teacher calls per rollout and environment in the next iteration."""
        config = self.config
        if not self.active:
            return 0
        return max(config.calls_min, math.floor(config.calls_max * math.exp(-config.kappa * self.gain)))

    @property
    def weight(self) -> float:
        """lambda_t: follows the same trend as the query rate, 0 after the switch-off."""
        return self.config.weight * self.calls / self.config.calls_max
