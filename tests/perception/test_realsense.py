"""The real SDK between a frame stream and the estimator."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
import pytest

from perception.camera import CameraMissing, CameraStalled, WrongCamera
from perception.realsense import NetworkFeed, RealSenseCamera, open_camera
from tests.perception.frame_sender import HEIGHT, RATE_HZ, SERIAL, WIDTH, FrameSender, K, random_picture


@pytest.fixture
def sender() -> Iterator[FrameSender]:
    sender = FrameSender()
    yield sender
    sender.close()


def test_every_frame_arrives_with_its_own_pixels_depth_and_stamp(sender: FrameSender) -> None:
    sender.start()
    numbers: list[int] = []
    with open_camera(sender.address, SERIAL, WIDTH, HEIGHT, RATE_HZ) as camera:
        number = None
        while len(numbers) < 20:
            frame = camera.wait_newer(number, 5.0)
            assert frame is not None
            number = frame.number
            numbers.append(number)
            rgb, depth = random_picture(number)
            assert np.array_equal(frame.rgb, rgb)
            np.testing.assert_allclose(frame.depth_m, depth * 1e-4, atol=1e-6)
            assert frame.stamp_s == pytest.approx(100 + number / RATE_HZ, abs=1e-6)
            assert frame.clock_domain == "hardware_clock"
            np.testing.assert_allclose(frame.K, K)
    assert numbers == sorted(set(numbers))


def test_a_silent_camera_is_reported_as_stalled_and_keeps_no_old_frame_alive(sender: FrameSender) -> None:
    sender.start(count=1)
    with open_camera(sender.address, SERIAL, WIDTH, HEIGHT, RATE_HZ) as camera:
        first = camera.wait_newer(None, 5.0)
        assert first is not None
        assert camera.read_latest(max_age_s=5.0).number == 1
        assert camera.wait_newer(first.number, 0.3) is None
        with pytest.raises(CameraStalled, match="re-plug"):
            camera.read_latest(max_age_s=0.2)


def test_the_newest_frame_wins_over_the_ones_nobody_read(sender: FrameSender) -> None:
    sender.start()
    with open_camera(sender.address, SERIAL, WIDTH, HEIGHT, RATE_HZ) as camera:
        first = camera.wait_newer(None, 5.0)
        time.sleep(0.5)
        assert first is not None
        assert camera.read_latest(max_age_s=1.0).number > first.number + 5


def test_another_serial_or_size_is_refused_in_one_sentence(sender: FrameSender) -> None:
    sender.start(count=2)
    with pytest.raises(WrongCamera, match="camera OTHER .* sends camera MOCK0001"):
        RealSenseCamera(sender.address, "OTHER", WIDTH, HEIGHT, RATE_HZ).start()
    with pytest.raises(WrongCamera, match="640x480"):
        RealSenseCamera(sender.address, SERIAL, 640, 480, RATE_HZ).start()


def test_no_stream_and_no_usb_camera_say_what_to_do() -> None:
    with pytest.raises(CameraMissing, match="start the mock cell"):
        NetworkFeed("tcp://127.0.0.1:9", timeout_s=0.2)
    with pytest.raises(CameraMissing, match="cell file"):
        NetworkFeed("nonsense")
    with pytest.raises((CameraMissing, WrongCamera), match="XYZ"):
        RealSenseCamera("usb", "XYZ", WIDTH, HEIGHT, RATE_HZ).start()
