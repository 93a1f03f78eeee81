"""`launch/collect_rldg.py` as a user starts it: killed and begun again, and with an operator at a lab's terminal."""

from __future__ import annotations

import dataclasses
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from robot_runtime.cell import Cell
from robot_runtime.collection import classifier_training as training
from robot_runtime.collection import episode
from robot_runtime.collection.classifier import Card
from robot_runtime.mock_cell.cell_process import MockCell, MockCellAddresses
from robot_runtime.mock_cell.scoring import ScoringClient

from .conftest import write_free_cell
from .terminal import Terminal
from .test_run_robot_program import assert_nothing_is_left_of

pytestmark = pytest.mark.hil

ROOT = Path(__file__).resolve().parent.parent.parent
COLLECT, REPLAY = ROOT / "launch" / "collect_rldg.py", ROOT / "launch" / "replay_episode.py"


def start(program: Path, *arguments: str | Path) -> subprocess.Popen[str]:
    command = [sys.executable, program, *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def finish(process: subprocess.Popen[str]) -> str:
    output, _ = process.communicate(timeout=200)
    assert process.returncode == 0, output
    return output


def unplug_the_camera_once_something_is_lifted(cell: Cell) -> None:
    """Of a mock cell that is about to be started."""
    with ScoringClient(MockCellAddresses.of_cell(cell).scoring, timeout_s=60) as scoring:
        while scoring.truth().pose_base_object.position[2] < 0.05:
            time.sleep(0.05)
        scoring.disturb("camera", kind="unplugged")


def test_killed_or_its_camera_lost_it_goes_on_and_what_it_recorded_can_be_replayed(tmp_path: Path) -> None:
    cell, file = write_free_cell(tmp_path, "collecting")
    folder, report, off = tmp_path / "episodes", tmp_path / "report.json", tmp_path / "off.json"
    arguments = ["--cell", file, "--out", folder, "--episodes", "2", "--report", report]
    process = start(COLLECT, *arguments)
    assert process.stdout is not None
    lines = [process.stdout.readline()]
    while "episode   0" not in lines[-1]:
        lines.append(process.stdout.readline())
        assert lines[-1], "".join(lines)
    (folder / ".episode_00001.h5.1").write_bytes(b"as one that was being written")
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=30)
    assert_nothing_is_left_of(cell)
    process = start(COLLECT, *arguments)
    unplug_the_camera_once_something_is_lifted(cell)
    output, _ = process.communicate(timeout=200)
    assert process.returncode == 1
    assert "sent no picture" in output.strip().splitlines()[-1]
    assert len(list(folder.glob("*.h5"))) == 1, "the running episode is not kept, the one before is"
    finish(start(COLLECT, *arguments))
    figures = json.loads(report.read_text())
    assert figures["complete"]
    assert {name: tally["successes"] for name, tally in figures["per_variant"].items()} == {
        "red_cube": 1,
        "orange_cube": 1,
    }
    assert figures["frames_dropped"] <= 0.01 * 2 * figures["steps"]
    episodes = [made for _, made in episode.read_all(folder)]
    assert len(episodes) == figures["episodes"] == len(list(folder.iterdir()))
    assert len({made.about.seed for made in episodes}) == len(episodes)
    for made in episodes:
        assert made.about.success_by == "truth"
        assert made.pictures("wrist").std() > 5.0
        lifted_m = np.ptp(made.steps["pose_base_object"][:, 2])
        assert (lifted_m > 0.08) == made.about.success
    good = next(path for path, made in episode.read_all(folder) if made.about.success)
    for _ in range(3):  # a setpoint that a busy machine sends a tick late is a centimetre
        start(REPLAY, good, "--cell", file, "--report", off).communicate(timeout=200)
        if json.loads(off.read_text())["path_max_mm"] < 5.0:
            break
    assert json.loads(off.read_text())["path_max_mm"] < 5.0


def test_a_classifier_ends_episodes_and_the_truth_says_whether_it_was_right(still_policy: Path, tmp_path: Path) -> None:
    _, file = write_free_cell(tmp_path, "judged")
    folder, report = tmp_path / "episodes", tmp_path / "report.json"
    network = training.network("shufflenet_v2_x0_5", None, 2 * episode.SIDE_PX, seed=0)
    always = Card("lift_cube", ("wrist", "front"), threshold=0.0, consecutive=5, weights_sha256="")
    training.ship(network, always, tmp_path / "classifier", 2 * episode.SIDE_PX)
    asked = ["--cell", file, "--out", folder, "--report", report, "--policy", still_policy, "--failures", "2"]
    output, _ = start(COLLECT, *asked, "--classifier", tmp_path / "classifier").communicate(timeout=200)
    assert "2 failures in a row" in output
    for _, made in episode.read_all(folder):
        assert len(made) in (10, 11), "it was taken for done from its first step on"
        assert (made.about.success, made.about.success_by, made.about.notes["classifier"]) == (False, "truth", True)
    figures = json.loads(report.read_text())["classifier"]
    assert (figures["said"], figures["right"], figures["precision"]) == (2, 0, 0.0)


def test_at_a_lab_the_operator_puts_the_object_judges_and_pauses(still_policy: Path, tmp_path: Path) -> None:
    cell, _ = write_free_cell(tmp_path, "lab")
    addresses, file, folder = MockCellAddresses.of_cell(cell), tmp_path / "lab.yaml", tmp_path / "episodes"
    dataclasses.replace(cell, mock=None, scoring=None).write(file)
    arguments = ["--cell", file, "--policy", still_policy, "--out", folder, "--variants", "mug,bowl"]
    with MockCell(addresses, serial=cell.camera.serial), ScoringClient(addresses.scoring) as scoring:
        terminal = Terminal(sys.executable, str(COLLECT), *map(str, arguments))
        terminal.expect("Enter starts, Ctrl-C leaves.", within_s=60)
        terminal.press("\n")
        terminal.expect("Put the mug anywhere", within_s=60)
        terminal.press("\n")
        terminal.expect("reaching", within_s=60)
        terminal.press("p")
        terminal.expect("did it succeed? [y/n]", within_s=120)
        terminal.press("n\n")
        terminal.expect("hold the cube", within_s=5)
        terminal.press("\n")
        terminal.expect("Paused", within_s=10)
        terminal.press("\n")
        terminal.expect("step back", within_s=60)  # the object is in sight where it was, but a hand may still hold it
        terminal.press("\n")
        terminal.expect("reaching", within_s=60)
        scoring.disturb("camera", kind="unplugged")
        terminal.expect("has sent no", within_s=60)
        assert terminal.exit_code(within_s=30) == 1
    (about,) = [episode.read_about(path) for path in episode.files(folder)]
    assert (about.variant, about.success, about.success_by) == ("mug", False, "operator")
    assert [path.name for path in folder.iterdir()] == [episode.name_of(0)]
