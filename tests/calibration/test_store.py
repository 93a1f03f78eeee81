"""A calibration file is read back as written, and refused where it does not belong. Samples survive interruptions."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from calibration import store
from calibration.hand_eye import Sample, check_intrinsics, solve
from calibration.samples import BrokenSample, OtherCollection, SampleFolder, Taken
from calibration.surroundings import (
    Look,
    NoDepth,
    Table,
    camera_delay,
    check_depth,
    points_in_base,
    table_plane,
    without_board,
)
from calibration.tour import Eye
from contract.poses import Pose
from robot_runtime.calibrating import _shift_px
from robot_runtime.cell import load_cell

from .simulated import K, collect, error_mm

SERIAL, MODE = "123", (424, 240, 15)
HEADER = {"board": "apriltag:4x3:60:48", "mount": "fixed", "serial": SERIAL, "mode": list(MODE)}


@pytest.fixture(scope="module")
def samples() -> list[Sample]:
    return collect(2)[0]


@pytest.fixture(scope="module")
def made(samples: list[Sample]) -> store.Calibration:
    solved = solve(samples, K, "fixed")
    table = Table((0.0, 0.0, 1.0), 0.001, 0.001, 0.0005, 1000)
    return store.made(solved, SERIAL, MODE, HEADER["board"], check_intrinsics(samples, solved, K), table, 0.031)


def test_what_is_written_is_read_back(made: store.Calibration, tmp_path: Path) -> None:
    file = tmp_path / "deep" / "camera.yaml"
    store.save(file, made)
    back = store.load(file, "fixed", SERIAL, 424, 240)
    assert error_mm(back.T_reference_camera, made.T_reference_camera) < 1e-4
    assert np.allclose(back.covariance, made.covariance, rtol=1e-4)
    assert (back.table, back.delay_s, back.date, back.agrees) == (made.table, made.delay_s, made.date, made.agrees)
    assert back.residuals_px == pytest.approx(made.residuals_px, abs=1e-3)
    assert set(back.versions) >= {"opencv-python", "scipy", "python"}


def test_an_edited_file_is_noticed(made: store.Calibration, tmp_path: Path) -> None:
    file = tmp_path / "camera.yaml"
    store.save(file, made)
    content = yaml.safe_load(file.read_text())
    content["T_base_camera"][0][3] += 0.01
    file.write_text(yaml.safe_dump(content))
    with pytest.raises(store.EditedCalibration, match="was changed after it was written"):
        store.read(file)


@pytest.mark.parametrize(
    ("mount", "serial", "width", "height"),
    [("fixed", "999", 424, 240), ("fixed", SERIAL, 848, 480), ("wrist", SERIAL, 424, 240)],
)
def test_another_serial_mode_or_mount_is_refused(
    made: store.Calibration, tmp_path: Path, mount, serial: str, width: int, height: int
) -> None:
    file = tmp_path / "camera.yaml"
    store.save(file, made)
    with pytest.raises(store.OtherCamera, match="calibrate that one"):
        store.load(file, mount, serial, width, height)


def test_more_than_five_millimetres_held_out_are_refused(made: store.Calibration, tmp_path: Path) -> None:
    file = tmp_path / "camera.yaml"
    store.save(file, replace(made, held_out_mm=5.1))
    with pytest.raises(store.InaccurateCalibration, match=r"5.1 mm"):
        store.load(file, "fixed", SERIAL, 424, 240)


@pytest.mark.parametrize("content", ["", "a: [", "format: 1\nmount: fixed\n", "just words"])
def test_a_file_that_is_no_calibration_is_refused(tmp_path: Path, content: str) -> None:
    file = tmp_path / "camera.yaml"
    file.write_text(content)
    with pytest.raises(store.CalibrationError):
        store.read(file)
    with pytest.raises(store.NoCalibration, match="launch/calibrate.py"):
        store.read(tmp_path / "nothing.yaml")


def test_the_quick_check_passes_where_nothing_moved_and_refuses_where_the_camera_did(
    made: store.Calibration, samples: list[Sample]
) -> None:
    assert store.quick_check(made, samples[0]) < 5.0
    knocked = Pose(np.array([0.008, 0.0, 0.0]), np.array([1.0, 0.0, 0.0, 0.0]))
    moved = replace(made, T_reference_camera=knocked @ made.T_reference_camera)
    with pytest.raises(store.OutdatedCalibration, match="was moved"):
        store.quick_check(moved, samples[0])


def taken(sample: Sample, number: int) -> Taken:
    rgb = np.random.default_rng(number).integers(0, 255, (240, 424, 3)).astype(np.uint8)
    return Taken(number, sample, 1.5, rgb, np.full((240, 424), 0.777, np.float32))


def test_samples_survive_and_a_collection_goes_on(samples: list[Sample], tmp_path: Path) -> None:
    folder = SampleFolder(tmp_path / "s", HEADER)
    assert folder.tour is None
    folder.begin({"poses": []})
    for k in (0, 3):
        folder.add(taken(samples[k], k))
    again = SampleFolder(tmp_path / "s", HEADER)
    assert (again.numbers(), again.tour) == ([0, 3], {"poses": []})
    back = list(again.all())[1]
    assert np.allclose(back.sample.view.corners_px, samples[3].view.corners_px)
    assert np.array_equal(back.rgb, taken(samples[3], 3).rgb)
    assert np.allclose(back.depth_m, 0.777)


def test_samples_of_another_board_are_not_mixed_in(tmp_path: Path) -> None:
    SampleFolder(tmp_path / "s", HEADER).begin({})
    with pytest.raises(OtherCollection, match="another board"):
        SampleFolder(tmp_path / "s", {**HEADER, "board": "charuco:5x4:45:33"})


def test_a_broken_sample_is_named(samples: list[Sample], tmp_path: Path) -> None:
    folder = SampleFolder(tmp_path / "s", HEADER)
    folder.begin({})
    folder.add(taken(samples[0], 0))
    (tmp_path / "s" / "sample_00.json").write_text(json.dumps({"stamp_s": 1}))
    with pytest.raises(BrokenSample, match=r"sample_00\.json"):
        list(folder.all())


def test_samples_set_aside_are_kept(samples: list[Sample], tmp_path: Path) -> None:
    folder = SampleFolder(tmp_path / "s", HEADER)
    folder.begin({})
    folder.add(taken(samples[0], 0))
    assert not folder.finished
    folder.finish()
    assert SampleFolder(tmp_path / "s", HEADER).finished
    aside = folder.set_aside()
    assert (aside / "sample_00.json").exists()
    assert SampleFolder(tmp_path / "s", HEADER).tour is None


def test_a_camera_that_was_moved_shows_at_the_first_pose(samples: list[Sample], made: store.Calibration) -> None:
    eye = Eye("fixed", made.T_reference_camera, made.T_other_board, K, (424, 240))
    assert _shift_px(eye, samples[0], samples[0]) < 0.01
    view = samples[0].view
    shifted = replace(samples[0], view=replace(view, corners_px=view.corners_px + [3.0, 0.0]))
    assert _shift_px(eye, samples[0], shifted) == pytest.approx(3.0, abs=0.01)


def test_a_depth_image_of_zeros_is_refused() -> None:
    check_depth(np.full((240, 424), 0.5))
    with pytest.raises(NoDepth, match="uncover both"):
        check_depth(np.zeros((240, 424)))


def test_the_table_is_found_among_things_that_stand_on_it() -> None:
    random = np.random.default_rng(0)
    xy = random.uniform([0.2, -0.4], [0.8, 0.4], (6000, 2))
    table = np.c_[xy, 0.004 + 0.01 * xy[:, 0] + random.normal(0, 0.001, 6000)]
    box = np.c_[random.uniform([0.4, 0.0], [0.5, 0.1], (1500, 2)), np.full(1500, 0.03)]
    found = table_plane(np.concatenate([table, box]), load_cell("mock").workspace)
    assert found is not None
    assert found.height_m == pytest.approx(0.004 + 0.01 * 0.54, abs=0.0005)
    assert found.normal[0] == pytest.approx(-0.01, abs=0.002)
    assert table_plane(np.zeros((10, 3)), load_cell("mock").workspace) is None


def test_depth_becomes_points_and_the_board_is_left_out() -> None:
    depth = np.full((240, 424), 0.5, np.float32)
    corners = np.array([[100.0, 100.0], [140.0, 100.0], [140.0, 130.0], [100.0, 130.0]])
    left = without_board(depth, corners)
    assert left[115, 120] == 0
    assert left[20, 20] == 0.5
    points = points_in_base(depth, K, Pose(np.array([0.0, 0.0, 1.0]), np.array([0.0, 1.0, 0.0, 0.0])))
    assert np.allclose(points[:, 2], 0.5)


@pytest.mark.parametrize("delay_s", [0.0, 0.045, 0.12])
def test_the_cameras_delay_is_measured_from_motion(
    samples: list[Sample], made: store.Calibration, delay_s: float
) -> None:
    stamps = np.arange(0.0, 3.0, 0.05)
    here = samples[0].pose_base_tcp
    truth = replace(solve(samples, K, "fixed"))

    def tool(t: float) -> Pose:
        return Pose(here.position + 0.04 * np.sin(2 * np.pi * t / 1.6) * np.array([0.6, 0.8, 0.0]), here.quaternion)

    looks, points = [], samples[0].view.points_board
    for stamp in np.arange(0.3, 2.7, 1 / 15):
        p = (truth.T_reference_camera.inverse() @ tool(stamp - delay_s) @ truth.T_other_board).apply(points)
        looks.append(Look(float(stamp), p[:, :2] / p[:, 2:] * [K[0, 0], K[1, 1]] + K[:2, 2], points))
    found = camera_delay(looks, stamps, [tool(t) for t in stamps], truth)
    assert found == pytest.approx(delay_s, abs=0.005)
    still = [here for _ in stamps]
    assert camera_delay(looks, stamps, still, truth) is None
