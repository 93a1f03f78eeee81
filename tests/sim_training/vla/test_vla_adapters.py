"""Every VLA adapter in its own environment, with its real library and a tiny randomly initialised model from disk,
answers through our server and client what that library answers row by row.

Left out of a plain run, since each environment is some GB: `launch/test.sh -m vla` (OpenVLA also needs OPENVLA_CODE).
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from contract.poses import Pose
from sim_training.teachers import adapters
from sim_training.teachers.adapters.conversions import Convention, deltas
from sim_training.teachers.remote import RemoteTeacher
from sim_training.teachers.teacher import Question
from tests.sim_training.vla.questions import EXPECTED, IMAGES, INSTRUCTIONS, TCP

pytestmark = [pytest.mark.vla, pytest.mark.slow, pytest.mark.timeout(1800)]

ROOT = Path(__file__).resolve().parents[3]
HERE = Path(__file__).parent
UV = ROOT / ".venv" / "bin" / "uv"
ENVIRONMENT = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{HERE}", "PYTHONSAFEPATH": "1"}


def python_of(name: str) -> str:
    """The interpreter of an adapter's own environment, which is made if need be."""
    adapter = str(Path(adapters.__file__).parent / f"{name}.py")
    made = subprocess.run([UV, "sync", "-q", "--script", adapter], capture_output=True, text=True)
    if made.returncode:
        pytest.skip(f"The environment of {name} could not be made: {made.stderr[-300:]}")
    return subprocess.check_output([UV, "python", "find", "--script", adapter], text=True).strip()


def make(name: str, program: str, *arguments: str | Path) -> None:
    """Run one of the programs beside this file in an adapter's environment."""
    subprocess.run([python_of(name), str(HERE / program), *map(str, arguments)], env=ENVIRONMENT, check=True)


@contextlib.contextmanager
def served(name: str, *arguments: str, tmp_path: Path) -> Iterator[RemoteTeacher]:
    """A client of `launch/serve_teacher.py NAME ...`."""
    address = f"ipc://{tmp_path}/teacher"
    command = [str(ROOT / "launch" / "serve_teacher.py"), name, "--address", address, *arguments]
    process = subprocess.Popen(command, cwd=ROOT, text=True, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        assert any("serving" in line for line in process.stdout), "it started"
        with contextlib.closing(RemoteTeacher(address)) as teacher:
            yield teacher
    finally:
        process.terminate()
        process.communicate(timeout=30)


def asked(rows: Any = slice(None)) -> Question:
    instructions = list(np.array(INSTRUCTIONS)[rows])
    tcp = torch.from_numpy(TCP[rows])
    return Question(torch.arange(len(tcp)), instructions, Pose(tcp[:, :3], tcp[:, 3:]), IMAGES[rows])


def expected(folder: Path, convention: Convention) -> np.ndarray:
    """Deltas that follow from what the model's own library answered row by row."""
    answers = np.load(folder / EXPECTED)
    assert len(np.unique(answers[:, 0, 0])) > 2, "rows differ, or this would show nothing"
    return deltas(answers, TCP, convention)


@pytest.mark.skipif("OPENVLA_CODE" not in os.environ, reason="OPENVLA_CODE: prismatic/extern/hf of OpenVLA's sources")
@pytest.mark.parametrize("batch", ["16", "2"])
def test_openvla_in_batches_answers_what_its_own_predict_action_does_row_by_row(tmp_path, batch):
    model = tmp_path / "tiny-random"
    make("openvla", "tiny_openvla.py", model, os.environ["OPENVLA_CODE"])
    options = ["--model", str(model), "--precision", "fp32", "--largest-batch", batch]
    with served("openvla", *options, tmp_path=tmp_path) as teacher:
        assert teacher.name == "openvla tiny-random"
        answer = teacher.ask(asked(), 60.0)
        assert answer.valid.all(), teacher.complaint
        np.testing.assert_allclose(answer.delta, expected(model, Convention()), atol=1e-6)


def test_a_lerobot_policy_in_batches_answers_what_it_does_row_by_row_and_remembers_nothing(tmp_path):
    model = tmp_path / "tiny-random"
    make("lerobot", "tiny_lerobot.py", model, "act")
    options = ["--model", str(model), "--frame", "tool", "--rotation", "rotation_vector"]
    with served("lerobot", *options, tmp_path=tmp_path) as teacher:
        assert teacher.name == "lerobot act tiny-random"
        due = expected(model, Convention(frame="tool", rotation="rotation_vector"))
        for rows in (slice(None), slice(None), [4, 1]):
            answer = teacher.ask(asked(rows), 60.0)
            assert answer.valid.all(), teacher.complaint
            np.testing.assert_allclose(answer.delta, due[rows], atol=1e-5)


def test_smolvla_answers(tmp_path):
    model = tmp_path / "tiny-random"
    make("lerobot", "tiny_lerobot.py", model, "smolvla")
    with served("lerobot", "--model", str(model), "--chunk-steps", "2", tmp_path=tmp_path) as teacher:
        assert teacher.name == "lerobot smolvla tiny-random"
        first, second = teacher.ask(asked(), 60.0), teacher.ask(asked(), 60.0)
    assert first.valid.all(), teacher.complaint
    assert second.valid.all(), teacher.complaint
    assert not torch.equal(first.delta, second.delta), "it samples"
    assert first.delta[:, :3].abs().max() < 0.2, "its statistics were undone: 0.02 m is one standard deviation"


def test_octo_in_batches_answers_what_it_does_row_by_row(tmp_path):
    model = tmp_path / "tiny-random"
    make("octo", "tiny_octo.py", model)
    with served("octo", "--model", str(model), tmp_path=tmp_path) as teacher:
        assert teacher.name == "octo tiny-random"
        for rows in (slice(None), [4, 1]):
            answer = teacher.ask(asked(rows), 120.0)
            assert answer.valid.all(), teacher.complaint
            np.testing.assert_allclose(answer.delta, expected(model, Convention())[rows], atol=1e-4)


def test_an_openpi_server_is_asked_row_by_row_and_again_after_it_failed(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    command = [python_of("openpi"), str(HERE / "tiny_openpi.py"), port]
    policy = subprocess.Popen(command, env=ENVIRONMENT, text=True, stdout=subprocess.PIPE)
    assert policy.stdout is not None
    policy.stdout.readline()
    options = ["--port", port, "--blank-keys", "observation/wrist_image"]
    try:
        with served("openpi", *options, tmp_path=tmp_path) as teacher:
            assert teacher.name == f"openpi 127.0.0.1:{port}"
            answer = teacher.ask(asked(), 60.0)
            assert answer.valid.all(), teacher.complaint
            seen = 0.05 * IMAGES.mean((1, 2)) / 255
            read = [[len(text) % 2] for text in INSTRUCTIONS]
            first = np.concatenate([seen, 0.1 * TCP[:, 3:6], read], -1)
            np.testing.assert_allclose(answer.delta, deltas(first[:, None], TCP, Convention()), atol=1e-3)
            broken = Question(torch.arange(1), ["break"], Pose(*torch.from_numpy(TCP[:1]).split([3, 4], 1)), IMAGES[:1])
            assert not teacher.ask(broken, 60.0).valid.any()
            assert "a broken policy" in str(teacher.complaint)
            assert teacher.ask(asked(), 60.0).valid.all()
            policy.terminate()
            policy.wait()
            assert not teacher.ask(asked(), 60.0).valid.any()
            assert teacher.ask(asked(), 60.0).valid.sum() == 0
            assert "No openpi policy server answers" in str(teacher.complaint)
    finally:
        policy.kill()
        policy.communicate()
