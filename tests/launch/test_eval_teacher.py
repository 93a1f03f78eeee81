"""Measuring a teacher: under the conditions a comparison trains under, and one sentence where it cannot be asked."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest
import torch

import _sim_episodes
from contract.tasks import LIFT_CUBE
from sim_training.envs import scenery
from sim_training.teachers import keys, protocol
from sim_training.teachers.teacher import Answer, Question, checked
from tests.sim_training.teacher_servers import impostor

PROGRAM = Path(__file__).resolve().parents[2] / "launch" / "eval_teacher.py"


@pytest.fixture
def program() -> Any:
    return importlib.import_module("eval_teacher")


def refusal(program: Any, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> str:
    """The sentence that it ends with, exit code 1."""
    monkeypatch.setattr(sys, "argv", ["eval_teacher.py", *arguments])
    with pytest.raises(SystemExit) as ended:
        program.run()
    assert isinstance(ended.value.code, str), "a text is printed, and means exit code 1"
    return ended.value.code


def test_no_server_at_the_address_is_one_sentence_and_exit_code_1() -> None:
    command = [sys.executable, str(PROGRAM), "--teacher", "tcp://127.0.0.1:9"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.strip().count("\n") == 0
    assert "launch/serve_teacher.py" in done.stderr


def test_a_server_that_refuses_is_one_sentence(program: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    hello = {"op": "hello", "id": 0, "model": "m", "probe": None}
    old = msgpack.packb(msgpack.unpackb(protocol.encode(hello)) | {"version": 0})
    with impostor(lambda _: old) as address:
        assert "protocol 0, this side 1" in refusal(program, monkeypatch, "--teacher", address)


def test_another_host_without_keys_is_one_sentence(
    program: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(keys, "KEYS_FOLDER", tmp_path / "none")
    said = refusal(program, monkeypatch, "--teacher", "tcp://teachers.example:5570")
    assert "launch/serve_teacher.py keys" in said


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--teacher", "openvla"], "launch/serve_teacher.py openvla"),
        (["--teacher", "scriptd"], "did you mean 'scripted'"),
        (["--task", "lift_cub"], "did you mean 'lift_cube'"),
        (["--task", "lift_cub", "--teacher", "tcp://127.0.0.1:9"], "did you mean 'lift_cube'"),
    ],
)
def test_a_name_nobody_has_is_one_sentence(
    program: Any, monkeypatch: pytest.MonkeyPatch, arguments: list[str], sentence: str
) -> None:
    assert sentence in refusal(program, monkeypatch, *arguments)


class Mumbling:
    """Answers with six numbers a row."""

    name, needs_images = "synthetic mumbling", False

    def begin(self, rows: torch.Tensor) -> None:
        """No memory."""

    def ask(self, question: Question, deadline_s: float) -> Answer:
        count = len(question.rows)
        return checked(Answer(torch.zeros(count, 6), torch.ones(count, dtype=torch.bool)), count, self.name)


def test_answers_of_the_wrong_shape_are_one_sentence(program: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program, "teacher_of", lambda _: Mumbling())
    assert "(2, 7) and (2,) were due" in refusal(program, monkeypatch, "--episodes", "2")


@pytest.mark.parametrize(
    ("arguments", "factor", "randomise"),
    [([], 1, True), (["--no-randomise"], 1, False), (["--horizon-factor", "10"], 10, True)],
)
def test_the_task_is_the_one_that_is_trained_and_the_report_says_which(
    program: Any,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    arguments: list[str],
    factor: int,
    randomise: bool,
) -> None:
    met = []

    def success(env: Any, *_: Any) -> torch.Tensor:
        met.append(env.unwrapped)
        return torch.tensor([True, False])

    report = tmp_path / "report.json"
    monkeypatch.setattr(program, "success", success)
    monkeypatch.setattr(sys, "argv", ["eval_teacher.py", "--episodes", "2", "--report", str(report), *arguments])
    program.run()
    (task,) = met
    assert task.card.horizon == factor * LIFT_CUBE.horizon
    assert task.card.translation_scale_m == LIFT_CUBE.translation_scale_m / factor
    assert task.randomise is randomise
    figures = json.loads(report.read_text())
    assert (figures["horizon_factor"], figures["randomise"]) == (factor, randomise)
    assert figures["teacher"] == "scripted (synthetic)"
    assert figures["success"] == 0.5


@pytest.mark.parametrize("name", ["front", "wrist"])
def test_a_teacher_may_be_shown_what_the_cameras_of_the_collecting_cell_see(name: str) -> None:
    tool: Any = object()
    shown, view = scenery.camera(name, tool), _sim_episodes.views()[name]
    where = shown.pose.sp.to_transformation_matrix()
    expected = view.T.matrix()
    expected[:3, 3] += np.zeros(3) if view.on_tool else scenery.BASE_IN_WORLD
    np.testing.assert_allclose(where[:3, 3], expected[:3, 3], atol=1e-4)
    right, down, ahead = expected[:3, :3].T
    np.testing.assert_allclose(where[:3, :3].T, [ahead, -right, -down], atol=1e-3)
    assert (shown.mount is tool) is view.on_tool
    assert shown.fov == pytest.approx(view.fovy_rad)
