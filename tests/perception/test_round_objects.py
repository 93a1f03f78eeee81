"""Balls and spots from masks and depth, against made-up geometry with noise."""

from __future__ import annotations

import numpy as np
import pytest

from perception.depth_noise import noisy_depth
from perception.measurement import Measurement
from perception.round_objects import measure_ball, measure_spot
from tests.perception import made_up

BALL_M, SPOT_M = 0.035, 0.06


def centres(count: int, height_m: float) -> list[np.ndarray]:
    rng = np.random.default_rng(3)
    return [np.array([*rng.uniform([0.40, -0.2], [0.70, 0.2]), height_m]) for _ in range(count)]


def errors_and_ratios(measured: list[Measurement | None], truths: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Distances in metres, and squared errors in units of their covariance, whose mean is 3 where that is right."""
    pairs = [(m, t) for m, t in zip(measured, truths, strict=True) if m is not None]
    off = [m.position - truth for m, truth in pairs]
    ratios = [o @ np.linalg.solve(m.covariance[:3, :3], o) for o, (m, _) in zip(off, pairs, strict=True)]
    return np.linalg.norm(off, axis=1), np.array(ratios)


def ball(centre: np.ndarray, seed: int, hole: bool = False, radius_m: float = BALL_M) -> Measurement | None:
    rng = np.random.default_rng(seed)
    mask, depth = made_up.ball_on_table(centre, radius_m)
    depth = noisy_depth(rng, depth)
    return measure_ball(
        made_up.frayed(mask, seed), np.where(mask, 0.0, depth) if hole else depth, made_up.K, made_up.camera(), BALL_M
    )


@pytest.mark.parametrize(("hole", "median_m", "worst_m"), [(False, 0.0015, 0.006), (True, 0.003, 0.010)])
def test_balls_are_found_with_depth_and_without(hole: bool, median_m: float, worst_m: float) -> None:
    truths = centres(30, BALL_M)
    measured = [ball(truth, k, hole) for k, truth in enumerate(truths)]
    assert all(m is not None and m.from_table is hole for m in measured)
    distances, ratios = errors_and_ratios(measured, truths)
    assert np.median(distances) < median_m
    assert distances.max() < worst_m
    assert 0.05 < np.mean(ratios) < 6.0


def test_a_ball_in_the_air_is_measured_there() -> None:
    centre = np.array([0.55, 0.05, 0.2])
    measured = ball(centre, 0)
    assert measured is not None
    assert np.linalg.norm(measured.position - centre) < 0.005


@pytest.mark.parametrize("hole", [False, True])
def test_another_size_is_not_that_ball(hole: bool) -> None:
    assert ball(np.array([0.55, 0.05, 0.06]), 0, hole, radius_m=0.06) is None
    assert ball(np.array([0.55, 0.05, 0.018]), 0, hole, radius_m=0.018) is None


def test_a_piece_of_table_is_no_ball() -> None:
    mask = np.zeros(made_up.SHAPE, bool)
    mask[100:130, 200:230] = True
    assert measure_ball(mask, made_up.table_depth(), made_up.K, made_up.camera(), BALL_M) is None


@pytest.mark.parametrize("hole", [False, True])
def test_spots_are_found_with_depth_and_without(hole: bool) -> None:
    truths, measured = centres(30, 0.0), []
    for k, truth in enumerate(truths):
        mask = made_up.spot_on_table(truth, SPOT_M)
        depth = noisy_depth(np.random.default_rng(k), made_up.table_depth())
        depth = np.where(mask, 0.0, depth) if hole else depth
        measured.append(measure_spot(made_up.frayed(mask, k), depth, made_up.K, made_up.camera(), SPOT_M))
    distances, ratios = errors_and_ratios(measured, truths)
    assert len(distances) == len(truths)
    assert np.median(distances) < 0.002
    assert distances.max() < 0.006
    assert np.mean(ratios) < 6.0


def test_a_spot_half_hidden_by_something_nearer_keeps_its_centre() -> None:
    centre = np.array([0.55, 0.05, 0.0])
    mask, depth = made_up.spot_on_table(centre, SPOT_M), made_up.table_depth()
    _, u = np.nonzero(mask)
    hidden = np.arange(mask.shape[1]) > np.percentile(u, 65)
    depth[:, hidden] -= 0.1
    measured = measure_spot(mask & ~hidden, depth, made_up.K, made_up.camera(), SPOT_M)
    assert measured is not None
    assert np.linalg.norm(measured.position - centre) < 0.004


def test_what_is_not_round_or_not_on_the_table_is_no_spot() -> None:
    square = np.zeros(made_up.SHAPE, bool)
    square[100:130, 180:250] = True
    assert measure_spot(square, made_up.table_depth(), made_up.K, made_up.camera(), SPOT_M) is None
    mask = made_up.spot_on_table(np.array([0.55, 0.05, 0.0]), SPOT_M)
    assert measure_spot(mask, made_up.table_depth() - 0.1, made_up.K, made_up.camera(), SPOT_M) is None
    assert measure_spot(np.zeros_like(mask), made_up.table_depth(), made_up.K, made_up.camera(), SPOT_M) is None
