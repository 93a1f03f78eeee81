"""A cell without scoring channel is a lab cell to the program: an operator starts, judges and stops."""

from __future__ import annotations

import dataclasses
import json
import os
import pty
import select
import signal
import sys
import time
from pathlib import Path

import pytest

from robot_runtime.mock_cell.cell_process import MockCell, MockCellAddresses
from robot_runtime.mock_cell.scoring import ScoringClient

from .conftest import write_free_cell

pytestmark = pytest.mark.hil

ROOT = Path(__file__).resolve().parent.parent.parent


class Terminal:
    """A program on a terminal of its own, and what it has shown so far."""

    def __init__(self, *command: str) -> None:
        self.pid, self._terminal = pty.fork()
        if self.pid == 0:
            os.execv(command[0], command)
        self.shown = ""
        self._read = 0

    def shows(self, words: str, within_s: float) -> bool:
        """Whether the program shows `words`, after what was expected before; waits that long for it."""
        deadline = time.monotonic() + within_s
        while words not in self.shown[self._read :]:
            if time.monotonic() > deadline:
                return False
            if select.select([self._terminal], [], [], 0.2)[0]:
                self.shown += os.read(self._terminal, 4096).decode(errors="replace")
        self._read = self.shown.index(words, self._read) + len(words)
        return True

    def expect(self, words: str, within_s: float) -> None:
        """It must show them; a program that does not is ended, so that it keeps no robot from others."""
        if not self.shows(words, within_s):
            os.kill(self.pid, signal.SIGKILL)
            raise AssertionError(f"no '{words}' in:\n{self.shown}")

    def press(self, keys: str) -> None:
        os.write(self._terminal, keys.encode())

    def exit_code(self, within_s: float) -> int:
        """Reads to the end, so that the program never waits for its terminal."""
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline:
            done, status = os.waitpid(self.pid, os.WNOHANG)
            if done:
                return os.waitstatus_to_exitcode(status)
            if select.select([self._terminal], [], [], 0.1)[0]:
                try:
                    self.shown += os.read(self._terminal, 4096).decode(errors="replace")
                except OSError:
                    time.sleep(0.1)
        raise AssertionError(f"still running:\n{self.shown}")


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
