"""Training with a teacher behind a server: pictures are rendered and asked about, and no teacher can stop a run."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from sim_training.settings import Config
from sim_training.teachers.teacher import Answer, BadAnswer, Question
from sim_training.train import Trainer

ROOT = Path(__file__).resolve().parents[2]
SMALL = {"num_envs": 1, "rollout": 10, "epochs": 1, "minibatches": 2, "video": False}
QUESTIONS = 5
"""That vlajs asks in a rollout at first."""


class Mumbling:
    """Answers with deltas of a fixed shape that are not finite."""

    name, needs_images = "synthetic mumbling", False

    def __init__(self, size: int):
        self._size = size

    def begin(self, rows: torch.Tensor) -> None:
        """No memory."""

    def ask(self, question: Question, deadline_s: float) -> Answer:
        count = len(question.rows)
        return Answer(torch.full((count, self._size), torch.nan), torch.ones(count, dtype=torch.bool))


def serve(address: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "sim_training.teachers.adapters.tiny", "--address", address]
    server = subprocess.Popen(command, cwd=ROOT, text=True, stdout=subprocess.PIPE)
    assert server.stdout is not None
    assert "serving" in server.stdout.readline()
    return server


def trainer(folder: Path, **settings: Any) -> Trainer:
    torch.set_num_threads(1)
    return Trainer(Config(out=folder, **SMALL, **settings))  # type: ignore[arg-type]


def iterate(trained: Trainer) -> int:
    """One iteration; how many steps it guided."""
    before = trained.progress.guided_steps
    rollout, guidance, _ = trained.collect()
    trained.update(rollout, guidance, trained.schedule.weight)
    assert all(torch.isfinite(p).all() for p in trained.model.parameters())
    return trained.progress.guided_steps - before


@pytest.mark.slow
def test_a_killed_server_costs_guided_steps_only_and_guides_again_when_it_is_back(tmp_path: Path) -> None:
    address = f"ipc://{tmp_path}/teacher"
    server = serve(address)
    try:
        trained = trainer(tmp_path, teacher=address, teacher_deadline_s=5.0)
        assert trained.teacher.name == "synthetic tiny"
        assert iterate(trained) > 0
        assert trained.progress.teacher_calls == QUESTIONS
        server.kill()
        server.communicate()
        time.sleep(0.2)
        assert iterate(trained) == 0
        server = serve(address)
        time.sleep(1.0)  # the client tries again a few times a second
        assert iterate(trained) > 0
        trained.env.close()
    finally:
        server.kill()
        server.communicate()


def test_answers_that_are_not_finite_guide_nothing_and_leave_the_policy_finite(tmp_path: Path) -> None:
    trained = trainer(tmp_path)
    trained.teacher = Mumbling(7)  # type: ignore[assignment]
    assert iterate(trained) == 0
    trained.teacher = Mumbling(6)  # type: ignore[assignment]
    with pytest.raises(BadAnswer, match=r"\(1, 7\) and \(1,\) were due"):
        trained.collect()
    trained.env.close()


@pytest.mark.parametrize("teacher", ["tcp://127.0.0.1:9", "openvla"])
def test_a_teacher_that_is_not_there_is_one_sentence_before_training_starts(tmp_path: Path, teacher: str) -> None:
    command = [sys.executable, "-m", "sim_training.settings", "--out", str(tmp_path), "--teacher", teacher]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert done.stderr.strip().count("\n") == 0
    assert "launch/serve_teacher.py" in done.stderr
