"""Training end to end at toy size: a killed run that is resumed ends with the weights of one that was not."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from contract.artifact import load
from contract.tasks import LIFT_CUBE

ROOT = Path(__file__).resolve().parents[2]
TOY = [
    "--num-envs",
    "8",
    "--rollout",
    "10",
    "--epochs",
    "1",
    "--minibatches",
    "2",
    "--total-steps",
    "480",
    "--checkpoint-every",
    "1",
    "--no-video",
]


def _start(out: Path, *more: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "sim_training.train", "--out", str(out), "--seed", "3", *TOY, *more]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command, cwd=ROOT, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def _finish(process: subprocess.Popen[str]) -> str:
    output, _ = process.communicate(timeout=240)
    assert process.returncode == 0, output[-2000:]
    return output


def _weights(out: Path) -> dict[str, torch.Tensor]:
    newest = sorted((out / "checkpoints").glob("*.pt"))[-1]
    return torch.load(newest, weights_only=True)["model"]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_killed_and_resumed_run_ends_with_the_same_weights(tmp_path: Path) -> None:
    rare = ["--eval-every", "1000", "--eval-episodes", "4"]
    whole = _start(tmp_path / "whole", *rare)
    killed = _start(tmp_path / "killed", *rare)
    checkpoints = tmp_path / "killed" / "checkpoints"
    deadline = time.monotonic() + 200
    while not list(checkpoints.glob("00000[23]*.pt")) and time.monotonic() < deadline:
        time.sleep(0.02)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert not list(checkpoints.glob("000006*.pt")), "killed midway"
    _finish(whole)
    _finish(_start(tmp_path / "killed", *rare, "--resume"))
    expected, found = _weights(tmp_path / "whole"), _weights(tmp_path / "killed")
    assert expected.keys() == found.keys()
    for name, tensor in expected.items():
        assert torch.equal(tensor, found[name]), name
    policy = load(tmp_path / "whole" / "policy", LIFT_CUBE)
    assert policy is not None


def test_settings_refuse_unknown_tasks_lost_checkpoints_and_used_folders(tmp_path: Path) -> None:
    def complaint(*arguments: str) -> str:
        command = [sys.executable, "-m", "sim_training.settings", *arguments]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
        assert done.returncode != 0
        return done.stderr.strip()

    assert "did you mean 'lift_cube'" in complaint("--task", "lift_cub")
    assert "make no schedule" in complaint("--schedule.calls-min", "0")
    assert "No checkpoint in" in complaint("--out", str(tmp_path), "--resume")
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "000001-rank0of1.pt").touch()
    assert "already holds a run" in complaint("--out", str(tmp_path))
