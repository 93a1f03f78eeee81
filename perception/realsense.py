"""The only RealSense code: a camera on USB, or frames from the network pushed through the same SDK.

An address `tcp://…` names a ZMQ PUSH socket that sends multipart frames:
[msgpack header {frame, stamp_s, width, height, fx, fy, cx, cy, depth_scale_m, serial}, rgb8 bytes, z16 depth bytes].
They enter an `rs.software_device`; pipeline, syncer, alignment and frame metadata are the SDK's either way.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgpack
import numpy as np
import zmq

from perception.camera import CameraMissing, CameraStalled, Frame, WrongCamera

FIRST_FRAME_TIMEOUT_S = 10.0
_POLL_MS = 200


def _sdk() -> Any:
    """pyrealsense2, imported only where a camera is opened. Raises CameraMissing if it cannot load."""
    try:
        import pyrealsense2
    except ImportError as error:
        raise CameraMissing(f"The RealSense SDK cannot be loaded ({error}); run launch/setup.sh.") from error
    return pyrealsense2


class NetworkFeed:
    """Frames from a ZMQ PUSH socket, pushed into an `rs.software_device` by a thread of its own."""

    def __init__(self, address: str, timeout_s: float = FIRST_FRAME_TIMEOUT_S) -> None:
        """Connects and waits for the first frame. Raises CameraMissing if none comes."""
        self.address = address
        self._socket: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.PULL)
        self._socket.setsockopt(zmq.RCVHWM, 2)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._stopping = threading.Event()
        try:
            self._socket.connect(address)
            self._first = self._receive(int(timeout_s * 1000))
        except (zmq.ZMQError, ValueError, KeyError) as error:
            self._socket.close()
            raise CameraMissing(
                f"Camera address {address} cannot be read ({error}); correct it in the cell file."
            ) from error
        if self._first is None:
            self._socket.close()
            raise CameraMissing(f"No frame came from {address} in {timeout_s:.0f} s; start the mock cell first.")
        self.header: dict[str, Any] = self._first[0]
        self.device = self._make_device()
        self._thread = threading.Thread(target=self._feed, name="camera-feed", daemon=True)

    def _receive(self, timeout_ms: int) -> tuple[dict[str, Any], np.ndarray, np.ndarray] | None:
        if not self._socket.poll(timeout_ms):
            return None
        header_bytes, rgb, depth = self._socket.recv_multipart()
        header = msgpack.unpackb(header_bytes)
        shape = (header["height"], header["width"])
        return (
            header,
            np.frombuffer(rgb, np.uint8).reshape(*shape, 3),
            np.frombuffer(depth, np.uint16).reshape(shape),
        )

    def _make_device(self) -> Any:
        rs, header = _sdk(), self.header
        device = rs.software_device()
        device.register_info(rs.camera_info.name, "Network camera")
        device.register_info(rs.camera_info.serial_number, header["serial"])
        intrinsics = rs.intrinsics()
        intrinsics.width, intrinsics.height = header["width"], header["height"]
        intrinsics.fx, intrinsics.fy = header["fx"], header["fy"]
        intrinsics.ppx, intrinsics.ppy = header["cx"], header["cy"]
        intrinsics.model, intrinsics.coeffs = rs.distortion.none, [0.0] * 5
        self._sensors = device.add_sensor("RGB Camera"), device.add_sensor("Stereo Module")
        self._sensors[1].add_read_only_option(rs.option.depth_units, header["depth_scale_m"])
        kinds = (rs.stream.color, rs.format.rgb8, 3), (rs.stream.depth, rs.format.z16, 2)
        profiles = []
        for uid, (sensor, (stream, pixel, size)) in enumerate(zip(self._sensors, kinds, strict=True), 1):
            video = rs.video_stream()
            video.type, video.index, video.uid, video.fmt, video.bpp = stream, 0, uid, pixel, size
            # Frames carry their own stamps; the nominal rate only has to match what the pipeline asks for.
            video.width, video.height, video.fps = header["width"], header["height"], header.get("rate_hz", 15)
            video.intrinsics = intrinsics
            profiles.append(sensor.add_video_stream(video))
        same_place = rs.extrinsics()
        same_place.rotation, same_place.translation = np.eye(3).ravel().tolist(), [0.0, 0.0, 0.0]
        profiles[0].register_extrinsics_to(profiles[1], same_place)
        profiles[1].register_extrinsics_to(profiles[0], same_place)
        self._profiles = profiles
        return device

    def start(self) -> None:
        """Begins to feed; the pipeline must be started first, or the SDK drops the frames."""
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread and closes the socket."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()
        self._socket.close()

    def _feed(self) -> None:
        received = self._first
        while not self._stopping.is_set():
            if received is not None:
                self._push(*received)
            received = self._receive(_POLL_MS)

    def _push(self, header: dict[str, Any], rgb: np.ndarray, depth: np.ndarray) -> None:
        rs = _sdk()
        for sensor, profile, pixels, size in zip(self._sensors, self._profiles, (rgb, depth), (3, 2), strict=True):
            frame = rs.software_video_frame()
            frame.stride, frame.bpp = header["width"] * size, size
            frame.timestamp, frame.domain = header["stamp_s"] * 1000.0, rs.timestamp_domain.hardware_clock
            frame.frame_number = header["frame"]
            frame.profile = profile.as_video_stream_profile()
            if pixels is depth:
                frame.depth_units = header["depth_scale_m"]
            frame.pixels = pixels
            sensor.on_video_frame(frame)


class RealSenseCamera:
    """One RealSense camera: the SDK's pipeline, a capture thread, and the newest frame."""

    def __init__(self, address: str, serial: str, width: int, height: int, rate_hz: int) -> None:
        """address: `usb`, or `tcp://host:port` of a frame stream. The camera must carry `serial`."""
        self.address, self.serial = address, serial
        self.width, self.height, self.rate_hz = width, height, rate_hz
        self._newest: Frame | None = None
        self._arrived = threading.Condition()
        self._stopping = threading.Event()
        self._failure: Exception | None = None
        self._feed: NetworkFeed | None = None

    def start(self) -> RealSenseCamera:
        """Opens the camera and begins to capture. Raises CameraMissing or WrongCamera."""
        rs = _sdk()
        config = rs.config()
        config.enable_stream(rs.stream.color, self.width, self.height, rs.format.rgb8, self.rate_hz)
        config.enable_stream(rs.stream.depth, self.width, self.height, rs.format.z16, self.rate_hz)
        context = rs.context()
        self._pipeline = rs.pipeline(context)
        if self.address == "usb":
            self._find_usb(rs, context)
            config.enable_device(self.serial)
        else:
            self._feed = NetworkFeed(self.address)
            self._check(self._feed.header)
            self._pipeline.set_device(self._feed.device)
        try:
            profile = self._pipeline.start(config)
        except RuntimeError as error:
            self._close_feed()
            wanted = f"{self.width}x{self.height} at {self.rate_hz} Hz"
            raise WrongCamera(
                f"Camera {self.serial} cannot deliver {wanted} ({error}); correct the cell file."
            ) from error
        self._read_geometry(rs, profile)
        self._thread = threading.Thread(target=self._capture, name="camera-capture", daemon=True)
        self._thread.start()
        if self._feed is not None:
            self._feed.start()
        return self

    def stop(self) -> None:
        """Ends capture and releases the device."""
        self._stopping.set()
        self._thread.join()
        self._pipeline.stop()
        self._close_feed()

    def read_latest(self, max_age_s: float) -> Frame:
        """The newest frame. Raises CameraStalled if none arrived in the last `max_age_s`."""
        frame = self._newest
        age_s = float("inf") if frame is None else time.monotonic() - frame.host_s
        if frame is None or age_s > max_age_s:
            cause = f" ({self._failure})" if self._failure else ""
            raise CameraStalled(
                f"Camera {self.serial} has sent no frame for {age_s:.1f} s{cause}; re-plug it and start again."
            )
        return frame

    def wait_newer(self, number: int | None, timeout_s: float) -> Frame | None:
        """The newest frame as soon as its number differs from `number`; None after `timeout_s`."""
        with self._arrived:
            self._arrived.wait_for(lambda: self._newest is not None and self._newest.number != number, timeout_s)
            frame = self._newest
        return frame if frame is not None and frame.number != number else None

    def _find_usb(self, rs: Any, context: Any) -> None:
        serials = [device.get_info(rs.camera_info.serial_number) for device in context.query_devices()]
        if not serials:
            raise CameraMissing(f"No RealSense camera is connected; plug camera {self.serial} into a USB 3 port.")
        if self.serial not in serials:
            raise WrongCamera(
                f"The cell names camera {self.serial}, but {', '.join(serials)} is connected; correct camera.serial."
            )

    def _check(self, header: dict[str, Any]) -> None:
        found = header["serial"], header["width"], header["height"]
        if found != (self.serial, self.width, self.height):
            self._close_feed()
            raise WrongCamera(
                f"The cell describes camera {self.serial} with {self.width}x{self.height} pixels, but {self.address} "
                f"sends camera {found[0]} with {found[1]}x{found[2]}; correct the cell file."
            )

    def _close_feed(self) -> None:
        if self._feed is not None:
            self._feed.stop()
            self._feed = None

    def _read_geometry(self, rs: Any, profile: Any) -> None:
        color = profile.get_stream(rs.stream.color).as_video_stream_profile()
        depth = profile.get_stream(rs.stream.depth).as_video_stream_profile()
        pinhole = color.get_intrinsics()
        self._K = np.array([[pinhole.fx, 0, pinhole.ppx], [0, pinhole.fy, pinhole.ppy], [0, 0, 1]])
        # Where both images already share one geometry (as on a D405), align could only add rounding:
        # it was measured to punch holes into 5 % of the pixels and to shift 9 % by one.
        moved = depth.get_extrinsics_to(color)
        shared = (
            str(pinhole) == str(depth.get_intrinsics())
            and np.allclose(np.reshape(moved.rotation, (3, 3)), np.eye(3))
            and np.allclose(moved.translation, 0.0)
        )
        self._align = None if shared else rs.align(rs.stream.color)

    def _capture(self) -> None:
        last: int | None = None
        while not self._stopping.is_set():
            try:
                arrived, frames = self._pipeline.try_wait_for_frames(_POLL_MS)
                frame = self._frame(frames, last) if arrived else None
            except RuntimeError as error:
                self._failure = error
                return
            if frame is not None:
                last = frame.number
                with self._arrived:
                    self._newest = frame
                    self._arrived.notify_all()

    def _frame(self, frames: Any, last: int | None) -> Frame | None:
        """A copy of one frameset; None for repeats and for pairs the syncer made of different instants."""
        color, depth = frames.get_color_frame(), frames.get_depth_frame()
        if not color or not depth or color.get_frame_number() == last:
            return None
        if abs(color.get_timestamp() - depth.get_timestamp()) > 500.0 / self.rate_hz:
            return None
        if self._align is not None:
            depth = self._align.process(frames).get_depth_frame()
        return Frame(
            rgb=np.array(color.get_data()),
            depth_m=np.asarray(depth.get_data()).astype(np.float32) * np.float32(depth.get_units()),
            K=self._K,
            number=color.get_frame_number(),
            stamp_s=color.get_timestamp() / 1000.0,
            clock_domain=color.get_frame_timestamp_domain().name,
            host_s=time.monotonic(),
        )


@contextmanager
def open_camera(address: str, serial: str, width: int, height: int, rate_hz: int) -> Iterator[RealSenseCamera]:
    """A started camera, stopped at the end. Raises CameraMissing or WrongCamera."""
    camera = RealSenseCamera(address, serial, width, height, rate_hz).start()
    try:
        yield camera
    finally:
        camera.stop()
