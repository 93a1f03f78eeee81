"""A calibration end to end on the mock cell, over a camera that is unplugged midway; and what is refused, and how."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path

import _mock_board
import numpy as np
import pytest

from calibration import store
from calibration.board import BlurredFrame, Board, NoBoard
from calibration.samples import SampleFolder
from calibration.surroundings import NoDepth
from contract.poses import Pose, quat_from_axis_angle, rotation_between
from perception.camera import CameraStalled, WrongCamera
from perception.realsense import RealSenseCamera, open_camera
from robot_runtime import calibrating
from robot_runtime.calibrating import CameraMoved, calibrate
from robot_runtime.calibration_task import Task
from robot_runtime.mock_cell import scene

from .conftest import WholeCell

pytestmark = [pytest.mark.hil, pytest.mark.slow]
BOARD = Board()
FEW = 15


@pytest.fixture(scope="module")
def camera(whole_cell: WholeCell) -> Iterator[RealSenseCamera]:
    eye = whole_cell.cell.camera
    with open_camera(eye.address, eye.serial, eye.width, eye.height, eye.rate_hz) as camera:
        yield camera


@pytest.fixture(autouse=True)
def calm(whole_cell: WholeCell) -> Iterator[None]:
    yield
    whole_cell.scoring.calm()
    whole_cell.scoring.disturb("place_camera")


def after(count: int, do: Callable[[], object]) -> Callable[[str], None]:
    """A listener that does something once, when so many samples have been told of."""
    told: list[str] = []

    def say(line: str) -> None:
        if line.strip().startswith("pose"):
            told.append(line)
            if len(told) == count:
                do()

    return say


def test_a_calibration_goes_on_after_the_camera_was_unplugged_and_finds_the_camera(
    whole_cell: WholeCell, camera: RealSenseCamera, tmp_path: Path
) -> None:
    scoring, client = whole_cell.scoring, whole_cell.client
    truth = _mock_board.random_camera("fixed", 5)
    _mock_board.place(scoring, "fixed", truth)
    _mock_board.show(scoring, "fixed", BOARD, 5)
    task = Task(whole_cell.cell, "fixed", BOARD, tmp_path / "samples", poses=FEW)
    with pytest.raises(CameraStalled, match="re-plug"):
        calibrate(client, camera, task, after(4, lambda: scoring.disturb("camera", kind="unplugged")))
    assert client.status().mode == "disarmed"
    kept = SampleFolder(task.folder, task.header).numbers()
    assert len(kept) >= 4
    stamps = [(task.folder / f"sample_{k:02d}.json").stat().st_mtime_ns for k in kept]
    scoring.calm()
    found = calibrate(client, camera, task, print)
    assert stamps == [(task.folder / f"sample_{k:02d}.json").stat().st_mtime_ns for k in kept], "none driven again"
    off = found.T_reference_camera
    assert 1e3 * np.linalg.norm(off.position - truth.position) < 3.0
    assert np.rad2deg(np.linalg.norm(rotation_between(off.quaternion, truth.quaternion))) < 0.6
    assert found.held_out_mm < store.MOST_HELD_OUT_MM
    assert found.delay_s == pytest.approx(0.0, abs=0.01)
    assert found.table is not None
    assert abs(found.table.height_m) < 0.003
    assert found.intrinsics.ok

    assert calibrating.check(client, camera, task, found, print) < store.MOST_DISAGREEMENT_MM
    knocked = Pose(truth.position + [0.012, -0.008, 0.0], truth.quaternion)
    _mock_board.place(scoring, "fixed", knocked)
    with pytest.raises(store.OutdatedCalibration, match="calibrate again"):
        calibrating.check(client, camera, task, found, print)
    assert client.status().counters.limit_violations == 0


def test_a_camera_that_is_moved_during_collection_is_noticed_and_the_samples_are_kept(
    whole_cell: WholeCell, camera: RealSenseCamera, tmp_path: Path
) -> None:
    scoring = whole_cell.scoring
    _mock_board.show(scoring, "fixed", BOARD, 1)
    nominal = scene.nominal_T_base_camera()
    tilted = Pose(nominal.position, quat_from_axis_angle(np.array([0.0, 0.0, 0.02])))
    moved = Pose(nominal.position, (tilted @ Pose(np.zeros(3), nominal.quaternion)).quaternion)
    task = Task(whole_cell.cell, "fixed", BOARD, tmp_path / "samples", poses=FEW)
    knock = after(7, lambda: _mock_board.place(scoring, "fixed", moved))
    with pytest.raises(CameraMoved, match="kept in .*aside-1"):
        calibrate(whole_cell.client, camera, task, knock)
    assert len(list((tmp_path / "samples.aside-1").glob("sample_*.json"))) >= 7
    assert not task.folder.exists()


@pytest.mark.parametrize(("fault", "error"), [("blurred", BlurredFrame), ("no_depth", NoDepth), ("dark", NoBoard)])
def test_pictures_that_show_nothing_are_refused_with_one_sentence(
    whole_cell: WholeCell, camera: RealSenseCamera, tmp_path: Path, fault: str, error: type[Exception]
) -> None:
    _mock_board.show(whole_cell.scoring, "fixed", BOARD, 0)
    since = whole_cell.scoring.disturb("camera", kind=fault)
    while (frame := camera.wait_newer(None, 5.0)) is None or frame.stamp_s < since:
        whole_cell.client.wait_until(whole_cell.client.latest().stamp + 0.05)
    with pytest.raises(error):
        calibrate(whole_cell.client, camera, Task(whole_cell.cell, "fixed", BOARD, tmp_path / "s"), print)
    assert whole_cell.client.status().mode == "disarmed"


def test_another_stream_mode_is_refused_before_anything_moves(whole_cell: WholeCell) -> None:
    eye = dataclasses.replace(whole_cell.cell.camera, width=848, height=480)
    with (
        pytest.raises(WrongCamera, match="424x240"),
        open_camera(eye.address, eye.serial, eye.width, eye.height, eye.rate_hz),
    ):
        pass


def test_the_wrist_camera_is_found_too(whole_cell: WholeCell, tmp_path: Path) -> None:
    truth = _mock_board.random_camera("wrist", 3)
    _mock_board.place(whole_cell.scoring, "wrist", truth)
    _mock_board.show(whole_cell.scoring, "wrist", BOARD, 3)
    eye = whole_cell.cell.wrist_camera
    assert eye is not None
    with open_camera(eye.address, eye.serial, eye.width, eye.height, eye.rate_hz) as camera:
        task = Task(whole_cell.cell, "wrist", BOARD, tmp_path / "samples", poses=FEW)
        found = calibrate(whole_cell.client, camera, task, print)
    assert 1e3 * np.linalg.norm(found.T_reference_camera.position - truth.position) < 2.0
    _mock_board.place(whole_cell.scoring, "wrist", scene.nominal_T_tcp_camera())
