"""Success of a policy's mean action over many episodes, under stock physics, with a short video."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sim_training import distributed
from sim_training.backends import forget_contacts
from sim_training.envs import make_task
from sim_training.networks import ActorCritic


@dataclass(frozen=True)
class EvaluationResult:
    """success: share of episodes that succeeded. observations: (K, n) deployable observations met on the way."""

    success: float
    episodes: int
    observations: Tensor


class Evaluator:
    """Holds the evaluation environments, made at first use and kept."""

    def __init__(self, task_name: str, options: dict[str, Any], episodes: int, rank: int, world: int):
        """options: what `make_task` is told besides, such as the horizon factor."""
        self._task_name, self._options, self._rank = task_name, options, rank
        self._count = episodes // world + (1 if rank < episodes % world else 0)
        self._env: Any = None
        self._filmed_env: Any = None

    @torch.no_grad()
    def run(self, model: ActorCritic, seed: int, video: Path | None = None) -> EvaluationResult:
        """One episode in every environment. The same seed gives the same episodes."""
        if self._env is None:
            self._env = make_task(self._task_name, self._count, **self._options)
        env = self._env
        forget_contacts(env)  # or what an earlier evaluation left would be felt, and not after a resume
        torch.manual_seed(seed + self._rank)
        observation, _ = env.reset(seed=[seed + 10_000 * self._rank + i for i in range(self._count)])
        succeeded = torch.zeros(self._count, dtype=torch.bool, device=observation.device)
        met = []
        for step in range(env.unwrapped.card.horizon):
            if step % 5 == 0:
                met.append(observation[:4, : model.policy_size].clone())
            observation, _, _, _, info = env.step(model.mean(observation))
            succeeded |= info["success"]
        if video is not None:
            self._record(model, seed, video)
        counts = distributed.total(torch.tensor([float(succeeded.sum()), float(self._count)]))
        return EvaluationResult(float(counts[0] / counts[1]), int(counts[1]), torch.cat(met))

    def _record(self, model: ActorCritic, seed: int, path: Path) -> None:
        """One episode as an MP4, four frames of it a second."""
        import imageio.v3 as iio

        if self._filmed_env is None:
            self._filmed_env = make_task(self._task_name, 1, render_mode="rgb_array", **self._options)
        env = self._filmed_env
        observation, _ = env.reset(seed=seed)
        frames = []
        for step in range(env.unwrapped.card.horizon):
            observation, *_ = env.step(model.mean(observation))
            if step % 5 == 0:
                frames.append(env.render()[0].cpu().numpy())
        path.parent.mkdir(parents=True, exist_ok=True)
        iio.imwrite(path, frames, fps=4, macro_block_size=1)
