"""The mock cell's camera process: renders snapshots of the physics and pushes them as a frame stream."""

from __future__ import annotations

import argparse
import logging
from typing import Any

import imageio
import msgpack
import numpy as np
import zmq
from zmq.utils.monitor import recv_monitor_message

from robot_runtime.mock_cell import child, scene
from robot_runtime.mock_cell.pictures import Pictures
from robot_runtime.mock_cell.rendering import NoOffscreenRendering
from robot_runtime.mock_cell.snapshots import FRAME_RATE_HZ, Snapshot, SnapshotReceiver

logger = logging.getLogger(__name__)

DEPTH_SCALE_M = 0.001
"""Metres per unit of the depth image, as RealSense D400 cameras come."""

_CONSUMER_PATIENCE_S = 3.0
_SLOW_EVERY = 5
"""A slow camera gives one frame in so many."""


class FrameStream:
    """Where frames go: one consumer, waited for while it is connected, dropped frames while nobody is."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], endpoint: str) -> None:
        self._socket = context.socket(zmq.PUSH)
        self._socket.linger = 0
        self._socket.sndhwm = 1
        self._socket.setsockopt(zmq.SNDBUF, 1 << 16)
        self._socket.sndtimeo = int(_CONSUMER_PATIENCE_S * 1000)
        self._monitor = self._socket.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED)
        self._consumers = 0
        self._socket.bind(endpoint)

    def has_consumer(self) -> bool:
        """Whether somebody is connected."""
        while self._monitor.poll(0):
            event = recv_monitor_message(self._monitor)["event"]
            self._consumers += 1 if event == zmq.EVENT_HANDSHAKE_SUCCEEDED else -1
        return self._consumers > 0

    def push(self, header: dict[str, Any], rgb: np.ndarray, depth: np.ndarray) -> None:
        """Blocks until the consumer takes it, for at most three seconds of wall time."""
        try:
            self._socket.send_multipart([msgpack.packb(header), rgb.tobytes(), depth.tobytes()])
        except zmq.Again:
            logger.warning("The frame consumer took nothing for %.0f s: frame dropped.", _CONSUMER_PATIENCE_S)

    def close(self) -> None:
        """Frees the port."""
        self._socket.disable_monitor()
        self._socket.close()


def depth_units(depth_m: np.ndarray) -> np.ndarray:
    """Depth image as the sensor gives it: uint16, 0 where nothing was measured. Shape: (H, W)"""
    units = np.round(depth_m / DEPTH_SCALE_M)
    return np.where(units > np.iinfo(np.uint16).max, 0, units).astype(np.uint16)


def _reaches_the_consumer(snapshot: Snapshot) -> bool:
    fault = snapshot.view.fault
    return fault != "unplugged" and (fault != "slow" or snapshot.frame % _SLOW_EVERY == 0)


class Eye:
    """One camera of the cell: whose pictures go where."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], camera: str, endpoint: str, serial: str) -> None:
        self.camera, self._stream = camera, FrameStream(context, endpoint)
        width, height = scene.CAMERA_WIDTH, scene.CAMERA_HEIGHT
        lens = scene.intrinsics(width, height)
        self._constant = {
            "width": width, "height": height, "fx": lens.fx, "fy": lens.fy, "cx": lens.cx, "cy": lens.cy,
            "depth_scale_m": DEPTH_SCALE_M, "serial": serial,
        }  # fmt: skip

    def wants(self, snapshot: Snapshot) -> bool:
        """Whether somebody takes this picture."""
        return self._stream.has_consumer() and _reaches_the_consumer(snapshot)

    def push(self, snapshot: Snapshot, rgb: np.ndarray, depth_m: np.ndarray) -> None:
        """Hands one picture over."""
        header = {"frame": snapshot.frame, "stamp_s": snapshot.stamp_s, **self._constant}
        self._stream.push(header, rgb, depth_units(depth_m))

    def close(self) -> None:
        """Frees the port."""
        self._stream.close()


def serve(args: argparse.Namespace, stop: child.StopFlag) -> None:
    """Runs until told to stop. Raises NoOffscreenRendering, or zmq.ZMQError when the address is taken."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    eyes = [Eye(context, scene.CAMERA_NAME, args.frames, args.serial)]
    if args.wrist_frames:
        eyes.append(Eye(context, scene.WRIST_CAMERA_NAME, args.wrist_frames, args.wrist_serial))
    pictures = Pictures()
    snapshots = SnapshotReceiver(context, args.snapshots)
    video = imageio.get_writer(args.video, fps=FRAME_RATE_HZ, macro_block_size=8) if args.video else None
    snapshots.delivered()
    child.announce_ready()
    try:
        while not stop.is_set:
            snapshot = snapshots.receive(timeout_s=0.2)
            if snapshot is None:
                continue
            for eye in eyes:
                recorder = video if eye is eyes[0] else None
                if eye.wants(snapshot) or recorder is not None:
                    rgb, depth_m = pictures.of(snapshot, eye.camera)
                    if recorder is not None:
                        recorder.append_data(rgb)
                    if eye.wants(snapshot):
                        eye.push(snapshot, rgb, depth_m)
            snapshots.delivered()
    finally:
        if video is not None:
            video.close()
        for eye in eyes:
            eye.close()
        snapshots.close()
        pictures.close()
        context.destroy(linger=0)


def main() -> None:
    """`python -m robot_runtime.mock_cell.camera`, started by `cell_process.MockCell`."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("--frames", "--snapshots", "--serial"):
        parser.add_argument(name, required=True)
    for name in ("--wrist-frames", "--wrist-serial", "--video"):
        parser.add_argument(name)
    args = parser.parse_args()
    child.run(lambda stop: serve(args, stop), (NoOffscreenRendering, zmq.ZMQError))


if __name__ == "__main__":
    main()
