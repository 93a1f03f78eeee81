"""A camera that falls silent, repeats itself, lies or becomes another one; with the real SDK but for what needs USB."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import numpy as np
import pytest

from perception.camera import CameraFrozen, CameraMissing, CameraMode, CameraStalled, Frame, WrongCamera
from perception.realsense import RealSenseCamera, camera, open_camera, open_cameras
from tests.perception.frame_sender import HEIGHT, RATE_HZ, SERIAL, WIDTH, FrameSender

SILENT_S = 0.5
PROMPT_S = 0.3
Send = Callable[..., FrameSender]


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(camera, "SILENT_S", SILENT_S)


@pytest.fixture
def send() -> Iterator[Send]:
    """Starts senders that are closed in the end."""
    with ExitStack() as stack:

        def started(*args: Any, **settings: Any) -> FrameSender:
            sender = FrameSender(*args, **settings)
            stack.callback(sender.close)
            sender.start()
            return sender

        yield started


def opened(sender: FrameSender) -> Any:
    return open_camera(sender.address, SERIAL, WIDTH, HEIGHT, RATE_HZ)


def next_frames(eye: RealSenseCamera, count: int, after: int | None = None, timeout_s: float = 10.0) -> list[Frame]:
    frames: list[Frame] = []
    deadline = time.monotonic() + timeout_s
    while len(frames) < count and time.monotonic() < deadline:
        frame = eye.wait_newer(frames[-1].number if frames else after, 0.2)
        if frame is not None:
            frames.append(frame)
    assert len(frames) == count, f"only {len(frames)} frames came"
    return frames


def eventually(condition: Callable[[], bool], timeout_s: float = 10.0) -> bool:
    deadline = time.monotonic() + timeout_s
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return condition()


def complaint(eye: RealSenseCamera) -> str:
    try:
        eye.read_latest(0.2)
    except CameraStalled as error:
        return str(error)
    return ""


@pytest.mark.parametrize("recovery", ["restarts", "resets"])
def test_frames_come_again_after_silence_in_the_order_of_their_stamps(send: Send, recovery: str) -> None:
    sender = send()
    with opened(sender) as eye:
        before = next_frames(eye, 3)
        sender.silent.set()
        assert eventually(lambda: getattr(eye.recoveries, recovery) > 0)
        sender.silent.clear()
        after = next_frames(eye, 3, eye.read_latest(60.0).number)
        stamps = [frame.stamp_s for frame in before + after]
        assert stamps == sorted(set(stamps))
        assert eye.recoveries.recovered == 1


def test_readers_never_wait_for_what_is_tried_and_are_told_what_it_is(send: Send) -> None:
    sender = send()
    with opened(sender) as eye:
        last = next_frames(eye, 1)[0]
        sender.silent.set()
        time.sleep(0.3)
        last = eye.read_latest(5.0)
        said = set()
        deadline = time.monotonic() + 4 * SILENT_S + 1.0
        while time.monotonic() < deadline:
            began = time.monotonic()
            assert eye.wait_newer(last.number, 0.05) is None
            said.add(complaint(eye))
            assert time.monotonic() - began < PROMPT_S
        sentences = " ".join(said)
        assert "restarting its stream, try 1" in sentences
        assert "resetting it, try 3" in sentences
        assert "re-plug" in sentences


def test_a_stamp_that_jumps_back_is_dropped(send: Send) -> None:
    sender = send(changes=lambda number: {"stamp_s": 50.0} if number == 8 else {})
    with opened(sender) as eye:
        frames = next_frames(eye, 15)
    assert all(frame.stamp_s > 100.0 for frame in frames)
    assert all(b.stamp_s > a.stamp_s for a, b in zip(frames[:-1], frames[1:], strict=True))
    assert eye.recoveries.restarts == 0


def test_a_camera_whose_clock_began_anew_is_soon_believed(send: Send) -> None:
    sender = send(changes=lambda number: {"stamp_s": number / RATE_HZ} if number > 8 else {})
    with opened(sender) as eye:
        next_frames(eye, 1)
        assert eventually(lambda: eye.read_latest(5.0).stamp_s < 50.0)
        assert eye.recoveries.restarts == 0
        stamps = [frame.stamp_s for frame in next_frames(eye, 3, eye.read_latest(5.0).number)]
    assert stamps == sorted(stamps)


def test_a_stream_that_repeats_itself_counts_as_frozen(send: Send) -> None:
    sender = send(changes=lambda number: {"frame": 9, "stamp_s": 101.0} if number > 9 else {})
    with opened(sender) as eye:
        next_frames(eye, 1)
        assert eventually(lambda: "repeats picture 9" in complaint(eye))
        with pytest.raises(CameraFrozen):
            eye.read_latest(0.2)
        assert eventually(lambda: eye.recoveries.restarts > 0)


def test_another_camera_that_comes_back_in_its_place_is_refused(send: Send) -> None:
    sender = send(changes=lambda number: {"serial": "OTHER"} if number > 5 else {})
    with opened(sender) as eye:
        with pytest.raises(WrongCamera, match="'OTHER'.*instead of.*MOCK0001"):
            next_frames(eye, 20)
        with pytest.raises(WrongCamera, match="start again"):
            eye.read_latest(60.0)


def test_damaged_messages_are_dropped_and_named_while_nothing_else_comes(send: Send) -> None:
    sender = send()
    with opened(sender) as eye:
        next_frames(eye, 2)
        sender.damaged.set()
        assert eventually(lambda: "lacks stamp_s" in complaint(eye))
        sender.damaged.clear()
        next_frames(eye, 3, eye.read_latest(60.0).number)


def test_a_stream_that_begins_with_rubbish_is_refused_in_one_sentence(send: Send) -> None:
    with (
        pytest.raises(CameraMissing, match="cannot be read .*reshape.* correct it"),
        opened(send(changes=lambda number: {"height": 999})),
    ):
        pass


class DeadCamera:
    """A source that gave one start and then hangs or fails in every call, as a driver without its device."""

    live = True

    def __init__(self, real: Any, hang_s: float) -> None:
        self._real, self._hang_s, self._started = real, hang_s, False
        self.calls: list[str] = []

    def start(self) -> Any:
        if not self._started:
            self._started = True
            return self._real.start()
        return self._dead("start")

    def stop(self) -> None:
        self._dead("stop")

    def reset(self) -> None:
        self._dead("reset")

    def wait(self, timeout_ms: int) -> None:
        raise RuntimeError("Device disconnected")

    def ended(self) -> bool:
        return False

    def close(self) -> None:
        self._real.close()

    def _dead(self, call: str) -> None:
        self.calls.append(call)
        time.sleep(self._hang_s)
        raise RuntimeError("No device connected")


@pytest.mark.parametrize("hang_s", [0.0, 1.0])
def test_a_dead_device_is_tried_in_order_and_each_step_is_given_up_in_time(
    send: Send, monkeypatch: pytest.MonkeyPatch, hang_s: float
) -> None:
    sender = send()
    real = camera.source_of
    dead: list[DeadCamera] = []

    def source_of(mode: CameraMode, record_to: Any) -> DeadCamera:
        dead.append(DeadCamera(real(mode, record_to), hang_s))
        return dead[0]

    monkeypatch.setattr(camera, "source_of", source_of)
    monkeypatch.setattr(camera, "STEP_S", 0.1)
    monkeypatch.setattr(camera, "RESET_S", 0.1)
    with opened(sender) as eye:
        began = time.monotonic()
        assert eventually(lambda: eye.recoveries.resets == 1 and len(dead[0].calls) == 7)
        assert time.monotonic() - began < 3 * (SILENT_S + 0.5) + 0.3
        said = complaint(eye)
    assert dead[0].calls == ["stop", "start", "stop", "start", "stop", "reset", "start"]
    assert ("did not answer" if hang_s else "No device connected") in said or "Device disconnected" in said


def test_several_cameras_are_told_apart_and_two_of_one_serial_refused(send: Send) -> None:
    left = send(changes=lambda number: {"serial": "LEFT"})
    right = send(changes=lambda number: {"serial": "RIGHT"})
    modes = [CameraMode(s.address, n, WIDTH, HEIGHT, RATE_HZ) for s, n in ((left, "LEFT"), (right, "RIGHT"))]
    with open_cameras(modes) as eyes:
        assert list(eyes) == ["LEFT", "RIGHT"]
        for eye in eyes.values():
            next_frames(eye, 2)
    with pytest.raises(WrongCamera, match="named LEFT"), open_cameras([modes[0], modes[0]]):
        pass


def test_a_pair_of_different_instants_is_no_frame(send: Send) -> None:
    """The syncer joins what is nearest; a depth picture taken more than half a period later is another scene.

    Pictures come every other period here, or a late depth would be near enough to the next colour picture.
    """
    from perception.realsense.network import NetworkFeed
    from perception.realsense.pictures import Pictures
    from perception.realsense.sources import NetworkCamera

    apart_s = [0.0]
    push = NetworkFeed._push

    class LateDepth(NetworkFeed):
        def _push(self, header: dict[str, Any], rgb: np.ndarray, depth: np.ndarray) -> None:
            color_sensor, depth_sensor = self._sensors
            self._sensors = (color_sensor, Delayed(depth_sensor, apart_s[0]))
            push(self, header, rgb, depth)
            self._sensors = color_sensor, depth_sensor

    class Delayed:
        def __init__(self, sensor: Any, by_s: float) -> None:
            self._sensor, self._by_s = sensor, by_s

        def on_video_frame(self, frame: Any) -> None:
            frame.timestamp += 1e3 * self._by_s
            self._sensor.on_video_frame(frame)

    sender = send(changes=lambda number: {"stamp_s": 100 + 2 * number / RATE_HZ})
    mode = CameraMode(sender.address, SERIAL, WIDTH, HEIGHT, RATE_HZ)
    source = NetworkCamera(mode)
    source._feed.__class__ = LateDepth
    pictures = Pictures(source.start(), mode)
    try:
        for by_s, wanted in ((0.0, True), (0.6 / RATE_HZ, False)):
            apart_s[0] = by_s
            time.sleep(0.5)
            taken = [pictures.frame(frames) for frames in (source.wait(300) for _ in range(40)) if frames is not None]
            assert any(frame is not None for frame in taken[-8:]) == wanted  # the first may still be of before
    finally:
        source.close()
