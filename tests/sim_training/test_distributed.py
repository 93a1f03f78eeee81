"""Two ranks end every exchange with the mean of both gradients."""

import os
import subprocess
import sys
from pathlib import Path

import torch

from sim_training import distributed

ROOT = Path(__file__).resolve().parents[2]


def test_two_ranks_average_their_gradients() -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", __file__]
    done = subprocess.run(
        command, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]


def _one_rank() -> None:
    distributed.start()
    rank, world = distributed.rank_and_world()
    assert world == 2
    model = torch.nn.Linear(3, 2)
    model.weight.grad = torch.arange(6.0).view(2, 3) * (1 + rank)
    model.bias.grad = torch.full((2,), 10.0 * rank)
    distributed.average_gradients(model)
    torch.testing.assert_close(model.weight.grad, torch.arange(6.0).view(2, 3) * 1.5)
    torch.testing.assert_close(model.bias.grad, torch.full((2,), 5.0))
    distributed.finish()


if __name__ == "__main__":
    _one_rank()
