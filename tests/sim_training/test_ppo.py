"""The learner itself: advantages, discount, learning rate, early end of an update, normaliser, minibatches, ledger."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from sim_training import checkpoint
from sim_training.settings import Config, Impossible
from sim_training.train import LEDGER, Rollout, Trainer, train

SMALL = {"task": "push_cube", "num_envs": 4, "rollout": 10, "epochs": 3, "minibatches": 2, "video": False}


@pytest.fixture(scope="module")
def trainer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trainer]:
    torch.set_num_threads(1)
    trainer = Trainer(Config(algo="ppo", out=tmp_path_factory.mktemp("run"), **SMALL))  # type: ignore[arg-type]
    yield trainer
    trainer.env.close()


def _with(trainer: Trainer, **settings: object) -> None:
    trainer.config = dataclasses.replace(trainer.config, **settings)  # type: ignore[arg-type]


def test_advantages_are_the_discounted_sums_of_what_the_critic_did_not_expect() -> None:
    rollout = Rollout(3, 1, 1, 1, torch.device("cpu"))
    rollout.reward[:, 0] = torch.tensor([1.0, 2.0, 3.0])
    rollout.value[:, 0] = torch.tensor([0.5, 0.5, 0.5])
    advantage = rollout.advantages(torch.tensor([4.0]), gamma=0.5, gae_lambda=0.5)[:, 0]
    surprise = [1 + 0.25 - 0.5, 2 + 0.25 - 0.5, 3 + 2.0 - 0.5]
    last = surprise[2]
    middle = surprise[1] + 0.25 * last
    assert advantage.tolist() == pytest.approx([surprise[0] + 0.25 * middle, middle, last])


def test_an_episode_cut_by_time_is_continued_by_the_critic_and_nothing_leaks_into_it_from_the_next() -> None:
    rollout = Rollout(2, 1, 1, 1, torch.device("cpu"))
    rollout.reward[:, 0] = torch.tensor([1.0, 100.0])
    rollout.done[0, 0], rollout.bootstrap[0, 0] = True, 8.0
    advantage = rollout.advantages(torch.tensor([0.0]), gamma=0.5, gae_lambda=0.9)[:, 0]
    assert advantage[0].item() == pytest.approx(1 + 0.5 * 8)


def test_a_longer_horizon_stretches_the_discount_with_it() -> None:
    assert Config(gamma=0.97, horizon_factor=10).discount == pytest.approx(0.997)
    assert Config(gamma=0.97).discount == pytest.approx(0.97)


def test_the_learning_rate_follows_the_schedule_asked_for(trainer: Trainer) -> None:
    _with(trainer, learning_rate_schedule="kl", desired_kl=0.1)
    assert trainer._next_learning_rate(1e-3, kl=0.3) == pytest.approx(1e-3 / 1.5)
    assert trainer._next_learning_rate(1e-3, kl=0.04) == pytest.approx(1.5e-3)
    assert trainer._next_learning_rate(1e-3, kl=0.1) == 1e-3
    _with(trainer, learning_rate_schedule="linear", total_steps=100)
    trainer.progress.env_steps = 75
    assert trainer._next_learning_rate(1.0, kl=9.0) == pytest.approx(0.25 * trainer.config.learning_rate)
    _with(trainer, learning_rate_schedule="constant")
    assert trainer._next_learning_rate(0.5, kl=9.0) == 0.5


@pytest.mark.parametrize(("target_kl", "steps"), [(0.0, 2), (1e9, 6)])
def test_a_step_beyond_the_target_kl_ends_the_update(trainer: Trainer, target_kl: float, steps: int) -> None:
    _with(trainer, target_kl=target_kl, learning_rate_schedule="constant")
    rollout, guidance, _ = trainer.collect()
    taken = []
    step = trainer._gradient_step

    def counted(*arguments: object) -> dict[str, float]:
        taken.append(1)
        return step(*arguments) | {"train/kl": 0.01}  # type: ignore[arg-type]

    trainer._gradient_step = counted  # type: ignore[assignment, method-assign]
    trainer.update(rollout, guidance, 0.0)
    del trainer._gradient_step
    assert len(taken) == steps


def test_the_normaliser_learns_in_the_first_tenth_of_training_only(trainer: Trainer) -> None:
    size = trainer.observation.shape[-1]
    _with(trainer, total_steps=1000)
    trainer.progress.env_steps = 1000
    before = trainer.model.normaliser.mean.clone()
    trainer._update_normaliser(torch.full((50, size), 3.0))
    assert torch.equal(trainer.model.normaliser.mean, before)
    trainer.progress.env_steps = 100
    trainer._update_normaliser(torch.full((50, size), 3.0))
    assert not torch.equal(trainer.model.normaliser.mean, before)


def test_minibatches_that_do_not_divide_the_batch_leave_none_with_a_single_step(trainer: Trainer) -> None:
    _with(trainer, minibatches=13, target_kl=1e9)  # 40 steps: 13 threes and a one, if they were cut to length
    rollout, guidance, _ = trainer.collect()
    trainer.update(rollout, guidance, 0.0)
    assert all(torch.isfinite(p).all() for p in trainer.model.parameters())


def test_more_minibatches_than_there_are_steps_for_are_refused() -> None:
    with pytest.raises(Impossible, match="fewer --minibatches"):
        Config(**(SMALL | {"minibatches": 21})).check()  # type: ignore[arg-type]


def test_more_guided_steps_than_vlajs_allows_are_refused() -> None:
    Config().check()
    for more in ({"guided_share": 0.5}, {"increments": 7}, {"num_envs": 1}, {"rollout": 40}):
        with pytest.raises(Impossible, match="VLAJS allows 20 %"):
            Config(**more).check()  # type: ignore[arg-type]
        Config(algo="rpd_mse", **more).check()  # type: ignore[arg-type]


def test_the_ledger_appears_in_tensorboard_and_in_the_artifact(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    torch.set_num_threads(1)
    config = Config(out=tmp_path, total_steps=80, eval_episodes=2, eval_every=1, **SMALL)  # type: ignore[arg-type]
    progress = train(config)
    provenance = json.loads((tmp_path / "policy" / "contract.json").read_text())["provenance"]
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    for name in LEDGER:
        assert events.Scalars(f"ledger/{name}")[-1].value == pytest.approx(getattr(progress, name), rel=1e-3)
        assert name in provenance
    assert provenance["teacher"] == "scripted (synthetic)"


def test_a_run_that_was_good_enough_does_not_train_on_when_it_is_resumed(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    config = Config(out=tmp_path, total_steps=400, eval_episodes=2, eval_every=1, stop_at=0.0, **SMALL)  # type: ignore[arg-type]
    first = train(config)
    assert first.env_steps == 40
    assert train(dataclasses.replace(config, resume=True)).env_steps == 40
    assert checkpoint.complete_checkpoints(tmp_path) == {1: 1}
