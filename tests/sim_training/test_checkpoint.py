"""Checkpoints survive a full disk, and are refused by a run they do not belong to."""

import dataclasses
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from sim_training import checkpoint
from sim_training.settings import Config
from sim_training.train import Trainer, train

SMALL = {"num_envs": 4, "rollout": 10, "epochs": 1, "minibatches": 2, "video": False}


@contextmanager
def _no_room(size: int) -> Iterator[None]:
    """No file of this process may grow beyond `size` bytes: writing fails as it does on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture(scope="module")
def trainer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trainer]:
    torch.set_num_threads(1)
    trainer = Trainer(Config(task="push_cube", out=tmp_path_factory.mktemp("run"), **SMALL))  # type: ignore[arg-type]
    yield trainer
    trainer.env.close()


def test_a_disk_that_fills_up_while_saving_costs_nothing_that_was_there(trainer: Trainer) -> None:
    trainer.progress.iteration = 1
    checkpoint.save(trainer)
    trainer.progress.iteration = 2
    with _no_room(20_000), pytest.raises(checkpoint.CannotWrite, match="Make room, then --resume"):
        checkpoint.save(trainer)
    left = [path.name for path in (trainer.config.folder / "checkpoints").iterdir()]
    assert left == ["000001-rank0of1.pt"]
    checkpoint.load_newest(trainer)
    assert trainer.progress.iteration == 1


def test_a_checkpoint_of_another_task_is_refused_and_the_sentence_names_what_changed(trainer: Trainer) -> None:
    trainer.progress.iteration = 1
    checkpoint.save(trainer)
    ours = trainer.config
    trainer.config = dataclasses.replace(ours, task="pull_cube")
    with pytest.raises(checkpoint.CheckpointOfAnotherRun, match=r"Changed: task\."):
        checkpoint.load_newest(trainer)
    trainer.config = ours


class _Stopped:
    """What the user's Ctrl-C leaves."""

    requested = True

    def __init__(self, *signals: signal.Signals): ...


class _GoesOn(_Stopped):
    requested = False


def test_a_run_that_was_stopped_is_not_reported_as_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report = tmp_path / "report.json"
    config = Config(task="push_cube", out=tmp_path, report=report, total_steps=80, eval_episodes=2, **SMALL)  # type: ignore[arg-type]
    monkeypatch.setattr(checkpoint, "StopRequest", _Stopped)
    assert train(config).env_steps == 40
    assert not report.exists()
    monkeypatch.setattr(checkpoint, "StopRequest", _GoesOn)
    assert train(dataclasses.replace(config, resume=True)).env_steps == 80
    assert report.exists()
