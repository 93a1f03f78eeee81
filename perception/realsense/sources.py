"""The three places the SDK gets frames from, each with one way to start, stop and reset."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from perception.camera import CameraMissing, CameraMode, WrongCamera
from perception.realsense.network import NetworkFeed
from perception.realsense.sdk import sdk

RESET_S = 8.0
"""A D400 camera takes some seconds to come back to the bus after a reset."""


class Source:
    """One camera behind an SDK pipeline; any of its calls may hang with the device.

    live: frames come when they come; otherwise they wait to be taken.
    """

    live = True

    def __init__(self, mode: CameraMode, record_to: Path | None = None) -> None:
        """record_to: `.db3` file for all that is seen; each restart begins another one beside it."""
        self.mode, self.record_to = mode, record_to
        self._pipeline: Any = None
        self._turn = self._recorded = 0

    def start(self) -> Any:
        """Starts a new pipeline and returns its profile. Raises CameraMissing or WrongCamera."""
        self._turn += 1
        rs, turn = sdk(), self._turn
        config = rs.config()
        config.enable_stream(rs.stream.color, self.mode.width, self.mode.height, rs.format.rgb8, self.mode.rate_hz)
        config.enable_stream(rs.stream.depth, self.mode.width, self.mode.height, rs.format.z16, self.mode.rate_hz)
        if self.record_to is not None:
            config.enable_record_to_file(str(self._next_recording(self.record_to)))
        context = rs.context()
        pipeline = rs.pipeline(context)
        self._choose(rs, context, config, pipeline)
        try:
            profile = pipeline.start(config)
        except RuntimeError as error:
            raise WrongCamera(
                f"Camera {self.mode.serial} cannot deliver {self.mode} ({error}); correct the cell file."
            ) from error
        if turn != self._turn:  # it hung, and was given up meanwhile
            pipeline.stop()
            raise WrongCamera(f"Camera {self.mode.serial} started too late; another start was tried.")
        self._pipeline = pipeline
        return profile

    def wait(self, timeout_ms: int) -> Any | None:
        """The next frameset, or None. Raises RuntimeError where the SDK does."""
        if self._pipeline is None:
            time.sleep(timeout_ms / 1000)
            return None
        arrived, frames = self._pipeline.try_wait_for_frames(timeout_ms)
        return frames if arrived else None

    def ended(self) -> bool:
        """Whether nothing more can come."""
        return False

    def stop(self) -> None:
        """Stops the pipeline, if one runs."""
        self._turn += 1
        pipeline, self._pipeline = self._pipeline, None
        if pipeline is not None:
            pipeline.stop()

    def reset(self) -> None:
        """What else brings a camera back, while it is stopped."""

    def close(self) -> None:
        """Gives all back."""
        self.stop()

    def trouble(self) -> str:
        """What is known of why nothing comes. Raises WrongCamera if another camera took its place."""
        return ""

    def _choose(self, rs: Any, context: Any, config: Any, pipeline: Any) -> None:
        """Ties the pipeline to this camera."""
        raise NotImplementedError

    def _next_recording(self, path: Path) -> Path:
        self._recorded += 1
        return path if self._recorded == 1 else path.with_stem(f"{path.stem}-{self._recorded}")


class UsbCamera(Source):
    """A camera on this machine's bus."""

    def _choose(self, rs: Any, context: Any, config: Any, pipeline: Any) -> None:
        self._device(rs, context)
        config.enable_device(self.mode.serial)

    def _device(self, rs: Any, context: Any) -> Any:
        found = {device.get_info(rs.camera_info.serial_number): device for device in context.query_devices()}
        serial = self.mode.serial
        if not found:
            raise CameraMissing(f"No RealSense camera is connected; plug camera {serial} into a USB 3 port.")
        if serial not in found:
            raise WrongCamera(
                f"The cell names camera {serial}, but {', '.join(found)} is connected; correct camera.serial."
            )
        return found[serial]

    def reset(self) -> None:
        """Resets the device and waits until it is on the bus again. Raises CameraMissing or WrongCamera."""
        rs = sdk()
        self._device(rs, rs.context()).hardware_reset()
        deadline = time.monotonic() + RESET_S
        time.sleep(1.0)  # it takes a moment to leave the bus
        while time.monotonic() < deadline:
            try:
                self._device(rs, rs.context())
                return
            except (CameraMissing, WrongCamera):
                time.sleep(0.2)
        raise CameraMissing(f"Camera {self.mode.serial} did not come back from its reset; re-plug it.")


