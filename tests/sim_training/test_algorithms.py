"""Every algorithm and every task trains: one iteration each, with what the ledger must say about the teacher."""

from pathlib import Path

import pytest
import torch

from contract.tasks import TASKS
from sim_training.guidance.algorithms import ALGORITHMS
from sim_training.settings import Config
from sim_training.train import Trainer

ENVS, ROLLOUT = 4, 10
SMALL = {"num_envs": ENVS, "rollout": ROLLOUT, "epochs": 1, "minibatches": 2, "video": False}


def _one_iteration(config: Config) -> tuple[Trainer, dict[str, float], bool]:
    """The trainer after it, its figures, and whether the actor changed."""
    torch.set_num_threads(1)
    trainer = Trainer(config)
    before = [p.clone() for p in trainer.model.actor.parameters()]
    weight = trainer.schedule.weight
    rollout, guidance, _ = trainer.collect()
    figures = trainer.update(rollout, guidance, weight)
    trainer.env.close()
    assert all(torch.isfinite(p).all() for p in trainer.model.parameters())
    changed = any(not torch.equal(a, b) for a, b in zip(before, trainer.model.actor.parameters(), strict=True))
    return trainer, figures, changed


@pytest.mark.parametrize("algo", sorted(ALGORITHMS))
def test_one_iteration_changes_the_policy_and_counts_every_question(algo: str, tmp_path: Path) -> None:
    config = Config(algo=algo, out=tmp_path, **SMALL)  # type: ignore[arg-type]
    trainer, figures, changed = _one_iteration(config)
    assert changed
    everywhere, some = ENVS * ROLLOUT, round(config.guided_share * ENVS) * config.schedule.calls_max
    asked = {"ppo": 0, "ppd": 10 * everywhere}.get(algo, everywhere if algo.startswith("rpd") else some)
    assert trainer.progress.teacher_calls == asked
    assert (figures["train/guidance_loss"] == 0) == (algo == "ppo")


@pytest.mark.parametrize("task", sorted(set(TASKS) - {"lift_cube"}))
def test_every_task_trains_under_guidance_with_its_simplified_reward(task: str, tmp_path: Path) -> None:
    config = Config(task=task, reward="simplified", out=tmp_path, **SMALL)  # type: ignore[arg-type]
    trainer, figures, changed = _one_iteration(config)
    assert changed
    assert trainer.progress.guided_steps > 0
    assert figures["train/guidance_loss"] > 0


def test_the_arm_s_noise_falls_as_training_goes_on_and_the_gripper_s_stays(tmp_path: Path) -> None:
    config = Config(task="push_cube", algo="ppo", out=tmp_path, total_steps=2 * ENVS * ROLLOUT, **SMALL)  # type: ignore[arg-type]
    trainer = Trainer(config)
    trainer.collect()
    trainer.collect()
    trainer.env.close()
    halfway = (config.log_std + config.log_std_end) / 2
    expected = torch.tensor([halfway] * 6 + [config.log_std_gripper])
    torch.testing.assert_close(trainer.model.log_std.detach(), expected)
