"""The real SDK between a frame stream and the estimator."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator

import msgpack
import numpy as np
import pytest
import zmq

from perception.camera import CameraMissing, CameraStalled, WrongCamera
from perception.realsense import NetworkFeed, RealSenseCamera, open_camera

WIDTH, HEIGHT, RATE_HZ, SERIAL = 424, 240, 15, "MOCK0001"


def picture(number: int) -> tuple[np.ndarray, np.ndarray]:
    """Colour and depth (0.1 mm) that differ in every pixel and every frame."""
    random = np.random.default_rng(number)
    return (
        random.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8),
        random.integers(5000, 15000, (HEIGHT, WIDTH), dtype=np.uint16),
    )


class Sender:
    """A camera process in miniature."""

    def __init__(self) -> None:
        self.socket = zmq.Context.instance().socket(zmq.PUSH)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.setsockopt(zmq.SNDTIMEO, 500)
        self.address = f"tcp://127.0.0.1:{self.socket.bind_to_random_port('tcp://127.0.0.1')}"
        self.stopping = threading.Event()
        self.thread: threading.Thread | None = None

    def start(self, count: int = 1_000_000) -> None:
        """Sends that many frames, as soon as somebody receives."""
        self.thread = threading.Thread(target=self._run, args=(count,), daemon=True)
        self.thread.start()

    def send(self, number: int) -> None:
        rgb, depth = picture(number)
        header = {
            "frame": number, "stamp_s": 100 + number / RATE_HZ, "width": WIDTH, "height": HEIGHT,
            "fx": 308.0, "fy": 308.0, "cx": 212.0, "cy": 120.0, "depth_scale_m": 0.0001, "serial": SERIAL,
        }  # fmt: skip
        self.socket.send_multipart([msgpack.packb(header), rgb.tobytes(), depth.tobytes()])

    def _run(self, count: int) -> None:
        number = 1
        while number <= count and not self.stopping.is_set():
            with contextlib.suppress(zmq.Again):
                self.send(number)
                number += 1
                time.sleep(0.03)

    def close(self) -> None:
        self.stopping.set()
        if self.thread is not None:
            self.thread.join()
        self.socket.close()


@pytest.fixture
def sender() -> Iterator[Sender]:
    sender = Sender()
    yield sender
    sender.close()


def test_every_frame_arrives_with_its_own_pixels_depth_and_stamp(sender: Sender) -> None:
    sender.start()
    numbers: list[int] = []
    with open_camera(sender.address, SERIAL, WIDTH, HEIGHT, RATE_HZ) as camera:
        number = None
        while len(numbers) < 20:
            frame = camera.wait_newer(number, 5.0)
            assert frame is not None
            number = frame.number
            numbers.append(number)
            rgb, depth = picture(number)
            assert np.array_equal(frame.rgb, rgb)
            np.testing.assert_allclose(frame.depth_m, depth * 1e-4, atol=1e-6)
            assert frame.stamp_s == pytest.approx(100 + number / RATE_HZ, abs=1e-6)
            assert frame.clock_domain == "hardware_clock"
            np.testing.assert_allclose(frame.K, [[308, 0, 212], [0, 308, 120], [0, 0, 1]])
    assert numbers == sorted(set(numbers))


def test_a_silent_camera_is_reported_as_stalled_and_keeps_no_old_frame_alive(sender: Sender) -> None:
    sender.start(count=1)
    with open_camera(sender.address, SERIAL, WIDTH, HEIGHT, RATE_HZ) as camera:
        first = camera.wait_newer(None, 5.0)
        assert first is not None
        assert camera.read_latest(max_age_s=5.0).number == 1
        assert camera.wait_newer(first.number, 0.3) is None
        with pytest.raises(CameraStalled, match="re-plug"):
            camera.read_latest(max_age_s=0.2)


def test_the_newest_frame_wins_over_the_ones_nobody_read(sender: Sender) -> None:
    sender.start()
    with open_camera(sender.address, SERIAL, WIDTH, HEIGHT, RATE_HZ) as camera:
        first = camera.wait_newer(None, 5.0)
        time.sleep(0.5)
        assert first is not None
        assert camera.read_latest(max_age_s=1.0).number > first.number + 5


def test_another_serial_or_size_is_refused_in_one_sentence(sender: Sender) -> None:
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