class NetworkCamera(Source):
    """A stream of frames pushed through a software device."""

    def __init__(self, mode: CameraMode, record_to: Path | None = None) -> None:
        """Waits for the first frame. Raises CameraMissing or WrongCamera."""
        super().__init__(mode, record_to)
        self._feed = NetworkFeed(mode.address)
        header = self._feed.header
        found = header["serial"], header["width"], header["height"]
        if found != (mode.serial, mode.width, mode.height):
            self._feed.stop()
            raise WrongCamera(
                f"The cell describes camera {mode.serial} with {mode.width}x{mode.height} pixels, but {mode.address} "
                f"sends camera {found[0]} with {found[1]}x{found[2]}; correct the cell file."
            )

    def start(self) -> Any:
        """As every source; frames flow once the pipeline runs."""
        profile = super().start()
        self._feed.start()
        return profile

    def stop(self) -> None:
        """Frames that come meanwhile are dropped."""
        self._feed.pause()
        super().stop()

    def reset(self) -> None:
        """Another socket; every start makes another software device."""
        self._feed.reconnect()

    def close(self) -> None:
        """Also ends the feed."""
        super().close()
        self._feed.stop()

    def trouble(self) -> str:
        """As every source."""
        if self._feed.wrong is not None:
            raise self._feed.wrong
        return self._feed.trouble

    def _choose(self, rs: Any, context: Any, config: Any, pipeline: Any) -> None:
        pipeline.set_device(self._feed.make_device())


class Recording(Source):
    """A `.db3` file, played once, each frame when the one before was taken."""

    live = False

    def __init__(self, mode: CameraMode, record_to: Path | None = None) -> None:
        """Checks the file. Raises CameraMissing or WrongCamera."""
        super().__init__(mode)
        self.path = Path(mode.address.removeprefix("file:")).expanduser()
        if record_to is not None:
            raise CameraMissing(f"{self.path} is a recording already; record from a camera.")
        if not self.path.is_file():
            raise CameraMissing(f"There is no recording {self.path}; correct camera.address.")
        self._check()

    def start(self) -> Any:
        """As every source, without the pauses between frames."""
        profile = super().start()
        self._playback = profile.get_device().as_playback()
        self._playback.set_real_time(False)
        return profile

    def ended(self) -> bool:
        """Whether the player has stopped."""
        return bool(self._playback.current_status() == sdk().playback_status.stopped)

    def _choose(self, rs: Any, context: Any, config: Any, pipeline: Any) -> None:
        config.enable_device_from_file(str(self.path), False)

    def _check(self) -> None:
        rs, mode = sdk(), self.mode
        try:
            device = rs.context().load_device(str(self.path))
            serial = device.get_info(rs.camera_info.serial_number)
            streams = [p.as_video_stream_profile() for sensor in device.query_sensors() for p in sensor.profiles]
            recorded = {(p.width(), p.height(), p.fps()) for p in streams}
        except RuntimeError as error:
            raise CameraMissing(f"{self.path} is not a whole recording ({error}); record it again.") from error
        if serial != mode.serial or recorded != {(mode.width, mode.height, mode.rate_hz)}:
            what = ", ".join(f"{width}x{height} at {rate_hz} Hz" for width, height, rate_hz in sorted(recorded))
            raise WrongCamera(
                f"The cell describes camera {mode.serial} with {mode}, but {self.path} was recorded by camera {serial}"
                f" with {what}; correct the cell file."
            )


def source_of(mode: CameraMode, record_to: Path | None = None) -> Source:
    """What its address names. Raises CameraMissing or WrongCamera."""
    kind: Callable[[CameraMode, Path | None], Source]
    kind = UsbCamera if mode.address == "usb" else Recording if mode.address.startswith("file:") else NetworkCamera
    return kind(mode, record_to)
