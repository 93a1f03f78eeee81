"""Training end to end at toy size: a killed run that is resumed ends with the weights of one that was not."""

import contextlib
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from contract.artifact import load
from contract.tasks import LIFT_CUBE

ROOT = Path(__file__).resolve().parents[2]
RANKS, ITERATIONS = 2, 15
STEPS = RANKS * 8 * 10
"""Of one iteration."""
TOY = ["--num-envs", "8", "--rollout", "10", "--epochs", "1", "--minibatches", "2", "--schedule.calls-max", "1"]
TOY += ["--total-steps", str(ITERATIONS * STEPS), "--eval-every", "1000", "--eval-episodes", "4", "--seed", "3"]
TOY += ["--checkpoint-every", "1", "--no-video"]
Start = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts the program as a user would, on two ranks; what it says goes to OUT.log. Nothing survives the test."""
    started = []

    def start_one(out: Path, *more: str) -> subprocess.Popen[bytes]:
        command = [str(ROOT / "launch" / "train_sim.sh"), "--out", str(out), *TOY, *more]
        environment = os.environ | {"RANKS": str(RANKS)}
        with out.with_suffix(".log").open("a") as log:
            started.append(subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log))
        return started[-1]

    yield start_one
    for process in started:
        if process.poll() is None:
            _kill(process)


def _kill(process: subprocess.Popen[bytes]) -> None:
    """SIGKILL to a run and all its ranks: torchrun gives each a session of its own, so no process group holds them."""
    everyone: list[psutil.Process] = []
    with contextlib.suppress(psutil.NoSuchProcess):
        parent = psutil.Process(process.pid)
        everyone = [parent, *parent.children(recursive=True)]
    for one in everyone:
        with contextlib.suppress(psutil.NoSuchProcess):
            one.kill()
    process.wait()
    psutil.wait_procs(everyone, timeout=10)


def _newest_complete(out: Path) -> int:
    """Iteration of the newest checkpoint that both ranks have written, or 0."""
    folder = out / "checkpoints"
    by_rank = [{int(path.name[:6]) for path in folder.glob(f"*-rank{rank}of{RANKS}.pt")} for rank in range(RANKS)]
    return max(set.intersection(*by_rank), default=0)


def _first_step(events: Path) -> int:
    """Environment steps at the first iteration in an events file."""
    read = EventAccumulator(str(events))
    read.Reload()
    return int(read.Scalars("train/kl")[0].step)


def _said(out: Path) -> str:
    return out.with_suffix(".log").read_text()[-2000:]


def _bits(out: Path, rank: int) -> dict[str, bytes]:
    """The weights that a rank ended with, as they lie in memory."""
    newest = out / "checkpoints" / f"{ITERATIONS:06d}-rank{rank}of{RANKS}.pt"
    model = torch.load(newest, weights_only=True)["model"]
    return {name: tensor.numpy().tobytes() for name, tensor in model.items()}


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_two_ranks_killed_at_a_random_moment_and_resumed_end_with_the_same_weights_bit_for_bit(
    start: Start, tmp_path: Path
) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    after, wait_s = random.SystemRandom().randint(1, ITERATIONS // 3), random.SystemRandom().uniform(0, 0.3)
    moment = f"Killed {wait_s:.3f} s after checkpoint {after}."
    undisturbed, run = start(whole), start(killed)
    deadline = time.monotonic() + 200
    while _newest_complete(killed) < after and run.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
    time.sleep(wait_s)
    _kill(run)
    kept, before = _newest_complete(killed), set(killed.glob("events*"))
    assert after <= kept < ITERATIONS, f"{moment} Not midway, but at {kept}: {_said(killed)}"
    assert undisturbed.wait(timeout=240) == 0, _said(whole)
    assert start(killed, "--resume").wait(timeout=240) == 0, f"{moment} {_said(killed)}"
    (resumed,) = set(killed.glob("events*")) - before
    assert _first_step(resumed) == (kept + 1) * STEPS, f"{moment} It did not go on from checkpoint {kept}."
    for rank in range(RANKS):
        expected, found = _bits(whole, rank), _bits(killed, rank)
        assert expected.keys() == found.keys()
        differing = [name for name, bits in expected.items() if found[name] != bits]
        assert not differing, f"{moment} It went on from checkpoint {kept}; on rank {rank} these differ: {differing}"
    policies = [(out / "policy" / "policy.safetensors").read_bytes() for out in (whole, killed)]
    assert policies[0] == policies[1], moment
    assert load(killed / "policy", LIFT_CUBE) is not None
    refused = start(killed, "--resume", "--gamma", "0.9")
    heard = len(killed.with_suffix(".log").read_text())
    assert refused.wait(timeout=240) == 1
    answer = killed.with_suffix(".log").read_text()[heard:]
    assert answer.strip().endswith("Changed: gamma."), "one sentence for both ranks"
    assert "Traceback" not in answer


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
