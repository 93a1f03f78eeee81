"""Cube poses from masks and depth, against what the renderer knows."""

from __future__ import annotations

import numpy as np
import pytest

from contract.poses import Pose, yaw_of
from perception.pose_estimation import CubeMeasurement, measure_cube, nearest_quarter_turn
from robot_runtime.mock_cell.renders import Sample, render_samples

EDGE_M = 0.04
UNHIDDEN_PX = 200
DEPTH_NOISE_M = 0.002


@pytest.fixture(scope="module")
def samples() -> list[Sample]:
    """Pictures with the cube standing on the table, hardly hidden."""
    return [s for s in render_samples(40, seed=77) if s.mask.sum() >= UNHIDDEN_PX and not s.held]


def noisy_depth(sample: Sample, seed: int) -> np.ndarray:
    """Depth with noise, and with a tenth of the pixels missing. Shape: (H, W)"""
    random = np.random.default_rng(seed)
    noise = random.normal(0.0, DEPTH_NOISE_M, sample.depth_m.shape)
    known = random.random(sample.depth_m.shape) > 0.1
    return ((sample.depth_m + noise) * known).astype(np.float32)


def errors(sample: Sample, measured: CubeMeasurement) -> tuple[float, float]:
    """Distance in metres, yaw in radians."""
    truth = sample.pose_base_object
    yaw = float(yaw_of(truth.quaternion))
    return float(np.linalg.norm(measured.position - truth.position)), abs(
        measured.yaw - nearest_quarter_turn(yaw, measured.yaw)
    )


def measure(sample: Sample, depth_m: np.ndarray, **changes: object) -> CubeMeasurement | None:
    inputs = {
        "mask": sample.mask, "depth_m": depth_m, "K": sample.K, "T_base_camera": sample.T_base_camera, "edge_m": EDGE_M,
    }  # fmt: skip
    return measure_cube(**{**inputs, **changes})  # type: ignore[arg-type]


def test_poses_are_within_bounds_under_depth_noise_and_holes(samples: list[Sample]) -> None:
    assert len(samples) >= 15
    measured = [measure(s, noisy_depth(s, k)) for k, s in enumerate(samples)]
    assert all(m is not None for m in measured)
    found = np.array([errors(s, m) for s, m in zip(samples, measured, strict=True) if m is not None])
    assert np.median(found[:, 0]) < 0.0015
    assert np.percentile(found[:, 0], 95) < 0.004
    assert np.median(found[:, 1]) < np.deg2rad(1.5)


def test_the_covariance_is_of_the_size_of_the_errors(samples: list[Sample]) -> None:
    ratios = []
    for k, sample in enumerate(samples):
        measured = measure(sample, noisy_depth(sample, k))
        assert measured is not None
        distance, _ = errors(sample, measured)
        ratios.append(distance / np.sqrt(np.trace(measured.covariance[:3, :3])))
    assert 0.2 < np.sqrt(np.mean(np.square(ratios))) < 2.0


def test_yaw_is_given_as_the_quarter_turn_nearest_to_the_hint(samples: list[Sample]) -> None:
    sample = samples[0]
    for hint in (-2.0, 0.0, 1.3, 3.0):
        measured = measure(sample, sample.depth_m, yaw_hint=hint)
        assert measured is not None
        assert abs(measured.yaw - hint) <= np.pi / 4 + 1e-9


def test_a_table_is_not_a_cube(samples: list[Sample]) -> None:
    sample = samples[0]
    mask = np.zeros_like(sample.mask)
    mask[180:200, 30:50] = True
    assert measure(sample, sample.depth_m, mask=mask) is None


def test_a_thing_of_twice_the_size_is_rejected(samples: list[Sample]) -> None:
    sample = samples[0]
    twice = Pose(sample.T_base_camera.position * 2, sample.T_base_camera.quaternion)
    assert measure(sample, sample.depth_m * 2, T_base_camera=twice) is None


def test_a_sliver_or_missing_depth_gives_no_pose(samples: list[Sample]) -> None:
    sample = samples[0]
    assert measure(sample, np.zeros_like(sample.depth_m)) is None
    sliver = np.zeros_like(sample.mask)
    v, u = np.argwhere(sample.mask)[0]
    sliver[v : v + 4, u : u + 4] = True
    assert measure(sample, sample.depth_m, mask=sliver) is None
