"""What a camera saw, written and played back by the SDK; and pictures of a lens that is not a pinhole."""

from __future__ import annotations

import os
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from perception.camera import CameraMissing, RecordingEnded, WrongCamera
from perception.realsense import RealSenseCamera, open_camera
from tests.perception.frame_sender import HEIGHT, RATE_HZ, SERIAL, WIDTH, FrameSender, K, random_picture

DISTORTION = [0.12, -0.05, 0.002, -0.003, 0.01]


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[int]]:
    """A file, and the numbers of the frames that were seen while it was written."""
    path = tmp_path_factory.mktemp("recordings") / "seen.db3"
    sender = FrameSender()
    sender.start()
    numbers: list[int] = []
    with open_camera(sender.address, SERIAL, WIDTH, HEIGHT, RATE_HZ, record_to=path) as camera:
        while len(numbers) < 25:
            frame = camera.wait_newer(numbers[-1] if numbers else None, 5.0)
            assert frame is not None
            numbers.append(frame.number)
    sender.close()
    return path, numbers


def play(path: Path, pause_s: float) -> list[int]:
    """Numbers of all frames; their pixels and stamps are compared with what was sent."""
    numbers: list[int] = []
    with open_camera(f"file:{path}", SERIAL, WIDTH, HEIGHT, RATE_HZ) as camera:
        try:
            while (frame := camera.wait_newer(numbers[-1] if numbers else None, 10.0)) is not None:
                rgb, depth = random_picture(frame.number)
                assert np.array_equal(frame.rgb, rgb)
                np.testing.assert_allclose(frame.depth_m, depth * 1e-4, atol=1e-6)
                assert frame.stamp_s == pytest.approx(100 + frame.number / RATE_HZ, abs=1e-6)
                numbers.append(frame.number)
                time.sleep(pause_s)
        except RecordingEnded:
            with pytest.raises(RecordingEnded, match="has ended"):
                camera.read_latest(60.0)
            return numbers
    raise AssertionError("the recording never ended")


@pytest.mark.parametrize("pause_s", [0.0, 0.15])
def test_a_recording_plays_every_frame_once_however_slow_the_reader(
    recording: tuple[Path, list[int]], pause_s: float
) -> None:
    path, seen = recording
    played = play(path, pause_s)
    assert played == list(range(played[0], played[-1] + 1)), "a frame was lost"
    assert played[0] <= seen[3], "the recorder begins with one of the first"
    assert seen[-1] <= played[-1]


def test_a_recording_that_is_missing_or_broken_is_refused_in_one_sentence(
    recording: tuple[Path, list[int]], tmp_path: Path
) -> None:
    whole = recording[0].read_bytes()
    rubbish = {
        "empty": b"", "noise": os.urandom(100_000), "cut": whole[: len(whole) // 2], "head": whole[:4096],
    }  # fmt: skip
    for name, content in rubbish.items():
        (tmp_path / f"{name}.db3").write_bytes(content)
        with pytest.raises(CameraMissing, match=f"{name}.db3 is not a whole recording .*record it again"):
            RealSenseCamera(f"file:{tmp_path / name}.db3", SERIAL, WIDTH, HEIGHT, RATE_HZ).start()
    with pytest.raises(CameraMissing, match="no recording"):
        RealSenseCamera(f"file:{tmp_path / 'none.db3'}", SERIAL, WIDTH, HEIGHT, RATE_HZ).start()


def test_a_recording_of_another_camera_or_mode_is_refused(recording: tuple[Path, list[int]]) -> None:
    address = f"file:{recording[0]}"
    with pytest.raises(WrongCamera, match=f"describes camera OTHER .* recorded by camera {SERIAL}"):
        RealSenseCamera(address, "OTHER", WIDTH, HEIGHT, RATE_HZ).start()
    with pytest.raises(WrongCamera, match="640x480 at 30 Hz, but .* with 424x240 at 15 Hz"):
        RealSenseCamera(address, SERIAL, 640, 480, 30).start()


def test_pictures_of_a_distorting_lens_are_those_of_a_pinhole() -> None:
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    smooth = (127 + 60 * np.sin(columns / 9) + 60 * np.cos(rows / 7)).astype(np.uint8)
    rgb = np.dstack([smooth, smooth // 2, 255 - smooth])
    depth = np.where(columns < WIDTH // 2, 6000, 9000).astype(np.uint16)
    sender = FrameSender(lambda number: (rgb, depth), changes=lambda number: {"distortion": DISTORTION})
    sender.start()
    try:
        with open_camera(sender.address, SERIAL, WIDTH, HEIGHT, RATE_HZ) as camera:
            frame = camera.wait_newer(None, 10.0)
    finally:
        sender.close()
    assert frame is not None
    np.testing.assert_allclose(frame.K, K)
    wanted = cv2.undistort(rgb, K, np.array(DISTORTION))
    difference = np.abs(frame.rgb.astype(int) - wanted)
    assert np.percentile(difference, 99) <= 2, "OpenCV's own undistortion says otherwise"
    assert np.abs(rgb.astype(int) - wanted).mean() > 5, "the lens does nothing: nothing was tested"
    assert set(np.unique(frame.depth_m.round(4))) <= {0.0, np.float32(0.6), np.float32(0.9)}, "depths were mixed"
