"""The mock cell's camera process: renders snapshots of the physics and pushes them as a frame stream."""

from __future__ import annotations

import argparse
import itertools
import logging
from typing import Any

import imageio
import msgpack
import numpy as np
import zmq
from zmq.utils.monitor import recv_monitor_message

from contract.tasks import LIFT_CUBE
from perception.depth_noise import DepthNoise
from robot_runtime.mock_cell import child, looks, scene
from robot_runtime.mock_cell.arrangements import DISTRACTORS, NOWHERE_M, random_distractors
from robot_runtime.mock_cell.rendering import NoOffscreenRendering, SceneRenderer, mujoco
from robot_runtime.mock_cell.renders import place_distractor
from robot_runtime.mock_cell.snapshots import FRAME_RATE_HZ, Snapshot, SnapshotReceiver

logger = logging.getLogger(__name__)

DEPTH_SCALE_M = 0.001
"""Metres per unit of the depth image, as RealSense D400 cameras come."""

_CONSUMER_PATIENCE_S = 3.0
_NOISES = 16
"""Depth noise is drawn so often, ahead: drawing it anew for every picture would cost a third as much as the picture."""
_LOOKALIKE = f"distractor_{DISTRACTORS}"
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


class Pictures:
    """What the camera sees of each snapshot, disturbances included. Raises NoOffscreenRendering."""

    def __init__(self) -> None:
        self._model = scene.build_model(distractors=DISTRACTORS + 1)
        self._data = mujoco.MjData(self._model)
        self._renderer = SceneRenderer(self._model, scene.CAMERA_WIDTH, scene.CAMERA_HEIGHT)
        self._lookalike = self._data.mocap_pos[self._model.body(_LOOKALIKE).mocapid[0]]
        random = np.random.default_rng(0)
        shape = scene.CAMERA_HEIGHT, scene.CAMERA_WIDTH
        self._noises = itertools.cycle([DepthNoise.drawn(random, shape) for _ in range(_NOISES)])
        self._dress(None)
        mujoco.mj_forward(self._model, self._data)
        # The first picture compiles shaders; nobody should wait for that later.
        self._last = self._renderer.render(self._data)

    def of(self, snapshot: Snapshot) -> tuple[np.ndarray, np.ndarray]:
        """Colour (H, W, 3) uint8 and depth (H, W) in metres, noisy and with holes."""
        if snapshot.view.fault == "frozen":
            return self._last
        if snapshot.view.looks != self._looks:
            self._dress(snapshot.view.looks)
        standing = snapshot.view.lookalike
        self._lookalike[:] = NOWHERE_M if standing is None else (*standing, scene.CUBE_EDGE_M / 2)
        self._data.qpos[:] = snapshot.qpos
        mujoco.mj_kinematics(self._model, self._data)
        mujoco.mj_camlight(self._model, self._data)
        rgb, depth_m = self._renderer.render(self._data)
        self._last = (np.zeros_like(rgb) if snapshot.view.fault == "dark" else rgb), next(self._noises).on(depth_m)
        return self._last

    def close(self) -> None:
        """Frees the graphics context."""
        self._renderer.close()

    def _dress(self, seed: int | None) -> None:
        """The laboratory of that seed, with things on the table where no task puts its object; the nominal for None."""
        self._looks = seed
        self._data.mocap_pos[:] = NOWHERE_M
        if seed is None:
            looks.apply(self._model, looks.Looks())
        else:
            random = np.random.default_rng(seed)
            looks.apply(self._model, looks.random_looks(random))
            for i, shown in enumerate(random_distractors(random, _outside_the_work_area)):
                place_distractor(self._model, self._data, f"distractor_{i}", shown)
        scene.dress_as_cube(self._model, _LOOKALIKE)
        self._renderer.reload_looks()


def _outside_the_work_area(xy: np.ndarray, radius_m: float) -> bool:
    beyond = np.maximum(LIFT_CUBE.object_low_m - xy, xy - LIFT_CUBE.object_high_m)
    return bool(beyond.max() > radius_m + scene.CUBE_EDGE_M)


def _reaches_the_consumer(snapshot: Snapshot) -> bool:
    fault = snapshot.view.fault
    return fault != "unplugged" and (fault != "slow" or snapshot.frame % _SLOW_EVERY == 0)


def serve(args: argparse.Namespace, stop: child.StopFlag) -> None:
    """Runs until told to stop. Raises NoOffscreenRendering, or zmq.ZMQError when the address is taken."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    stream = FrameStream(context, args.frames)
    pictures = Pictures()
    width, height = scene.CAMERA_WIDTH, scene.CAMERA_HEIGHT
    lens = scene.intrinsics(width, height)
    constant = {
        "width": width, "height": height, "fx": lens.fx, "fy": lens.fy, "cx": lens.cx, "cy": lens.cy,
        "depth_scale_m": DEPTH_SCALE_M, "serial": args.serial,
    }  # fmt: skip
    snapshots = SnapshotReceiver(context, args.snapshots)
    video = imageio.get_writer(args.video, fps=FRAME_RATE_HZ, macro_block_size=8) if args.video else None
    snapshots.delivered()
    child.announce_ready()
    try:
        while not stop.is_set:
            snapshot = snapshots.receive(timeout_s=0.2)
            if snapshot is None:
                continue
            if (stream.has_consumer() and _reaches_the_consumer(snapshot)) or video is not None:
                rgb, depth_m = pictures.of(snapshot)
                if video is not None:
                    video.append_data(rgb)
                if stream.has_consumer() and _reaches_the_consumer(snapshot):
                    header = {"frame": snapshot.frame, "stamp_s": snapshot.stamp_s, **constant}
                    stream.push(header, rgb, depth_units(depth_m))
            snapshots.delivered()
    finally:
        if video is not None:
            video.close()
        stream.close()
        snapshots.close()
        pictures.close()
        context.destroy(linger=0)


def main() -> None:
    """`python -m robot_runtime.mock_cell.camera`, started by `cell_process.MockCell`."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("--frames", "--snapshots", "--serial"):
        parser.add_argument(name, required=True)
    parser.add_argument("--video")
    args = parser.parse_args()
    child.run(lambda stop: serve(args, stop), (NoOffscreenRendering, zmq.ZMQError))


if __name__ == "__main__":
    main()
