"""Cube poses from masks and depth, against what the renderer knows."""

from __future__ import annotations

import numpy as np
import pytest

from contract.poses import Pose, yaw_of
from perception.measurement import Measurement
from perception.pose_estimation import measure_cube, nearest_quarter_turn
from robot_runtime.mock_cell.renders import Sample, render_samples
from tests.perception import made_up

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


def errors(sample: Sample, measured: Measurement) -> tuple[float, float]:
    """Distance in metres, yaw in radians."""
    truth = sample.pose_base_object
    yaw = float(yaw_of(truth.quaternion))
    return float(np.linalg.norm(measured.position - truth.position)), abs(
        measured.yaw - nearest_quarter_turn(yaw, measured.yaw)
    )


def measure(sample: Sample, depth_m: np.ndarray, **changes: object) -> Measurement | None:
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
        assert abs((measured.yaw - hint + np.pi) % (2 * np.pi) - np.pi) <= np.pi / 4 + 1e-9


def test_a_table_is_not_a_cube(samples: list[Sample]) -> None:
    sample = samples[0]
    mask = np.zeros_like(sample.mask)
    mask[180:200, 30:50] = True
    assert measure(sample, sample.depth_m, mask=mask) is None


def test_a_thing_of_twice_the_size_is_rejected(samples: list[Sample]) -> None:
    sample = samples[0]
    twice = Pose(sample.T_base_camera.position * 2, sample.T_base_camera.quaternion)
    assert measure(sample, sample.depth_m * 2, T_base_camera=twice) is None


def test_a_cube_in_a_hole_of_the_depth_is_placed_on_the_table_by_its_outline(samples: list[Sample]) -> None:
    found, ratios = [], []
    for k, sample in enumerate(samples):
        hole = np.where(sample.mask, 0.0, sample.depth_m).astype(np.float32)
        measured = measure(sample, hole, mask=made_up.frayed(sample.mask, k))
        if measured is not None:
            assert measured.from_table
            found.append(errors(sample, measured))
            off = measured.position - sample.pose_base_object.position
            ratios.append(off[:2] @ np.linalg.solve(measured.covariance[:2, :2], off[:2]))
    assert len(found) >= 0.7 * len(samples)
    distances, yaws = np.array(found).T
    assert np.median(distances) < 0.003
    assert distances.max() < 0.012
    assert np.median(yaws) < np.deg2rad(5.0)
    assert 0.05 < np.mean(ratios) < 6.0, "its mean is 2 where the covariance is right"


def test_it_says_so_and_is_less_sure_than_with_depth(samples: list[Sample]) -> None:
    for sample in samples:
        with_depth = measure(sample, sample.depth_m)
        without = measure(sample, np.zeros_like(sample.depth_m))
        assert with_depth is not None
        assert not with_depth.from_table
        if without is not None:
            assert without.from_table
            assert np.trace(without.covariance[:3, :3]) > 2 * np.trace(with_depth.covariance[:3, :3])


def test_a_cube_high_above_the_table_is_not_placed_on_it_for_want_of_depth() -> None:
    high = [s for s in render_samples(60, seed=78) if s.held and s.pose_base_object.position[2] > 0.15]
    assert len(high) >= 4
    for sample in high:
        assert measure(sample, np.zeros_like(sample.depth_m)) is None


def test_a_hidden_half_of_a_cube_is_not_taken_for_the_whole_for_want_of_depth(samples: list[Sample]) -> None:
    for sample in samples:
        _, u = np.nonzero(sample.mask)
        half = sample.mask & (np.arange(sample.mask.shape[1]) < np.median(u))
        assert measure(sample, np.zeros_like(sample.depth_m), mask=half) is None


def test_a_sliver_gives_no_pose(samples: list[Sample]) -> None:
    sample = samples[0]
    sliver = np.zeros_like(sample.mask)
    v, u = np.argwhere(sample.mask)[0]
    sliver[v : v + 4, u : u + 4] = True
    assert measure(sample, sample.depth_m, mask=sliver) is None
