"""Frames from the network, pushed through the SDK as if a camera had taken them.

An address `tcp://…` names a ZMQ PUSH socket that sends multipart frames:
[msgpack header {frame, stamp_s, width, height, fx, fy, cx, cy, depth_scale_m, serial}, rgb8 bytes, z16 depth bytes].
The header may also hold rate_hz (15 if not), and `distortion`: five Brown-Conrady coefficients in OpenCV's order.
They enter an `rs.software_device`; pipeline, syncer, alignment and frame metadata are the SDK's.
"""

from __future__ import annotations

import threading
from typing import Any

import msgpack
import numpy as np
import zmq

from perception.camera import CameraMissing, WrongCamera
from perception.realsense.sdk import sdk

FIRST_FRAME_TIMEOUT_S = 10.0
_POLL_MS = 200
_SAME_ALWAYS = ("serial", "width", "height", "fx", "fy", "cx", "cy", "depth_scale_m")
Message = tuple[dict[str, Any], np.ndarray, np.ndarray]


class DamagedFrame(ValueError):
    """A message on the frame stream is not a frame. Check what sends to that address."""


def unpack(parts: list[bytes]) -> Message:
    """Header, colour (H, W, 3) uint8 and depth (H, W) uint16 of one message. Raises DamagedFrame."""
    try:
        header_bytes, rgb, depth = parts
        header = msgpack.unpackb(header_bytes)
        missing = [name for name in ("frame", "stamp_s", *_SAME_ALWAYS) if name not in header]
        if missing:
            raise DamagedFrame(f"a header there lacks {', '.join(missing)}")
        shape = (header["height"], header["width"])
        return header, np.frombuffer(rgb, np.uint8).reshape(*shape, 3), np.frombuffer(depth, np.uint16).reshape(shape)
    except DamagedFrame:
        raise
    except (ValueError, TypeError, msgpack.exceptions.UnpackException) as error:
        raise DamagedFrame(f"a message there is not a frame: {error}") from error


class NetworkFeed:
    """Frames from a ZMQ PUSH socket, pushed into an `rs.software_device` by a thread of its own.

    wrong: set once frames of another camera came. trouble: what is wrong with the newest message, or nothing.
    """

    def __init__(self, address: str, timeout_s: float = FIRST_FRAME_TIMEOUT_S) -> None:
        """Connects and waits for the first frame. Raises CameraMissing if none comes."""
        self.address = address
        self.wrong: WrongCamera | None = None
        self.trouble = ""
        self._socket: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.PULL)
        try:
            self._connect()
            self._first = self._receive(int(timeout_s * 1000))
        except (zmq.ZMQError, DamagedFrame) as error:
            self._socket.close()
            raise CameraMissing(
                f"Camera address {address} cannot be read ({error}); correct it in the cell file."
            ) from error
        if self._first is None:
            self._socket.close()
            raise CameraMissing(f"No frame came from {address} in {timeout_s:.0f} s; start the mock cell first.")
        self.header: dict[str, Any] = self._first[0]
        self._sensors: tuple[Any, ...] = ()
        self._profiles: list[Any] = []
        self._flowing = False
        self._lock = threading.Lock()  # between what feeds and what exchanges the device
        self._renew, self._stopping = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._feed, name="camera-feed", daemon=True)

    def make_device(self) -> Any:
        """A new software device, in place of the one before."""
        rs, header = sdk(), self.header
        device = rs.software_device()
        device.register_info(rs.camera_info.name, "Network camera")
        device.register_info(rs.camera_info.serial_number, header["serial"])
        sensors = device.add_sensor("RGB Camera"), device.add_sensor("Stereo Module")
        sensors[1].add_read_only_option(rs.option.depth_units, header["depth_scale_m"])
        kinds = (rs.stream.color, rs.format.rgb8, 3), (rs.stream.depth, rs.format.z16, 2)
        profiles = []
        for uid, (sensor, (stream, pixel, size)) in enumerate(zip(sensors, kinds, strict=True), 1):
            video = rs.video_stream()
            video.type, video.index, video.uid, video.fmt, video.bpp = stream, 0, uid, pixel, size
            # Frames carry their own stamps; the nominal rate only has to match what the pipeline asks for.
            video.width, video.height, video.fps = header["width"], header["height"], header.get("rate_hz", 15)
            video.intrinsics = self._intrinsics()
            profiles.append(sensor.add_video_stream(video))
        same_place = rs.extrinsics()
        same_place.rotation, same_place.translation = np.eye(3).ravel().tolist(), [0.0, 0.0, 0.0]
        profiles[0].register_extrinsics_to(profiles[1], same_place)
        profiles[1].register_extrinsics_to(profiles[0], same_place)
        self._sensors, self._profiles = sensors, profiles
        return device

    def start(self) -> None:
        """Begins to feed; the pipeline must be started first, or the SDK drops the frames."""
        with self._lock:
            self._flowing = True
        if self._thread.ident is None:
            self._thread.start()

    def pause(self) -> None:
        """Drops what comes from now on, until `start`."""
        with self._lock:
            self._flowing = False

    def reconnect(self) -> None:
        """Makes the feeding thread open a new socket."""
        self._renew.set()

    def stop(self) -> None:
        """Ends the thread and closes the socket."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()
        self._socket.close()

    def _connect(self) -> None:
        self._socket.setsockopt(zmq.RCVHWM, 2)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.connect(self.address)

    def _receive(self, timeout_ms: int) -> Message | None:
        return unpack(self._socket.recv_multipart()) if self._socket.poll(timeout_ms) else None

    def _intrinsics(self) -> Any:
        rs, header = sdk(), self.header
        intrinsics = rs.intrinsics()
        intrinsics.width, intrinsics.height = header["width"], header["height"]
        intrinsics.fx, intrinsics.fy = header["fx"], header["fy"]
        intrinsics.ppx, intrinsics.ppy = header["cx"], header["cy"]
        intrinsics.coeffs = [float(value) for value in header.get("distortion", [0.0] * 5)]
        intrinsics.model = rs.distortion.brown_conrady if any(intrinsics.coeffs) else rs.distortion.none
        return intrinsics

    def _feed(self) -> None:
        received = self._first
        while not self._stopping.is_set() and self.wrong is None:
            if received is not None:
                self._push(*received)
            if self._renew.is_set():
                self._renew.clear()
                self._socket.close()
                self._socket = zmq.Context.instance().socket(zmq.PULL)
                self._connect()
            try:
                received = self._receive(_POLL_MS)
            except DamagedFrame as damage:
                received, self.trouble = None, str(damage)

    def _push(self, header: dict[str, Any], rgb: np.ndarray, depth: np.ndarray) -> None:
        changed = [name for name in _SAME_ALWAYS if header[name] != self.header[name]]
        if changed:
            now, before = ({name: of[name] for name in changed} for of in (header, self.header))
            self.wrong = WrongCamera(
                f"Another camera sends on {self.address} since it came back: {now} instead of {before};"
                " connect the one in the cell file and start again."
            )
            return
        rs = sdk()
        self.trouble = ""
        with self._lock:
            if not self._flowing:
                return
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
