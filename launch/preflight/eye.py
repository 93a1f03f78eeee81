"""Checks of the camera: the right one, in the right mode, and pictures really arrive; where it stands."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np

from perception.camera import CameraMissing, CameraStalled, Frame, WrongCamera
from perception.realsense import RealSenseCamera, open_camera
from preflight.finding import Finding, bad, failed, good
from robot_runtime.cell import Cell

FRAMES = 8
PATIENCE_S = 8.0
LEAST_RATE = 0.7
"""Of the rate the cell names, by the camera's own stamps."""
LEAST_DEPTH = 0.05
"""Part of the picture whose depth must be known."""


def camera(cell: Cell) -> Iterator[Finding]:
    """Serial and mode, then frames."""
    eye = cell.camera
    try:
        with open_camera(eye.address, eye.serial, eye.width, eye.height, eye.rate_hz) as device:
            yield good("camera", f"{eye.serial} at {eye.address}, {eye.width}x{eye.height} at {eye.rate_hz} Hz")
            yield frames(cell, watch(device))
    except (CameraMissing, CameraStalled, WrongCamera) as error:
        yield failed("camera", error)


def watch(device: RealSenseCamera) -> list[Frame]:
    """The next frames, as many as come in time."""
    seen: list[Frame] = []
    deadline = time.monotonic() + PATIENCE_S
    while len(seen) < FRAMES and (left_s := deadline - time.monotonic()) > 0:
        frame = device.wait_newer(seen[-1].number if seen else None, left_s)
        if frame is not None:
            seen.append(frame)
    return seen


def frames(cell: Cell, seen: list[Frame]) -> Finding:
    """They go on, at the rate named, and show something near."""
    replug = "Plug it into a USB 3 port of its own and start again"
    if len(seen) < FRAMES:
        return bad("frames", f"{len(seen)} in {PATIENCE_S:g} s", replug)
    # By number too: on a busy machine frames that were taken may not all be seen here.
    span_s, count = seen[-1].stamp_s - seen[0].stamp_s, seen[-1].number - seen[0].number
    if span_s <= 0:
        return bad("frames", "their stamps stand still", replug)
    rate, known = count / span_s, float(np.mean(seen[-1].depth_m > 0))
    if rate < LEAST_RATE * cell.camera.rate_hz:
        return bad("frames", f"{rate:.1f} Hz where the cell names {cell.camera.rate_hz}", replug)
    if known < LEAST_DEPTH:
        return bad("frames", f"depth in {known:.0%} of the picture", "Uncover both lenses, and look at the table")
    return good("frames", f"{rate:.1f} Hz by its own stamps, depth in {known:.0%} of the picture")


def calibration(cell: Cell) -> Finding:
    """Where the camera stands."""
    position = ", ".join(f"{x:.2f}" for x in cell.camera.T_base_camera_matrix[:3, 3])
    return good("calibration", f"from the cell file, undated: camera at {position} m")
