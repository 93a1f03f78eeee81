"""`launch/run_generalist.py` as a user starts it: the cell's cameras in, setpoints out, judged, reported."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from contract.tasks import LIFT_CUBE
from robot_runtime.collection.episode import SIDE_PX
from sim_training.generalist.train import Demonstration, Training, fit

from .conftest import write_free_cell

pytestmark = pytest.mark.hil

PROGRAM = Path(__file__).resolve().parent.parent.parent / "launch" / "run_generalist.py"


@pytest.fixture(scope="module")
def rising(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Whatever it sees it goes up, 4 to 6 mm in a tenth of a second: it was shown nothing else."""
    rng = np.random.default_rng(0)
    actions = rng.uniform(-1e-4, 1e-4, (20, 7))
    actions[:, 2], actions[:, 6] = rng.uniform(0.004, 0.006, 20), 1.0
    seen = {name: rng.integers(0, 255, (20, SIDE_PX, SIDE_PX, 3), np.uint8) for name in ("front", "wrist")}
    folder = tmp_path_factory.mktemp("generalists") / "rising"
    fit([Demonstration(seen, actions, LIFT_CUBE.instruction)], folder, Training(steps=2, batch=4), show=False)
    return folder


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, PROGRAM, *arguments], capture_output=True, text=True, timeout=200)


def test_it_moves_the_arm_as_it_answers_and_is_judged_by_the_truth(rising: Path, tmp_path: Path) -> None:
    _, file = write_free_cell(tmp_path, "generalist")
    report = tmp_path / "report.json"
    done = run("--generalist", rising, "--cell", file, "--trials", "1", "--longest-s", "2", "--variants",
               "magenta_cube", "--report", report)  # fmt: skip
    assert done.returncode == 0, done.stderr
    figures = json.loads(report.read_text())
    assert (figures["trials"], figures["successes"], figures["refused"]) == (1, 0, 0)
    assert figures["per_variant"] == {"magenta_cube": [0, 1]}
    (trial,) = figures["per_trial"]
    assert (trial["failure"], trial["faults"]) == (None, 0)
    assert 1.9 < trial["duration_s"] < 3.0


def test_what_it_was_not_taught_is_said_before_anything_starts(rising: Path) -> None:
    done = run("--generalist", rising, "--instruction", "lift the peg")
    assert done.returncode == 1
    assert "lift the cube" in done.stderr
    assert "mock cell" not in done.stdout
