"""`launch/teleoperate.py` at a terminal: keys drive the arm, and what they did is in the episode."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from robot_runtime.collection.episode import files, read

from .conftest import write_free_cell
from .terminal import Terminal

pytestmark = pytest.mark.hil

ROOT = Path(__file__).resolve().parent.parent.parent


def test_keys_drive_the_arm_mark_steps_and_end_the_episode(tmp_path: Path) -> None:
    _, file = write_free_cell(tmp_path, "driven")
    out, report = tmp_path / "episodes", tmp_path / "report.json"
    program = [
        sys.executable,
        str(ROOT / "launch" / "teleoperate.py"),
        "--out",
        out,
        "--cell",
        file,
        "--report",
        report,
    ]
    terminal = Terminal(*map(str, program), "--episodes", "2")
    terminal.expect("reaching", within_s=90)
    for _ in range(6):
        terminal.expect("m/s", within_s=10)
    for _ in range(12):
        terminal.press("a")
        terminal.expect("m/s", within_s=10)
    terminal.press("y")
    for _ in range(20):
        terminal.expect("m/s", within_s=10)
    terminal.press("\n")
    terminal.expect("failed", within_s=30)
    terminal.expect("reaching", within_s=60)
    terminal.press(" ")
    assert terminal.exit_code(within_s=30) == 130
    assert "Stopped by the operator" in terminal.shown
    (path,) = files(out)
    made = read(path)
    human = made.steps["human"] > 0.5
    assert human.any()
    assert not human[0], "nobody has touched a key yet"
    assert not human[-1], "and let go of it"
    aside = made.steps["command_base_tcp"][:, 1]
    assert aside[-1] - aside[0] > 0.02, "left is the base's y"
    np.testing.assert_allclose(aside[~human & (np.arange(len(human)) > human.argmax())], aside[-1], atol=0.003)
    ((step, done),) = made.about.notes["marks"]
    assert done
    assert human.argmax() < step < len(made)
    assert made.about.policy == "a person with the keyboard"
    assert (made.about.success, made.about.success_by) == (False, "truth")
    assert json.loads(report.read_text())["episodes"] == 1
