"""What a user gets wrong when collecting or replaying ends in one sentence, before anything has been started."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml

from contract.poses import Pose
from contract.tasks import LIFT_CUBE
from robot_runtime.cell import CELLS_FOLDER, load_cell
from robot_runtime.collection import episode
from robot_runtime.collection.folder import alone_in
from robot_runtime.mock_cell import scene
from tests.robot_runtime.collection.made_up import episode as made_up

ROOT = Path(__file__).resolve().parent.parent.parent
Refused = Callable[..., str]


@pytest.fixture
def refused(tmp_path: Path) -> Refused:
    """Starts a program as a user would, but inside the environment; returns the sentence it ends with."""

    def start(program: str, *arguments: str | Path) -> str:
        done = subprocess.run(
            [sys.executable, ROOT / "launch" / program, *map(str, arguments)],
            env={**os.environ, "XDG_STATE_HOME": str(tmp_path / "state")},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 1, done.stdout + done.stderr
        assert len(done.stderr.strip().splitlines()) == 1, done.stderr
        return done.stderr.strip()

    return start


@pytest.fixture
def collect(refused: Refused, still_policy: Path, tmp_path: Path) -> Refused:
    """The same, of `collect_rldg.py` with a policy that never moves."""

    def start(*arguments: str | Path) -> str:
        return refused("collect_rldg.py", "--policy", still_policy, "--out", tmp_path / "episodes", *arguments)

    return start


def cell_file(folder: Path, **changes: object) -> Path:
    """The mock cell's file with other values, or without those that are None."""
    plain = yaml.safe_load((CELLS_FOLDER / "mock.yaml").read_text()) | changes
    path = folder / "cell.yaml"
    path.write_text(yaml.safe_dump({name: value for name, value in plain.items() if value is not None}))
    return path


def test_a_cell_without_a_wrist_camera_is_refused(collect: Refused, tmp_path: Path) -> None:
    assert "has no wrist_camera" in collect("--cell", cell_file(tmp_path, wrist_camera=None))


def test_variants_that_cannot_be_meant_are_refused(collect: Refused) -> None:
    assert "did you mean 'orange_cube'" in collect("--variants", "red_cube,orang_cube")
    assert "names one twice" in collect("--variants", "red_cube,red_cube")


def test_a_folder_of_another_policy_is_refused_and_left_as_it_is(collect: Refused, tmp_path: Path) -> None:
    (tmp_path / "episodes").mkdir()
    episode.write(tmp_path / "episodes" / episode.name_of(0), made_up())
    sentence = collect()
    assert "is of policy 'made up'" in sentence
    assert "--out" in sentence
    assert len(episode.files(tmp_path / "episodes")) == 1


def test_a_folder_with_a_file_that_was_cut_short_is_refused(collect: Refused, tmp_path: Path) -> None:
    (tmp_path / "episodes").mkdir()
    (tmp_path / "episodes" / episode.name_of(3)).write_bytes(b"\x89HDF")
    assert "episode_00003.h5 is no whole HDF5 file" in collect()


def test_a_folder_somebody_collects_into_is_refused(
    collect: Refused, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    with alone_in(tmp_path / "episodes"):
        assert f"Process {os.getpid()} collects into" in collect()


def test_a_lab_cell_without_an_operator_is_refused(collect: Refused, tmp_path: Path) -> None:
    lab = cell_file(tmp_path, name="lab", mock=None, scoring=None)
    assert "terminal" in collect("--cell", lab)
    assert "--randomise-visuals is for a mock cell" in collect("--cell", lab, "--randomise-visuals")


def test_a_camera_that_was_never_calibrated_is_refused(collect: Refused, tmp_path: Path) -> None:
    plain = yaml.safe_load((CELLS_FOLDER / "mock.yaml").read_text())["wrist_camera"]
    del plain["T_tcp_camera"]
    wrist = plain | {"calibration": "wrist.yaml"}
    assert "wrist.yaml: make it with launch/calibrate.py" in collect("--cell", cell_file(tmp_path, wrist_camera=wrist))


def test_the_rldg_mock_cell_differs_in_its_wrist_camera_alone_which_sees_between_the_fingers() -> None:
    plain, rldg = load_cell("mock"), load_cell("mock_rldg")
    assert dataclasses.replace(rldg, name="mock", wrist_camera=plain.wrist_camera) == plain
    lens, side = scene.intrinsics(scene.CAMERA_WIDTH, scene.CAMERA_HEIGHT), scene.CAMERA_HEIGHT
    seen = []
    for cell in (plain, rldg):
        assert cell.wrist_camera is not None
        x, y, z = Pose.from_matrix(cell.wrist_camera.T_tcp_camera_matrix).inverse().apply(np.zeros(3))
        off_px = np.array([lens.fx * x / z, lens.fy * y / z])
        seen.append(bool((np.abs(off_px) < side / 2 - 10).all()))
    assert seen == [False, True]


def test_what_cannot_be_replayed_is_refused(refused: Refused, tmp_path: Path) -> None:
    assert "There is no file" in refused("replay_episode.py", tmp_path / "nowhere.h5")
    (tmp_path / "cut.h5").write_bytes(b"\x89HDF and no more")
    assert "no whole HDF5 file" in refused("replay_episode.py", tmp_path / "cut.h5")
    episode.write(tmp_path / "other.h5", made_up(variant="redcube"))
    assert "did you mean 'red_cube'" in refused("replay_episode.py", tmp_path / "other.h5")
    episode.write(tmp_path / "old.h5", made_up(contract_hash="0123456789abcdef"))
    assert LIFT_CUBE.contract_hash()[:12] in refused("replay_episode.py", tmp_path / "old.h5")
