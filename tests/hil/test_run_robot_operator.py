"""A cell without scoring channel is a lab cell to the program: an operator starts, judges and stops."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

import pytest

from robot_runtime.mock_cell.cell_process import MockCell, MockCellAddresses
from robot_runtime.mock_cell.scoring import ScoringClient

from .conftest import write_free_cell
from .terminal import Terminal

pytestmark = pytest.mark.hil

ROOT = Path(__file__).resolve().parent.parent.parent


def test_the_operator_starts_judges_clears_faults_and_stops_with_one_key(still_policy: Path, tmp_path: Path) -> None:
    cell, _ = write_free_cell(tmp_path, "lab")
    addresses, file, report = MockCellAddresses.of_cell(cell), tmp_path / "lab.yaml", tmp_path / "report.json"
    dataclasses.replace(cell, mock=None, scoring=None).write(file)
    program = [sys.executable, str(ROOT / "launch" / "run_robot.py")]
    arguments = ["--cell", file, "--policy", still_policy, "--trials", "3", "--report", report]
    with MockCell(addresses, serial=cell.camera.serial):
        terminal = Terminal(*program, *map(str, arguments))
        terminal.expect("Enter starts, Ctrl-C leaves.", within_s=60)
        assert "reaching" not in terminal.shown, "nothing moves before the operator agrees"
        terminal.press("\n")
        terminal.expect("Enter starts the trial.", within_s=60)
        terminal.press("\n")
        terminal.expect("did it succeed? [y/n]", within_s=120)
        terminal.press("perhaps\n")
        terminal.expect("did it succeed? [y/n]", within_s=5)
        terminal.press("y\n")
        terminal.expect("The gripper opens now", within_s=5)
        terminal.press("\n")
        terminal.expect("Enter starts the trial.", within_s=60)
        terminal.press("\n")
        terminal.expect("reaching", within_s=60)
        with ScoringClient(addresses.scoring) as scoring:
            scoring.disturb("reflex", error="joint_velocity_violation")
        terminal.expect("did it succeed? [y/n]", within_s=30)
        terminal.press("n\n")
        terminal.expect("The gripper opens now", within_s=5)
        terminal.press("\n")
        terminal.expect("Enter clears the fault", within_s=30)
        assert "joint_velocity_violation" in terminal.shown
        terminal.press("\n")
        terminal.expect("Enter starts the trial.", within_s=60)
        terminal.press("\n")
        terminal.expect("reaching", within_s=60)
        terminal.press(" ")
        assert terminal.exit_code(within_s=30) == 130
    assert "Stopped by the operator" in terminal.shown
    figures = json.loads(report.read_text())
    assert (figures["trials"], figures["successes"], figures["ended_early"]) == (2, 1, "Stopped by the operator.")
