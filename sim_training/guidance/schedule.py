"""How often the teacher is asked, how much it weighs, and when it is let go for good. VLAJS, section III-B."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal


class BadSchedule(ValueError):
    """The calls asked for make no schedule: at least one, and not more at the least than at the most."""


def asked_at_a_time(share: float, count: int) -> int:
    """How many of `count` environments are asked about at once: never more than the share, but at least one."""
    return max(1, math.floor(share * count + 1e-9))


@dataclass(frozen=True)
class ScheduleConfig:
    """calls per rollout and environment; window: in iterations. weight: lambda_0, the algorithm's own if not given.

    threshold: above which a monotonic rise ends guidance. threshold_of: the mean reward a step as a share of the best
    there is, or what was gained since the first rollout as a share of what there was to gain. The paper leaves N_max,
    N_min, kappa and the threshold's unit open.
    """

    calls_max: int = 5
    calls_min: int = 1
    window: int = 3
    threshold: float = 0.5
    threshold_of: Literal["reward", "gain"] = "reward"
    weight: float | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.calls_min <= self.calls_max:
            raise BadSchedule(f"{BadSchedule.__doc__} Given: {self.calls_min} to {self.calls_max}.")


class Schedule:
    """What all schedules share; `calls` and `weight` say what holds in the next iteration."""

    def __init__(self, config: ScheduleConfig, calls_max: int, weight: float = 1.0, best_reward: float = 1.0):
        """weight: lambda_0. best_reward: mean reward a step that the task can reach."""
        self.config, self.calls_max, self._weight, self._best_reward = config, calls_max, weight, best_reward

    @property
    def calls(self) -> int:
        """Teacher calls per rollout and environment."""
        return self.calls_max

    @property
    def weight(self) -> float:
        """lambda_t."""
        return self._weight if self.calls else 0.0

    @property
    def active(self) -> bool:
        """Whether the teacher may still be asked."""
        return self.calls > 0

    def record(self, mean_reward: float) -> None:
        """Tell the schedule the mean reward of the rollout just finished."""

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from `state()`."""


class Silent(Schedule):
    """Never asks: plain PPO."""

    @property
    def calls(self) -> int:
        """None."""
        return 0


class Persistent(Schedule):
    """Asks equally often and weighs the same for ever: RPD and its kin."""


class Transient(Schedule):
    """Asks less as reward rises, and never again after a monotonic rise above the threshold."""

    def __init__(self, config: ScheduleConfig, calls_max: int, weight: float = 1.0, best_reward: float = 1.0):
        super().__init__(config, calls_max, weight, best_reward)
        self._history: list[float] = []
        self._first: float | None = None
        self._active = True

    def record(self, mean_reward: float) -> None:
        """Notes the reward; a strict rise over a whole window that ends above the threshold is the end of guidance."""
        window, share = self.config.window, mean_reward / self._best_reward
        self._first = share if self._first is None else self._first
        self._history = [*self._history, share][-2 * window :]
        recent = self._history[-window:]
        rising = len(recent) == window and all(a < b for a, b in zip(recent, recent[1:], strict=False))
        zero = 0.0 if self.config.threshold_of == "reward" else self._first
        if rising and share - zero > self.config.threshold * (1 - zero):
            self._active = False

    @property
    def gain(self) -> float:
        """Mean share of the best reward in the last window minus that in the one before, never negative."""
        window = self.config.window
        if len(self._history) < 2 * window:
            return 0.0
        return max(0.0, sum(self._history[window:]) / window - sum(self._history[:window]) / window)

    @property
    def calls(self) -> int:
        """N_calls = max(N_min, floor(N_max exp(-kappa gain))), where a gain of one unit takes N_max to N_min."""
        if not self._active:
            return 0
        kappa = math.log(self.calls_max / self.config.calls_min)
        return max(self.config.calls_min, math.floor(self.calls_max * math.exp(-kappa * self.gain)))

    @property
    def weight(self) -> float:
        """Follows the same trend as the query rate, 0 after the switch-off."""
        return self._weight * self.calls / self.calls_max

    def state(self) -> dict[str, Any]:
        """Reward shares of the last two windows and of the first rollout, and whether guidance still goes on."""
        return {"history": self._history, "first": self._first, "active": self._active}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from `state()`."""
        self._history, self._first, self._active = state["history"], state["first"], state["active"]
