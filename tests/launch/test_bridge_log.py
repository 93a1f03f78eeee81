"""Whatever a user gives `launch/bridge.py log` that is no flight record ends in one sentence."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from robot_runtime.cell import load_cell
from robot_runtime.flight_recorder import FlightRecorder
from safety.faults import LatchedFault

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture
def bridge(tmp_path: Path):
    """Runs the program on a cell that records into an empty folder; returns exit code and all it said."""
    mock = load_cell("mock")
    cell = dataclasses.replace(mock, bridge=dataclasses.replace(mock.bridge, flight_records=str(tmp_path / "flights")))
    cell.write(tmp_path / "cell.yaml")

    def run(*arguments: object) -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, ROOT / "launch" / "bridge.py", *map(str, arguments), "--cell", tmp_path / "cell.yaml"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
        )
        assert "Traceback" not in done.stdout
        return done.returncode, done.stdout.strip()

    run.cell = cell
    return run


def one_sentence(answer: tuple[int, str], words: str) -> None:
    code, said = answer
    assert code == 1
    assert said.startswith("bridge: ")
    assert len(said.splitlines()) == 1
    assert words in said


def test_what_is_no_flight_record_is_one_sentence_each(bridge, tmp_path: Path) -> None:
    one_sentence(bridge("log"), f"There are no flight records in {tmp_path / 'flights'}")
    one_sentence(bridge("log", ROOT / "README.md"), "is not a flight record")
    np.savez(tmp_path / "old.npz", stamp=np.zeros(3), events=np.array(["{}"]))
    one_sentence(bridge("log", tmp_path / "old.npz"), "another version")
    one_sentence(bridge("status", tmp_path / "old.npz"), "Only `log` takes a file")


def test_a_record_of_a_fault_before_anything_was_read_is_told_and_drawn_all_the_same(bridge, tmp_path: Path) -> None:
    FlightRecorder(bridge.cell).dump(LatchedFault("arm_silent", "The arm has sent no new state.", 0.0)).result()
    code, said = bridge("log", "--out", tmp_path / "empty.svg")
    assert code == 0
    assert "0 of 0 decisions replay bit for bit." in said
    assert (tmp_path / "empty.svg").stat().st_size > 1000
    code, said = bridge("log", "--out", tmp_path / "empty.gif")
    assert code == 1
    assert "must end in .png, .svg, .pdf, .html" in said.splitlines()[-1]
