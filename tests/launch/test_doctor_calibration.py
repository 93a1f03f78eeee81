"""The preflight says since when each camera's place is known, and how well; what must not be used is red."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from calibration import store
from calibration.hand_eye import HandEye, IntrinsicsCheck
from contract.poses import Pose
from preflight import eye
from robot_runtime.cell import Cell, load_cell


def calibrated_cell(file: Path) -> Cell:
    mock = load_cell("mock")
    camera = dataclasses.replace(mock.camera, T_base_camera=None, calibration=str(file))
    return dataclasses.replace(mock, camera=camera, wrist_camera=None)


def write(file: Path, held_out_mm: float) -> None:
    camera = load_cell("mock").camera
    mode = camera.width, camera.height, camera.rate_hz
    truth = Pose.from_matrix(camera.T_base_camera_matrix)
    good, errors = np.ones(20, bool), np.full(20, 0.2)
    solved = HandEye("fixed", truth, truth, 300 * np.eye(3), 1e-8 * np.eye(6), errors, good, 0.3, held_out_mm)
    lens = IntrinsicsCheck(np.zeros(4), np.ones(4), np.ones(4))
    store.save(file, store.made(solved, camera.serial, mode, "apriltag:4x3:60:48", lens, None, None))


def test_a_given_pose_is_called_undated_for_both_cameras() -> None:
    found = list(eye.calibration(load_cell("mock")))
    assert [finding.what for finding in found] == ["calibration", "wrist"]
    assert all("undated" in finding.found for finding in found)


def test_a_calibration_is_told_with_its_date_and_held_out_error(tmp_path: Path) -> None:
    write(tmp_path / "eye.yaml", 1.2)
    (found,) = eye.calibration(calibrated_cell(tmp_path / "eye.yaml"))
    assert found.verdict == "good"
    assert "held-out error 1.2 mm" in found.found
    assert "20" in found.found
    assert "camera at 1.13, 0.21, 0.64 m" in found.found
    camera = calibrated_cell(tmp_path / "eye.yaml").camera
    assert np.allclose(camera.T_base_camera_matrix, load_cell("mock").camera.T_base_camera_matrix, atol=1e-6)


def test_an_inaccurate_or_missing_calibration_is_red(tmp_path: Path) -> None:
    (missing,) = eye.calibration(calibrated_cell(tmp_path / "eye.yaml"))
    assert missing.verdict == "bad"
    write(tmp_path / "eye.yaml", 7.0)
    (found,) = eye.calibration(calibrated_cell(tmp_path / "eye.yaml"))
    assert found.verdict == "bad"
    assert "7.0 mm" in found.found
    assert "Fasten camera and board" in found.do
