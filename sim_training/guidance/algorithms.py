"""Every algorithm as what it adds to PPO: a guidance loss, how often a teacher is asked, and how that ends."""

from __future__ import annotations

from dataclasses import dataclass

from sim_training.guidance import losses
from sim_training.guidance.schedule import Persistent, Schedule, ScheduleConfig, Silent, Transient


@dataclass(frozen=True)
class Algorithm:
    """loss: between policy and teacher, None without one. schedule: when the teacher is asked and what its word weighs.

    samples: answers taken at each asked step; more than one are summarised by their mean and spread.
    every_step: asked at every step of a rollout, whatever the settings say.
    """

    loss: losses.GuidanceLoss | None
    schedule: type[Schedule]
    samples: int = 1
    every_step: bool = False

    def start(self, settings: ScheduleConfig, rollout: int) -> Schedule:
        """A schedule at the beginning of training, for rollouts of that many steps."""
        return self.schedule(settings, calls_max=rollout if self.every_step else settings.calls_max)


ALGORITHMS = {
    "ppo": Algorithm(None, Silent),
    "vlajs": Algorithm(losses.directional, Transient),
    "vlajs_rpd": Algorithm(losses.mse, Transient),
    "sparse_rpd": Algorithm(losses.mse, Persistent),
    "rpd_mse": Algorithm(losses.mse, Persistent, every_step=True),
    "rpd_l1": Algorithm(losses.l1, Persistent, every_step=True),
    "rpd_bc": Algorithm(losses.likelihood, Persistent, every_step=True),
    "ppd": Algorithm(losses.divergence, Persistent, samples=10, every_step=True),
}
"""VLAJS, sections III and IV; RPD, section IV."""
