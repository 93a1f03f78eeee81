"""From what a detector found to the pose of a task card's object, whichever kind of object it is."""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol, runtime_checkable

import numpy as np

from contract import hook
from contract.poses import Pose, yaw_of
from contract.task_spec import TaskSpec
from perception.camera import Frame
from perception.long_objects import measure_peg
from perception.measurement import Measurement
from perception.pose_estimation import measure_cube
from perception.round_objects import measure_ball
from perception.tool_objects import measure_tool

_LEAST_POINT_SCORE = 0.5
"""A point that is less surely seen is hidden."""
_PIXEL_CENTRE_PX = 0.5
"""A detector counts from the corner of the top left pixel, K from its centre."""
_UPRIGHT_SIGMA_RAD = 0.05
"""How far what was measured as standing upright may lean."""


class NotMeasurable(ValueError):
    """There is no way to measure this kind of object, or not from what this detector finds."""


@runtime_checkable
class Outlined(Protocol):
    """What a detector of compact objects finds. mask: bool (H, W)"""

    @property
    def mask(self) -> np.ndarray: ...


@runtime_checkable
class Pointed(Protocol):
    """What a detector of long objects finds. keypoints_px: (k, 2). keypoint_scores: 0..1, how surely seen (k,)"""

    @property
    def keypoints_px(self) -> np.ndarray: ...

    @property
    def keypoint_scores(self) -> np.ndarray: ...


def hook_points_m(half_size_m: tuple[float, float, float]) -> np.ndarray:
    """End of the handle, corner and tip of the hook of pull_cube_tool's tool, in its own frame. Shape: (3, 3)"""
    x, y, _ = half_size_m
    head = hook.GRIP_M + x - hook.THICK_M / 2
    return np.array([[hook.GRIP_M - x, 0.0, 0.0], [head, 0.0, 0.0], [head, y + hook.REACH_M, 0.0]])


def measure(
    spec: TaskSpec, detection: Outlined | Pointed, frame: Frame, T_base_camera: Pose, hint: Pose | None = None
) -> Measurement | None:
    """The card's object where it was detected; None if what is seen there is not that object. Raises NotMeasurable.

    hint: about where it is, to choose among headings that look the same. The covariance is of x, y, z, yaw (4, 4), or
    of x, y, z and a rotation vector (6, 6) where the card lets the object tilt.
    """
    kind, half = spec.object_name.split()[-1], spec.half_size_m
    seen = frame.depth_m, frame.K, T_base_camera
    measured: Measurement | None
    if kind == "cube":
        yaw = 0.0 if hint is None else float(yaw_of(hint.quaternion))
        measured = measure_cube(_mask(spec, detection), *seen, 2 * half[0], yaw)
    elif kind == "ball":
        measured = measure_ball(_mask(spec, detection), *seen, half[0])
    elif kind == "peg":
        axis = None if hint is None else hint.matrix()[:3, 0]
        measured = measure_peg(_points(spec, detection, 2), *seen, half, axis)
    elif kind == "hook":
        measured = measure_tool(_points(spec, detection, 3), *seen, hook_points_m(half), half[2])
    else:
        raise NotMeasurable(f"There is no way yet to measure a '{spec.object_name}'; use a task with a cube or a peg.")
    return None if measured is None else _in_dimensions(measured, 6 if spec.object_tilts else 4)


def _mask(spec: TaskSpec, detection: Outlined | Pointed) -> np.ndarray:
    if not isinstance(detection, Outlined):
        raise NotMeasurable(f"The '{spec.object_name}' is measured by its outline; train its detector to find that.")
    return detection.mask


def _points(spec: TaskSpec, detection: Outlined | Pointed, count: int) -> np.ndarray:
    if not isinstance(detection, Pointed) or len(detection.keypoints_px) != count:
        raise NotMeasurable(f"The '{spec.object_name}' is measured by {count} points; train its detector to find them.")
    is_seen = np.asarray(detection.keypoint_scores) >= _LEAST_POINT_SCORE
    return np.where(is_seen[:, None], detection.keypoints_px - _PIXEL_CENTRE_PX, np.nan).astype(float)


def _in_dimensions(measured: Measurement, dimensions: int) -> Measurement:
    """The same with a covariance of so many rows."""
    covariance = measured.covariance
    if len(covariance) == dimensions:
        return measured
    if dimensions == 4:
        rows = [0, 1, 2, 5]
        return replace(measured, covariance=covariance[np.ix_(rows, rows)])
    whole = np.diag([0.0, 0.0, 0.0, _UPRIGHT_SIGMA_RAD**2, _UPRIGHT_SIGMA_RAD**2, 0.0])
    whole[np.ix_([0, 1, 2, 5], [0, 1, 2, 5])] = covariance
    return replace(measured, covariance=whole)
