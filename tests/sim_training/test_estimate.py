"""What training lets the policy believe about the object, and how certain it says it is."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from contract.object_motion import wandered_m2
from contract.poses import Pose
from contract.task_spec import Randomisation, Range
from contract.tasks import LIFT_CUBE
from sim_training.envs.estimate import ObjectEstimate

COUNT = 2000
DOWN = torch.tensor([0.0, 1.0, 0.0, 0.0])
TRUTH = Pose(torch.tensor([0.5, 0.0, 0.02]).repeat(COUNT, 1), torch.tensor([1.0, 0, 0, 0]).repeat(COUNT, 1))
FAR = Pose(torch.tensor([0.5, 0.0, 0.25]).repeat(COUNT, 1), DOWN.repeat(COUNT, 1))
NEAR = Pose(TRUTH.position, DOWN.repeat(COUNT, 1))
OPEN, HELD = torch.full((COUNT,), 0.08), torch.full((COUNT,), 0.04)
ALL = torch.ones(COUNT, dtype=torch.bool)


def watched(randomisation: Randomisation) -> ObjectEstimate:
    torch.manual_seed(0)
    spec = replace(LIFT_CUBE, randomisation=randomisation)
    estimate = ObjectEstimate.of(spec, COUNT, torch.device("cpu"))
    estimate.reset(torch.arange(COUNT), TRUTH)
    return estimate


def test_noise_bias_and_latency_reach_their_ranges_and_not_further() -> None:
    ranges = Randomisation(object_noise_m=Range(0.004, 0.004), object_latency_ticks=Range(0, 9))
    estimate = watched(ranges)
    estimate.update(TRUTH, FAR, OPEN, ~ALL, ALL)
    off = estimate.pose.position - TRUTH.position - estimate.bias
    seen = estimate.age == estimate.latency * 0.05
    assert off[seen].std() == pytest.approx(0.004, rel=0.05)
    assert estimate.latency.max() == 9
    assert estimate.bias.abs().max() <= ranges.object_bias_m.high


def test_a_latency_beyond_the_usual_still_shows_where_the_object_was_then() -> None:
    nothing = Range(0.0, 0.0)
    late = replace(
        LIFT_CUBE.randomisation,
        object_noise_m=nothing,
        object_bias_m=nothing,
        object_dropout=nothing,
        object_latency_ticks=Range(9, 9),
    )
    estimate = watched(late)
    for tick in range(1, 13):
        moved = Pose(TRUTH.position + torch.tensor([0.01 * tick, 0.0, 0.0]), TRUTH.quaternion)
        estimate.update(moved, FAR, OPEN, ~ALL, ALL)
    torch.testing.assert_close(estimate.pose.position, TRUTH.position + torch.tensor([0.03, 0.0, 0.0]))


def test_the_reported_sigma_follows_the_noise_and_grows_with_the_age_as_the_trackers_does() -> None:
    estimate = watched(replace(LIFT_CUBE.randomisation, object_dropout=Range(1.0, 1.0)))
    share = estimate.fresh_sigma / estimate.noise
    ranges = estimate.spec.randomisation.object_sigma_share
    assert share.min() >= ranges.low - 1e-5
    assert share.max() <= ranges.high + 1e-5
    before = estimate.sigma.clone()
    for _ in range(5):
        estimate.update(TRUTH, FAR, OPEN, ~ALL, ALL)
    expected = (estimate.fresh_sigma**2 + wandered_m2(estimate.latency * 0.05 + 0.25)).sqrt()
    torch.testing.assert_close(estimate.sigma, expected)
    assert (estimate.sigma > before).all()


def test_a_held_object_stays_as_certain_as_it_was_taken_also_when_others_begin_anew() -> None:
    estimate = watched(LIFT_CUBE.randomisation)
    estimate.update(TRUTH, FAR, OPEN, ~ALL, ALL)
    before = estimate.sigma.clone()
    for _ in range(3):
        estimate.update(TRUTH, NEAR, HELD, ALL, ALL)
    assert estimate.held.all()
    torch.testing.assert_close(estimate.sigma, before)
    estimate.reset(torch.arange(5), Pose(TRUTH.position[:5], TRUTH.quaternion[:5]))
    torch.testing.assert_close(estimate.sigma[5:], before[5:])


def test_where_nothing_is_randomised_the_belief_is_certain() -> None:
    nothing = Range(0.0, 0.0)
    estimate = watched(Randomisation(object_noise_m=nothing, object_latency_ticks=nothing, object_dropout=nothing))
    estimate.update(TRUTH, FAR, OPEN, ~ALL, ALL)
    assert estimate.sigma.max() == 0.0
