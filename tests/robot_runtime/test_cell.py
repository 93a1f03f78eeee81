from __future__ import annotations

import copy

import pytest
import yaml

from calibration.store import NoCalibration
from robot_runtime.cell import CELLS_FOLDER, CellError, UnknownCell, UnknownCellKey, load_cell

MOCK = yaml.safe_load((CELLS_FOLDER / "mock.yaml").read_text())


def write(tmp_path, *path_and_value):
    """A cell file that differs from mock.yaml in one key."""
    *path, value = path_and_value
    content = copy.deepcopy(MOCK)
    place = content
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    file = tmp_path / "cell.yaml"
    file.write_text(yaml.safe_dump(content))
    return file


@pytest.mark.parametrize("name", [p.stem for p in CELLS_FOLDER.glob("*.yaml")])
def test_every_shipped_cell_can_be_read_and_written_back(name, tmp_path):
    cell = load_cell(name)
    cell.write(tmp_path / "copy.yaml")
    assert load_cell(tmp_path / "copy.yaml") == cell


def test_an_unknown_cell_is_answered_with_the_nearest_name():
    with pytest.raises(UnknownCell, match="did you mean 'mock'"):
        load_cell("mok")


@pytest.mark.parametrize(
    ("path", "nearest"),
    [(("robot", "adress"), "robot.address"), (("gains", "translational_n_per_mm"), "gains.translational_n_per_m")],
)
def test_an_unknown_key_is_an_error_that_names_the_nearest(tmp_path, path, nearest):
    with pytest.raises(UnknownCellKey, match=f"did you mean '{nearest}'"):
        load_cell(write(tmp_path, *path, 1.0))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (("workspace", "high_m", [800.0, 360.0, 550.0]), "metres, not millimetres"),
        (("workspace", "high_m", [0.2, 0.36, 0.55]), "below workspace.high_m"),
        (("workspace", "low_m", [0.2, 0.3]), "must have 3"),
        (("gains", "translational_n_per_m", 2.0), "check the unit"),
        (("limits", "speed_m_s", 250.0), "check the unit"),
        (("limits", "speed_m_s", float("nan")), "check the unit"),
        (("limits", "speed_m_s", "fast"), "finite float"),
        (("limits", "rotation_rad_s", 2.8), "the fr3 allows 2.5 rad/s"),
        (("limits", "hard_force_n", 15.0), "soft_force_n must be below"),
        (("timing", {"hold_after_s": 200}), "check the unit"),
        (("timing", {"stop_after_s": 0.1}), "longer than timing.hold_after_s"),
        (("workspace", "low_m", [1.1, -0.1, 0.0]), "below|reach"),
        (("workspace", "planes", [{"normal": [0.0, 0.0, 2.0], "offset_m": 0.0}]), "unit length"),
        (("workspace", "planes", [{"normal": [0.0, 0.0, 1.0], "offset_m": 0.9}]), "normals point inwards"),
        (("robot", "model", "ur5"), "fr3, panda"),
        (("robot", "address", 5), "robot.address"),
        (("bridge", "state_port", MOCK["bridge"]["command_port"]), "must differ"),
        (("camera", "address", "/dev/video0"), "'usb', 'tcp://host:port' or 'file:PATH.db3'"),
        (("camera", "T_base_camera", [[2, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]), "rigid transform"),
        (("camera", "T_base_camera", [[1, 0, 0, 900], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]), "not millimetres"),
        (("camera", "T_base_camera", [[1, 0, 0], [0, 1, 0], [0, 0, 1]]), "four rows"),
    ],
)
def test_wrong_units_and_forms_are_refused_with_what_to_change(tmp_path, change, sentence):
    with pytest.raises(CellError, match=sentence):
        load_cell(write(tmp_path, *change))


def test_a_missing_key_and_broken_yaml_are_refused(tmp_path):
    content = copy.deepcopy(MOCK)
    del content["robot"]["address"]
    file = tmp_path / "cell.yaml"
    file.write_text(yaml.safe_dump(content))
    with pytest.raises(CellError, match=r"'robot.address' is missing"):
        load_cell(file)
    file.write_text("robot: [")
    with pytest.raises(CellError, match="not valid YAML"):
        load_cell(file)


def calibrated(tmp_path, camera="camera", transform="T_base_camera", **changes):
    """A cell file whose camera names a calibration instead of a pose."""
    content = copy.deepcopy(MOCK)
    del content[camera][transform]
    content[camera] |= {"calibration": "eye.yaml"} | changes
    file = tmp_path / "cell.yaml"
    file.write_text(yaml.safe_dump(content))
    return file


@pytest.mark.parametrize(("camera", "transform"), [("camera", "T_base_camera"), ("wrist_camera", "T_tcp_camera")])
def test_a_camera_has_either_a_pose_or_a_calibration(tmp_path, camera, transform):
    eye = getattr(load_cell(calibrated(tmp_path, camera, transform)), camera)
    assert eye.calibration == str(tmp_path / "eye.yaml")
    with pytest.raises(NoCalibration, match="make it with launch/calibrate.py"):
        eye.load_calibration()
    with pytest.raises(CellError, match=f"{camera} must have either"):
        load_cell(calibrated(tmp_path, camera, transform, calibration=None))
    with pytest.raises(CellError, match=f"{camera} must have either"):
        load_cell(write(tmp_path, camera, "calibration", "eye.yaml"))


def test_two_cameras_of_one_serial_are_refused(tmp_path):
    with pytest.raises(CellError, match=r"both have serial 000000000001: give each the serial printed on it"):
        load_cell(write(tmp_path, "wrist_camera", "serial", "000000000001"))


def test_a_cell_needs_no_wrist_camera(tmp_path):
    assert load_cell(write(tmp_path, "wrist_camera", None)).wrist_camera is None
