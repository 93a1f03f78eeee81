"""The pose of whatever object a task card has."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from contract.poses import Pose, quat_from_yaw
from contract.task_spec import TaskSpec
from contract.tasks import LIFT_CUBE, PEG_INSERTION, PEG_UPRIGHT, PULL_CUBE_TOOL, ROLL_BALL
from perception.camera import Frame
from perception.measurement import project
from perception.measuring import NotMeasurable, hook_points_m, measure
from tests.perception import made_up


@dataclass(frozen=True)
class Outline:
    mask: np.ndarray


@dataclass(frozen=True)
class Points:
    keypoints_px: np.ndarray
    keypoint_scores: np.ndarray


def frame(depth_m: np.ndarray) -> Frame:
    return Frame(np.zeros((*made_up.SHAPE, 3), np.uint8), depth_m.astype(np.float32), made_up.K, 1, 0.0, "robot", 0.0)


def scene(spec: TaskSpec) -> tuple[Pose, Outline | Points, Frame]:
    """The card's object lying on the table, as its detector finds it."""
    pose = Pose(np.array([0.52, 0.03, spec.half_size_m[2]]), quat_from_yaw(np.asarray(1.2)))
    to_px = (made_up.K, made_up.camera().inverse())
    if spec.object_name == "ball":
        mask, depth_m = made_up.ball_on_table(pose.position, spec.half_size_m[0])
        return pose, Outline(mask), frame(depth_m)
    mask, depth_m = made_up.box_on_table(pose, np.array(spec.half_size_m))
    if spec.object_name == "cube":
        return pose, Outline(mask), frame(depth_m)
    x = spec.half_size_m[0]
    points = np.array([[-x, 0, 0], [x, 0, 0]]) if spec.object_name == "peg" else hook_points_m(spec.half_size_m)
    depth_m = np.zeros_like(depth_m) if spec.object_name == "hook" else depth_m
    return pose, Points(project(pose.apply(points), *to_px) + 0.5, np.ones(len(points))), frame(depth_m)


@pytest.mark.parametrize(
    "spec", [LIFT_CUBE, ROLL_BALL, PEG_UPRIGHT, PEG_INSERTION, PULL_CUBE_TOOL], ids=lambda spec: str(spec.name)
)
def test_every_kind_of_object_is_measured_in_the_dimensions_of_its_card(spec: TaskSpec) -> None:
    pose, detection, seen = scene(spec)
    measured = measure(spec, detection, seen, made_up.camera(), hint=pose)
    assert measured is not None
    assert np.linalg.norm(measured.position - pose.position) < 0.004
    n = 6 if spec.object_tilts else 4
    assert measured.covariance.shape == (n, n)
    assert np.linalg.eigvalsh(measured.covariance).min() > 0
    if spec.object_name != "ball":
        assert abs(measured.yaw - 1.2) < 0.03


def test_a_point_that_is_not_surely_seen_is_not_used() -> None:
    _, detection, seen = scene(PEG_UPRIGHT)
    assert isinstance(detection, Points)
    unsure = Points(detection.keypoints_px, np.array([0.9, 0.2]))
    assert measure(PEG_UPRIGHT, unsure, seen, made_up.camera()) is None


def test_a_detector_that_finds_something_else_is_named() -> None:
    _, outline, seen = scene(LIFT_CUBE)
    with pytest.raises(NotMeasurable, match="2 points"):
        measure(PEG_UPRIGHT, outline, seen, made_up.camera())
    _, points, _ = scene(PEG_UPRIGHT)
    with pytest.raises(NotMeasurable, match="outline"):
        measure(LIFT_CUBE, points, seen, made_up.camera())
