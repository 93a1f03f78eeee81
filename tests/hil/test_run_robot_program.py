"""`launch/run_robot.py` as a user starts it: with real parts, to its end, and interrupted."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from contract.tasks import LIFT_CUBE
from robot_runtime.cell import Cell
from robot_runtime.mock_cell.cell_process import MockCellAddresses, _is_free

from .conftest import write_free_cell

pytestmark = pytest.mark.hil

ROOT = Path(__file__).resolve().parent.parent.parent


def start(file: Path, policy: Path, report: Path, trials: int, *more: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, ROOT / "launch" / "run_robot.py", "--cell", file, "--policy", policy]
        + ["--trials", str(trials), "--report", report, *more],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def assert_nothing_is_left_of(cell: Cell) -> None:
    deadline = time.monotonic() + 10
    taken = endpoints = [*MockCellAddresses.of_cell(cell).endpoints(), ("127.0.0.1", cell.bridge.command_port)]
    while taken and time.monotonic() < deadline:
        taken = [endpoint for endpoint in endpoints if not _is_free(*endpoint)]
    assert not taken
    processes = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert cell.robot.address not in processes


def test_a_policy_that_does_nothing_fails_honestly_and_leaves_nothing_running(
    still_policy: Path, tmp_path: Path
) -> None:
    cell, file = write_free_cell(tmp_path, "still")
    report = tmp_path / "report.json"
    process = start(file, still_policy, report, 1, "--randomise-visuals", "--pushes", "1")
    output, _ = process.communicate(timeout=150)
    assert process.returncode == 2, output
    figures = json.loads(report.read_text())
    assert (figures["trials"], figures["successes"], figures["limit_violations"], figures["faults"]) == (1, 0, 0, 0)
    assert figures["ended_early"] is None
    assert "never closed" in figures["per_trial"][0]["failure"]
    assert figures["per_trial"][0]["ticks"] == LIFT_CUBE.horizon + 2.0 * LIFT_CUBE.rate_hz, (
        "a push gives two seconds more"
    )
    assert (figures["randomise_visuals"], figures["pushes"], figures["true_poses"]) == (True, 1, False)
    assert_nothing_is_left_of(cell)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_interrupted_it_stops_the_arm_keeps_the_report_and_leaves_nothing_running(
    still_policy: Path, tmp_path: Path, how: signal.Signals
) -> None:
    cell, file = write_free_cell(tmp_path, "interrupted")
    report = tmp_path / "report.json"
    process = start(file, still_policy, report, trials=50)
    assert process.stdout is not None
    lines = []
    while not any("trial   1/50" in line for line in lines):
        line = process.stdout.readline()
        assert line, "".join(lines)
        lines.append(line)
    time.sleep(1.0)
    process.send_signal(how)
    output, _ = process.communicate(timeout=30)
    assert process.returncode == (130 if how == signal.SIGINT else -how)
    assert "Traceback" not in output
    assert json.loads(report.read_text())["trials"] >= 1
    assert json.loads(report.read_text())["ended_early"]
    assert_nothing_is_left_of(cell)
