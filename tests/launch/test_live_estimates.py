"""Figures of watched estimates: what was put in comes out."""

from __future__ import annotations

import numpy as np
import pytest
from _live_estimates import LiveEstimate, consistency, measured_noise

from contract.messages import ObjectState
from contract.poses import Pose, quat_from_yaw


def frames(noise_m: float, bias_m: float, sigma_m: float, missed_every: int) -> list[LiveEstimate]:
    random, made = np.random.default_rng(0), []
    for place in range(50):
        truth = Pose(random.uniform(-0.2, 0.2, 3), quat_from_yaw(np.float64(random.uniform(-3, 3))))
        bias = random.uniform(-bias_m, bias_m, 3)
        for k in range(20):
            where = truth.position + bias + random.normal(0.0, noise_m, 3)
            turned = quat_from_yaw(2 * np.arctan2(truth.quaternion[3], truth.quaternion[0]) + np.pi / 2 + 0.01)
            covariance = np.diag([sigma_m**2] * 3 + [1e-4])
            seen = ObjectState(k / 15, "cube", Pose(where, turned), covariance, 0.9, False)
            made.append(LiveEstimate(place, k / 15, 0.05, None if k % missed_every == 0 else seen, truth))
    return made


def test_noise_bias_latency_dropout_and_sigma_come_out_as_they_were_put_in() -> None:
    measured = measured_noise(frames(noise_m=0.001, bias_m=0.002, sigma_m=0.0015, missed_every=10))
    assert measured.noise_m == pytest.approx(0.001, rel=0.05)
    assert measured.bias_m == pytest.approx(0.95 * 0.002, rel=0.15)
    assert measured.yaw_noise_rad == pytest.approx(0.01, rel=1e-3), "a quarter turn of a cube is no error"
    assert measured.latency_p95_s == 0.05
    assert measured.dropout == pytest.approx(0.1)
    assert measured.sigma_share == pytest.approx(0.0015 / np.hypot(0.001, 0.002 / np.sqrt(3)), rel=0.05)
    assert (measured.samples, measured.places) == (1000, 50)


def test_nothing_measured_is_an_error_and_not_a_figure() -> None:
    with pytest.raises(ValueError, match="detector"):
        measured_noise(frames(0.001, 0.001, 0.001, missed_every=1))


@pytest.mark.parametrize(("scale", "consistent"), [(1.0, True), (1.3, False), (0.7, False)])
def test_errors_larger_or_smaller_than_said_are_outside_the_band(scale: float, consistent: bool) -> None:
    squares = scale * np.random.default_rng(1).chisquare(4, 2000)
    assert consistency(list(squares), 4)["consistent"] is consistent
