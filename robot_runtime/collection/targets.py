"""How many successful episodes of each variant are wanted, how many there are, and which is next."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from robot_runtime.collection.episode import About
from robot_runtime.trials import wilson_interval


@dataclass
class Tally:
    """Of one variant: so many are wanted, succeeded, were tried."""

    wanted: int
    successes: int = 0
    episodes: int = 0

    @property
    def missing(self) -> int:
        """Successful ones until there are enough."""
        return max(0, self.wanted - self.successes)

    def __str__(self) -> str:
        rate = f" ({100 * self.successes / self.episodes:.0f} % of {self.episodes})" if self.episodes else ""
        return f"{self.successes}/{self.wanted}{rate}"


@dataclass
class Targets:
    """Counts by variant. stay: a variant is kept until it is so many ahead, since to swap the object costs a hand."""

    tallies: dict[str, Tally]
    stay: int = 1
    last: str | None = None
    failures_in_a_row: int = 0
    successful_s: list[float] = field(default_factory=list)

    @staticmethod
    def shared(episodes: int, variants: Sequence[str], stay: int = 1) -> Targets:
        """Equally many for each, one more for the first ones where that does not come out even."""
        each, rest = divmod(episodes, len(variants))
        return Targets({name: Tally(each + (index < rest)) for index, name in enumerate(variants)}, stay)

    def count(self, abouts: Iterable[About]) -> None:
        """What is there already; of other variants nothing is wanted, and nothing counted."""
        for about in abouts:
            if about.variant in self.tallies:
                self.add(about.variant, bool(about.success), about.duration_s)
        self.failures_in_a_row = 0

    def add(self, variant: str, success: bool, duration_s: float) -> None:
        """One more episode."""
        tally = self.tallies[variant]
        tally.episodes += 1
        tally.successes += success
        self.last = variant
        self.failures_in_a_row = 0 if success else self.failures_in_a_row + 1
        if success:
            self.successful_s.append(duration_s)

    @property
    def missing(self) -> int:
        """Successful episodes until all targets are met."""
        return sum(tally.missing for tally in self.tallies.values())

    def next(self) -> str | None:
        """The variant that is most behind, or the last one while it is not far ahead; None once all are complete."""
        open_ones = {name: tally for name, tally in self.tallies.items() if tally.missing}
        if not open_ones:
            return None
        behind = max(open_ones, key=lambda name: open_ones[name].missing)
        if self.last in open_ones and open_ones[behind].missing - open_ones[self.last].missing < self.stay:
            return self.last
        return behind

    def report(self) -> dict[str, Any]:
        """Figures of all that is in the folder."""
        episodes = sum(tally.episodes for tally in self.tallies.values())
        successes = sum(tally.successes for tally in self.tallies.values())
        low, high = wilson_interval(successes, episodes)
        return {
            "episodes": episodes,
            "successes": successes,
            "success_rate": successes / episodes if episodes else 0.0,
            "wilson_low": low,
            "wilson_high": high,
            "per_variant": {name: vars(tally) for name, tally in self.tallies.items()},
            "complete": not self.missing,
            "cycle_time_s": sum(self.successful_s) / len(self.successful_s) if self.successful_s else None,
        }

    def __str__(self) -> str:
        return "  ".join(f"{name} {tally}" for name, tally in self.tallies.items())
