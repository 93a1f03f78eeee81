"""Pegs and tools from points in the picture and depth, against renders and made-up geometry with noise."""

from __future__ import annotations

import numpy as np
import pytest

from contract.poses import Pose, quat_from_axis_angle, quat_from_yaw, quat_multiply
from contract.tasks import PEG_UPRIGHT, PULL_CUBE_TOOL
from perception.depth_noise import noisy_depth
from perception.long_objects import measure_peg
from perception.measurement import Measurement, project
from perception.measuring import hook_points_m
from perception.synthetic_data import labelled
from perception.tool_objects import measure_tool
from robot_runtime.mock_cell.renders import Sample, render_samples
from tests.perception import made_up

HALF_M = PEG_UPRIGHT.half_size_m
POINT_NOISE_PX = 1.5


@pytest.fixture(scope="module")
def samples() -> list[tuple[Sample, np.ndarray]]:
    """Pegs that lie, stand, or are held at any tilt, both ends in view, with the ends as a detector finds them."""
    rng, found = np.random.default_rng(0), []
    for sample in render_samples(40, seed=77, spec=PEG_UPRIGHT):
        ends_px = labelled(sample, HALF_M[0]).ends_px
        if ends_px is not None and np.isfinite(ends_px).all():
            found.append((sample, ends_px + rng.normal(0.0, POINT_NOISE_PX, (2, 2))))
    return found


def axis_error_rad(measured: Measurement, truth: Pose) -> float:
    return float(np.arccos(min(1.0, abs(measured.axis @ truth.matrix()[:3, 0]))))


def test_pegs_are_found_lying_standing_and_held(samples: list[tuple[Sample, np.ndarray]]) -> None:
    angles, distances, ratios, missed = [], [], [], 0
    for k, (sample, ends_px) in enumerate(samples):
        depth_m = noisy_depth(np.random.default_rng(k), sample.depth_m)
        measured = measure_peg(ends_px, depth_m, sample.K, sample.T_base_camera, HALF_M)
        if measured is None:
            missed += 1
            continue
        truth = sample.pose_base_object
        off = measured.position - truth.position
        angles.append(axis_error_rad(measured, truth))
        distances.append(np.linalg.norm(off))
        ratios.append(off @ np.linalg.solve(measured.covariance[:3, :3], off))
    assert len(angles) >= 25
    assert missed <= 0.1 * len(samples)
    assert np.median(angles) < np.deg2rad(1.5)
    assert np.percentile(angles, 95) < np.deg2rad(6.0)
    assert np.median(distances) < 0.004
    assert 0.1 < np.mean(ratios) < 6.0, "its mean is 3 where the covariance is right"


def test_without_depth_a_peg_is_taken_to_lie_on_the_table_or_not_at_all(
    samples: list[tuple[Sample, np.ndarray]],
) -> None:
    lying = found = 0
    for sample, ends_px in samples:
        hole = np.where(sample.mask, 0.0, sample.depth_m)
        measured = measure_peg(ends_px, hole, sample.K, sample.T_base_camera, HALF_M)
        on_table = abs(sample.pose_base_object.position[2] - HALF_M[2]) < 1e-3
        lying += on_table
        if measured is not None:
            assert measured.from_table
            assert on_table, "a peg in the air or upright was placed on the table"
            found += 1
            assert np.linalg.norm(measured.position - sample.pose_base_object.position) < 0.015
            assert axis_error_rad(measured, sample.pose_base_object) < np.deg2rad(8.0)
    assert found >= 0.4 * lying


def test_the_end_is_the_hints(samples: list[tuple[Sample, np.ndarray]]) -> None:
    sample, ends_px = samples[0]
    for hint in (np.array([0.3, 1.0, 0.1]), np.array([-0.3, -1.0, -0.1])):
        measured = measure_peg(ends_px, sample.depth_m, sample.K, sample.T_base_camera, HALF_M, hint)
        assert measured is not None
        assert measured.axis @ hint > 0


def test_a_peg_of_another_length_and_nonsense_give_nothing(samples: list[tuple[Sample, np.ndarray]]) -> None:
    sample, ends_px = samples[0]
    seen = sample.depth_m, sample.K, sample.T_base_camera
    assert measure_peg(ends_px, *seen, (0.14, 0.02, 0.02)) is None
    assert measure_peg(ends_px * np.nan, *seen, HALF_M) is None
    assert measure_peg(ends_px - 1000.0, *seen, HALF_M) is None
    assert measure_peg(ends_px[[0, 0]], *seen, HALF_M) is None


def test_a_gripper_across_the_middle_does_not_bend_the_peg() -> None:
    half = np.array(HALF_M)
    pose = Pose(np.array([0.55, 0.02, 0.02]), quat_from_yaw(np.asarray(1.4)))
    mask, depth_m = made_up.box_on_table(pose, half)
    ends = project(pose.apply(np.array([[-0.1, 0, 0], [0.1, 0, 0]])), made_up.K, made_up.camera().inverse())
    middle = ends.mean(axis=0)
    u, v = np.meshgrid(*(np.arange(n) for n in mask.shape[::-1]))
    depth_m[(np.abs(u - middle[0]) < 9) & (v < middle[1] + 15)] = 0.6
    measured = measure_peg(ends, depth_m, made_up.K, made_up.camera(), HALF_M)
    assert measured is not None
    assert axis_error_rad(measured, pose) < np.deg2rad(1.0)
    assert np.linalg.norm(measured.position - pose.position) < 0.003


@pytest.mark.parametrize("hole", [False, True])
@pytest.mark.parametrize("lift_m", [0.0, 0.1])
def test_a_tool_is_found_by_its_three_points(hole: bool, lift_m: float) -> None:
    rng = np.random.default_rng(1)
    half = PULL_CUBE_TOOL.half_size_m
    model = hook_points_m(half)
    for _ in range(10):
        lean = quat_from_axis_angle(rng.normal(0.0, 0.1, 3) * (lift_m > 0))
        turned = quat_multiply(lean, quat_from_yaw(np.asarray(rng.uniform(-0.3, 0.3))))
        pose = Pose(np.array([*rng.uniform([0.38, -0.1], [0.44, 0.02]), half[2] + lift_m]), turned)
        depth_m = made_up.table_depth()
        for centre, size in (
            ([0.10, 0.0, 0.0], half),
            ([model[1, 0], (half[1] + model[2, 1]) / 2, 0.0], (0.015, 0.04, half[2])),
        ):
            part = Pose(pose.apply(np.array(centre)), pose.quaternion)
            mask, depth = made_up.box_on_table(part, np.array(size))
            depth_m = np.where(mask, np.where(depth_m > 0, np.minimum(depth_m, depth), depth), depth_m)
        points_px = project(pose.apply(model), made_up.K, made_up.camera().inverse()) + rng.normal(0.0, 1.0, (3, 2))
        seen = np.zeros_like(depth_m) if hole else noisy_depth(rng, depth_m)
        measured = measure_tool(points_px, seen, made_up.K, made_up.camera(), model, half[2])
        if hole and lift_m:
            assert measured is None or measured.from_table
            continue
        assert measured is not None
        assert measured.from_table is hole
        assert np.linalg.norm(measured.position - pose.position) < 0.02
        assert axis_error_rad(measured, pose) < np.deg2rad(4.0)
