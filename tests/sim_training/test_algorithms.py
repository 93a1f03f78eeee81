"""Every algorithm and every task trains: one iteration each, with what the ledger must say about the teacher."""

from pathlib import Path

import pytest
import torch

from contract.tasks import TASKS
from sim_training.guidance.algorithms import ALGORITHMS
from sim_training.guidance.schedule import ScheduleConfig, asked_at_a_time
from sim_training.settings import ALGORITHM_NAMES, SPARSE_ALGORITHMS, Config
from sim_training.train import Trainer

ENVS, ROLLOUT = 4, 10
SMALL = {"num_envs": ENVS, "rollout": ROLLOUT, "epochs": 2, "minibatches": 2, "video": False}


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
    everywhere, some = ENVS * ROLLOUT, asked_at_a_time(config.guided_share, ENVS) * config.schedule.calls_max
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


def test_a_dense_teacher_is_asked_an_eighth_as_often_as_by_rpd_s_released_code(tmp_path: Path) -> None:
    """Which asks again in each of its 8 passes over a rollout; ours keeps what it was told."""
    config = Config(algo="rpd_mse", out=tmp_path, **(SMALL | {"epochs": 8, "target_kl": 1e9}))  # type: ignore[arg-type]
    trainer, _, _ = _one_iteration(config)
    released_code = config.epochs * ENVS * ROLLOUT
    assert 0 < 8 * trainer.progress.teacher_calls <= released_code


def test_after_the_switch_off_the_teacher_is_never_asked_again(tmp_path: Path) -> None:
    at_once = ScheduleConfig(window=2, threshold=-10.0)
    trainer = Trainer(Config(task="push_cube", out=tmp_path, schedule=at_once, **SMALL))  # type: ignore[arg-type]
    reward, asked = iter((0.1, 0.2, 0.3, 0.4)), []
    record = trainer.schedule.record
    trainer.schedule.record = lambda _: record(next(reward))  # type: ignore[method-assign]
    for _ in range(4):
        trainer.collect()
        asked.append(trainer.progress.teacher_calls)
    trainer.env.close()
    assert asked[1] > 0
    assert asked[1] == asked[2] == asked[3]
    assert trainer.progress.switched_off_at == 2 * ENVS * ROLLOUT


def test_the_names_on_the_command_line_are_those_of_the_algorithms() -> None:
    assert set(ALGORITHM_NAMES) == set(ALGORITHMS)
    sparse = {name for name, algorithm in ALGORITHMS.items() if algorithm.loss and not algorithm.every_step}
    assert set(SPARSE_ALGORITHMS) == sparse


def test_the_arm_s_noise_falls_as_training_goes_on_and_the_gripper_s_stays(tmp_path: Path) -> None:
    config = Config(task="push_cube", algo="ppo", out=tmp_path, total_steps=2 * ENVS * ROLLOUT, **SMALL)  # type: ignore[arg-type]
    trainer = Trainer(config)
    trainer.collect()
    trainer.collect()
    trainer.env.close()
    halfway = (config.log_std + config.log_std_end) / 2
    expected = torch.tensor([halfway] * 6 + [config.log_std_gripper])
    torch.testing.assert_close(trainer.model.log_std.detach(), expected)
