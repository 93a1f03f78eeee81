"""Every algorithm trains: one iteration each, with what the ledger must say about the teacher."""

from pathlib import Path

import pytest
import torch

from sim_training.guidance.algorithms import ALGORITHMS
from sim_training.settings import Config
from sim_training.train import Trainer

ENVS, ROLLOUT = 4, 10


@pytest.mark.parametrize("algo", sorted(ALGORITHMS))
def test_one_iteration_changes_the_policy_and_counts_every_question(algo: str, tmp_path: Path) -> None:
    torch.set_num_threads(1)
    config = Config(algo=algo, num_envs=ENVS, rollout=ROLLOUT, epochs=1, minibatches=2, out=tmp_path, video=False)  # type: ignore[arg-type]
    trainer = Trainer(config)
    before = [p.clone() for p in trainer.model.actor.parameters()]
    weight = trainer.schedule.weight
    rollout, guidance, _ = trainer.collect()
    figures = trainer.update(rollout, guidance, weight)
    trainer.env.close()
    assert any(not torch.equal(a, b) for a, b in zip(before, trainer.model.actor.parameters(), strict=True))
    assert all(torch.isfinite(p).all() for p in trainer.model.parameters())
    asked_steps = {"ppo": 0, "ppd": 10 * ROLLOUT}.get(algo, ROLLOUT if algo.startswith("rpd") else 5)
    assert trainer.progress.teacher_calls == ENVS * asked_steps
    assert (figures["train/guidance_loss"] == 0) == (algo == "ppo")
