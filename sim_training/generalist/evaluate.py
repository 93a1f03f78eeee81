"""How well a generalist does in the simulator: success and time, with an object it was trained with or another."""

from __future__ import annotations

from dataclasses import dataclass

from contract.generalist import Generalist
from contract.tasks import task
from sim_training import rollouts
from sim_training.generalist.driving import Driver
from sim_training.pictures import Painter
from sim_training.rollouts import Variant

HORIZON_FACTOR = 1.5
"""Of a policy's time: one that learnt from slow people may be slower."""

BODY_SEED = 500_000
"""Masses and frictions are others than those of the episodes that it learnt from."""


@dataclass(frozen=True)
class Outcome:
    """times_s: of the episodes that succeeded."""

    episodes: int
    times_s: tuple[float, ...]

    @property
    def successes(self) -> int:
        """How many episodes succeeded."""
        return len(self.times_s)


def evaluate(
    model: Generalist,
    task_name: str,
    instruction: str,
    variant: Variant,
    painter: Painter,
    episodes: int,
    seed: int,
    randomise: bool = True,
) -> Outcome:
    """One episode in each of as many environments; the same seed, the same episodes.

    Raises contract.generalist.UnknownInstruction.
    """
    drive = Driver(task(task_name), model, painter, instruction)
    env = rollouts.make(task_name, variant, episodes, randomise, BODY_SEED)
    tracks = rollouts.roll(env, drive, seed, HORIZON_FACTOR)
    env.close()
    return Outcome(episodes, tuple(track.duration_s for track in tracks if track.success))
