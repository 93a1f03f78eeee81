"""One training process per rank, through torchrun: `python -m sim_training.ranks COUNT ARGUMENTS`. See train_sim.sh."""

from __future__ import annotations

import os
import shlex
import sys
import tempfile
from pathlib import Path

from torch.distributed import run


def main(count: str, *arguments: str) -> None:
    """Start them, here or with other machines (RENDEZVOUS), and say in one sentence why they gave up, if they did."""
    machines = shlex.split(os.environ.get("RENDEZVOUS", "--standalone"))
    with tempfile.TemporaryDirectory() as folder:
        trouble = Path(folder) / "trouble"
        os.environ["TROUBLE"] = str(trouble)
        try:
            run.main([*machines, "--nproc-per-node", count, "-m", "sim_training.train", *arguments])
        finally:  # also where one rank gave up and the others failed for want of it
            if trouble.exists():
                sys.exit("\n" + trouble.read_text())


if __name__ == "__main__":
    main(*sys.argv[1:])
