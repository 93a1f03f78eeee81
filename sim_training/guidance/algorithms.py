"""Every algorithm as what it adds to PPO: a guidance loss, how often a teacher is asked, and how that ends."""

from __future__ import annotations

from dataclasses import dataclass

from sim_training.guidance import losses
from sim_training.guidance.schedule import Persistent, Schedule, ScheduleConfig, Silent, Transient


@dataclass(frozen=True)
class Algorithm:
    """loss: between policy and teacher, None without one. schedule: when the teacher is asked and what its word weighs.

    samples: answers taken at each asked step; more than one are summarised by their mean and spread.
    every_step: asked at every step of a rollout, whatever the settings say. weight: of the loss (lambda_0), where the
    settings give none.
    """

    loss: losses.GuidanceLoss | None
    schedule: type[Schedule]
    samples: int = 1
    every_step: bool = False
    weight: float = 1.0

    def start(self, settings: ScheduleConfig, rollout: int, best_reward: float = 1.0) -> Schedule:
        """A schedule at the beginning of training, for rollouts of that many steps.

        best_reward: mean a step that the task's reward can reach.
        """
        calls = rollout if self.every_step else settings.calls_max
        weight = self.weight if settings.weight is None else settings.weight
        return self.schedule(settings, calls, weight, best_reward)


ALGORITHMS = {
    "ppo": Algorithm(None, Silent),
    "vlajs": Algorithm(losses.directional, Transient, weight=0.5),
    "vlajs_rpd": Algorithm(losses.squared_distance, Transient, weight=0.5),
    "sparse_rpd": Algorithm(losses.squared_distance, Persistent, weight=0.5),
    "rpd_mse": Algorithm(losses.mse, Persistent, every_step=True),
    "rpd_l1": Algorithm(losses.l1, Persistent, every_step=True),
    "rpd_bc": Algorithm(losses.likelihood, Persistent, every_step=True),
    "ppd": Algorithm(losses.divergence, Persistent, samples=10, every_step=True),
}
"""VLAJS, sections III and IV; RPD, section IV."""
