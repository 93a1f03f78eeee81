"""From the SDK's framesets to frames: pairs checked, aligned, undistorted, copied."""

from __future__ import annotations

import time
from typing import Any

import cv2
import numpy as np

from perception.camera import CameraMode, Frame
from perception.realsense.sdk import sdk

ANEW_FRAMES = 3
"""So many frames in a row, in order but from before the last one, show that the camera's clock began anew."""


class Pictures:
    """Makes frames of one running stream's framesets; refuses repeats, stamps that jump back, and pairs that are none.

    The order of stamps is that of one stream: a camera that was restarted may begin to count anew.
    """

    def __init__(self, profile: Any, mode: CameraMode) -> None:
        """profile: of the pipeline that runs."""
        rs = sdk()
        color = profile.get_stream(rs.stream.color).as_video_stream_profile()
        depth = profile.get_stream(rs.stream.depth).as_video_stream_profile()
        pinhole = color.get_intrinsics()
        self.K = np.array([[pinhole.fx, 0, pinhole.ppx], [0, pinhole.fy, pinhole.ppy], [0, 0, 1]])
        self._apart_ms = 500.0 / mode.rate_hz
        # Where both images already share one geometry (as on a D405), align could only add rounding:
        # it was measured to punch holes into 5 % of the pixels and to shift 9 % by one.
        moved = depth.get_extrinsics_to(color)
        shared = (
            str(pinhole) == str(depth.get_intrinsics())
            and np.allclose(np.reshape(moved.rotation, (3, 3)), np.eye(3))
            and np.allclose(moved.translation, 0.0)
        )
        self._align = None if shared else rs.align(rs.stream.color)
        self._maps = undistortion(pinhole) if any(pinhole.coeffs) else None
        self._last_number: int | None = None
        self._last_stamp_ms = -np.inf
        self._earlier, self._earlier_ms = 0, -np.inf

    def frame(self, frames: Any) -> Frame | None:
        """A copy of one frameset; None for a repeat, a stamp out of order, and a pair of different instants."""
        color, depth = frames.get_color_frame(), frames.get_depth_frame()
        if not color or not depth:
            return None
        number, stamp_ms = color.get_frame_number(), color.get_timestamp()
        if number == self._last_number or not self._in_order(stamp_ms):
            return None
        if abs(stamp_ms - depth.get_timestamp()) > self._apart_ms:
            return None
        self._last_number, self._last_stamp_ms = number, stamp_ms
        if self._align is not None:
            depth = self._align.process(frames).get_depth_frame()
        rgb, units = np.asarray(color.get_data()), np.asarray(depth.get_data())
        if self._maps is not None:
            rgb = cv2.remap(rgb, *self._maps, cv2.INTER_LINEAR)
            units = cv2.remap(units, *self._maps, cv2.INTER_NEAREST)  # a mean of two depths is a place with nothing
        return Frame(
            rgb=np.array(rgb),
            depth_m=units.astype(np.float32) * np.float32(depth.get_units()),
            K=self.K,
            number=number,
            stamp_s=stamp_ms / 1000.0,
            clock_domain=color.get_frame_timestamp_domain().name,
            host_s=time.monotonic(),
        )

    def _in_order(self, stamp_ms: float) -> bool:
        """Whether it is later than the last frame's, or of a clock that began anew."""
        if stamp_ms > self._last_stamp_ms:
            self._earlier = 0
            return True
        if stamp_ms != self._earlier_ms:
            self._earlier = self._earlier + 1 if stamp_ms > self._earlier_ms else 1
        self._earlier_ms = stamp_ms
        return self._earlier >= ANEW_FRAMES


def undistortion(lens: Any) -> tuple[np.ndarray, np.ndarray]:
    """Where in the camera's picture each pixel of the pinhole picture with the same K is. Shapes: (H, W) float32.

    lens: the SDK's intrinsics; its own projection is used, since some cameras' coefficients undo rather than do.
    """
    project = sdk().rs2_project_point_to_pixel
    rays = [
        [(column - lens.ppx) / lens.fx, (row - lens.ppy) / lens.fy, 1.0]
        for row in range(lens.height)
        for column in range(lens.width)
    ]
    pixels = np.array([project(lens, ray) for ray in rays], np.float32).reshape(lens.height, lens.width, 2)
    return np.ascontiguousarray(pixels[..., 0]), np.ascontiguousarray(pixels[..., 1])
