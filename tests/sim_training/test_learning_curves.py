"""What is read off learning curves: first crossings, medians over seeds, and the band around the mean."""

import math
from pathlib import Path

import numpy as np
import pytest
from torch.utils.tensorboard import SummaryWriter

from sim_training.learning_curves import Curve, band, median_steps_to, read_curve

STEPS = np.array([100, 200, 300])


def _curve(*success: float) -> Curve:
    return Curve(STEPS[: len(success)], np.array(success), {})


def test_a_level_counts_from_the_first_evaluation_that_reached_it_even_if_lost_again() -> None:
    assert _curve(0.1, 0.8, 0.5).steps_to(0.8) == 200
    assert _curve(0.1, 0.79, 0.5).steps_to(0.8) == math.inf


def test_one_seed_that_never_got_there_does_not_decide_alone_but_two_of_three_do() -> None:
    fast, slow, never = _curve(0.9, 0.9, 0.9), _curve(0.0, 0.9, 0.9), _curve(0.0, 0.0, 0.0)
    assert median_steps_to([fast, slow, never], 0.8) == 200
    assert median_steps_to([fast, never, never], 0.8) == math.inf


def test_the_band_is_the_t_interval_over_seeds_and_a_run_that_stopped_keeps_its_last_success() -> None:
    over_seeds = band([_curve(0.2, 0.4, 0.6), _curve(0.4, 0.6)])
    np.testing.assert_allclose(over_seeds.mean, [0.3, 0.5, 0.6])
    half = 12.706 * 0.1 * math.sqrt(2) / math.sqrt(2)
    assert over_seeds.low[0] == max(0.0, 0.3 - half)
    assert over_seeds.low[2] == over_seeds.high[2] == pytest.approx(0.6)


def test_a_resumed_run_s_overlapping_evaluations_and_calls_are_read_once(tmp_path: Path) -> None:
    for steps in (((100, 0.1), (200, 0.2)), ((200, 0.2), (300, 0.5))):
        with SummaryWriter(tmp_path) as writer:
            for step, success in steps:
                writer.add_scalar("eval/success", success, step)
                writer.add_scalar("ledger/teacher_calls", min(step, 200), step)
    curve = read_curve(tmp_path)
    assert curve.steps.tolist() == [100, 200, 300]
    np.testing.assert_allclose(curve.success, [0.1, 0.2, 0.5], atol=1e-6)
    assert (curve.calls_since(100), curve.calls_since(200)) == (100, 0)
