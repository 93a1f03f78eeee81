"""Whatever a user gets wrong ends in one clear sentence and exit code 1, before anything has been started."""

from __future__ import annotations

import dataclasses
import fcntl
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from contract import artifact
from contract.observation import observation_size
from contract.tasks import LIFT_CUBE
from robot_runtime.cell import CELLS_FOLDER, load_cell

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture
def run_robot(tmp_path: Path, still_policy: Path):
    """Starts the program as a user would, but inside the environment; returns the sentence it ends with."""

    def start(*arguments: str, policy: Path = still_policy) -> str:
        done = subprocess.run(
            [sys.executable, ROOT / "launch" / "run_robot.py", "--policy", str(policy), *arguments],
            env={**os.environ, "XDG_STATE_HOME": str(tmp_path / "state")},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 1, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        sentence = done.stderr.strip()
        assert len(sentence.splitlines()) == 1, sentence
        return sentence

    return start


def cell_file(tmp_path: Path, **changes: object) -> str:
    """The mock cell's file with other values at dotted keys."""
    plain = yaml.safe_load((CELLS_FOLDER / "mock.yaml").read_text())
    for dotted, value in changes.items():
        *path, last = dotted.split("__")
        place = plain
        for key in path:
            place = place[key]
        place[last] = value
    path = tmp_path / "cell.yaml"
    path.write_text(yaml.safe_dump(plain))
    return str(path)


def test_an_unknown_task_or_cell_is_answered_with_the_nearest_name(run_robot) -> None:
    assert "did you mean 'lift_cube'" in run_robot("--task", "lift_cub")
    assert "did you mean 'mock'" in run_robot("--cell", "mok")


def test_a_cell_file_with_an_unknown_key_or_wrong_units_is_named(run_robot, tmp_path: Path) -> None:
    assert "did you mean 'robot.model'" in run_robot("--cell", cell_file(tmp_path, robot__modle="fr3"))
    assert "millimetres" in run_robot("--cell", cell_file(tmp_path, workspace__high_m=[800.0, 360.0, 550.0]))


def test_a_policy_that_cannot_be_used_is_refused_before_anything_starts(
    run_robot, still_policy: Path, tmp_path: Path
) -> None:
    assert "train_sim" in run_robot(policy=tmp_path / "nowhere")
    broken = shutil.copytree(still_policy, tmp_path / "broken")
    (broken / "policy.safetensors").write_bytes(b"short")
    assert "bytes" in run_robot(policy=broken)
    outdated = tmp_path / "outdated"
    old = dataclasses.replace(LIFT_CUBE, max_lead_m=0.01)
    tensors = {"normaliser.mean": np.zeros(observation_size(old)), "normaliser.std": np.ones(observation_size(old))}
    tensors |= {"actor.0.weight": np.zeros((7, observation_size(old))), "actor.0.bias": np.zeros(7)}
    artifact.write(outdated, old, tensors, b"", np.zeros((1, observation_size(old))), {"commit": "c0ffee"})
    assert "c0ffee" in run_robot(policy=outdated)


def test_a_report_that_cannot_be_written_is_noticed_before_the_trials(run_robot, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "cannot be written" in run_robot("--report", str(tmp_path / "file" / "report.json"))
    assert "at least 1" in run_robot("--trials", "0")
    assert "0 to 10" in run_robot("--pushes", "-1")


def test_a_lab_cell_without_an_operator_at_a_terminal_is_refused(run_robot, tmp_path: Path) -> None:
    lab = cell_file(tmp_path, name="lab", mock=None, scoring=None, camera__address="usb", robot__address="192.0.2.1")
    assert "terminal" in run_robot("--cell", lab)
    assert "--randomise-visuals is for a mock cell" in run_robot("--cell", lab, "--randomise-visuals")
    assert "--true-poses is for a mock cell" in run_robot("--cell", lab, "--true-poses")


def test_a_second_run_against_the_same_cell_is_told_which_process_has_it(run_robot, tmp_path: Path) -> None:
    lock = tmp_path / "state" / "panda-jumpstart" / "locks" / "mock.lock"
    lock.parent.mkdir(parents=True)
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write("4711")
        file.flush()
        assert "in use by process 4711" in run_robot()


def test_a_port_in_use_is_named(run_robot, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        cell = cell_file(tmp_path, name="taken", robot__address="127.0.0.99", scoring=f"tcp://127.0.0.1:{port}")
        assert f"Port {port}" in run_robot("--cell", cell)


def test_the_mock_cells_file_describes_what_the_mock_cell_is() -> None:
    from robot_runtime.mock_cell import scene

    cell = load_cell("mock")
    np.testing.assert_allclose(cell.camera.T_base_camera_matrix, scene.nominal_T_base_camera().matrix(), atol=1e-6)
    assert (cell.camera.width, cell.camera.height) == (scene.CAMERA_WIDTH, scene.CAMERA_HEIGHT)
