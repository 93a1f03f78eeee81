"""Measured perception noise reaches training's randomisation, widened, and never as less than its least."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from contract import perception_noise
from contract.perception_noise import MeasuredNoise, NoiseFileBroken, injected
from contract.task_spec import Randomisation
from contract.tasks import TASKS

GOOD = MeasuredNoise(
    noise_m=0.0001,
    bias_m=0.0002,
    yaw_noise_rad=0.001,
    latency_mean_s=0.02,
    latency_p50_s=0.02,
    latency_p95_s=0.03,
    dropout=0.0,
    sigma_share=1.0,
    sigma_low_m=0.0003,
    sigma_high_m=0.0004,
    samples=100,
    places=10,
    command="launch/bench.py perception --watched 10 --noise FILE",
    date="2026-11-22",
    commit="1234567",
)


def test_eyes_better_than_the_least_are_trained_with_the_least() -> None:
    assert injected(GOOD) == Randomisation()


def test_eyes_worse_than_the_least_are_trained_with_more_than_was_measured() -> None:
    bad = replace(GOOD, noise_m=0.004, bias_m=0.005, yaw_noise_rad=0.1, latency_p95_s=0.25, dropout=0.1, sigma_share=3)
    ranges = injected(bad, period_s=0.05)
    assert ranges.object_noise_m.high == pytest.approx(0.012)
    assert (ranges.object_bias_m.low, ranges.object_bias_m.high) == pytest.approx((-0.015, 0.015))
    assert ranges.object_yaw_noise_rad.high == pytest.approx(0.3)
    assert ranges.object_latency_ticks.high == 8, "1.5 times 0.25 s in ticks of 0.05 s, rounded up"
    assert ranges.object_dropout.high == pytest.approx(0.3)
    assert ranges.object_sigma_share.high == pytest.approx(6.0)
    assert ranges.cube_mass_kg == Randomisation().cube_mass_kg


def test_the_file_that_training_reads_is_inside_what_every_card_is_trained_with() -> None:
    cube = perception_noise.read()["cube"]
    assert cube.samples >= 500
    for name, card in TASKS.items():
        ranges = card.randomisation
        assert ranges.object_latency_ticks.high * card.period_s >= cube.latency_p95_s, name
        assert ranges.object_noise_m.high >= cube.noise_m, name
        assert ranges.object_bias_m.high >= cube.bias_m, name
        assert ranges.object_dropout.high >= cube.dropout, name


def test_figures_of_one_object_leave_those_of_another(tmp_path: Path) -> None:
    file = tmp_path / "noise.json"
    perception_noise.write(file, "peg", replace(GOOD, noise_m=0.003))
    perception_noise.write(file, "cube", GOOD)
    assert perception_noise.read(file) == {"cube": GOOD, "peg": replace(GOOD, noise_m=0.003)}


@pytest.mark.parametrize(
    ("spoilt", "word"),
    [({"noise_m": -1.0}, "noise_m"), ({"dropout": None}, "dropout"), ({"colour": 1}, "colour"), (None, "Expecting")],
)
def test_a_broken_file_is_named_in_one_sentence(tmp_path: Path, spoilt: dict[str, object] | None, word: str) -> None:
    file = tmp_path / "noise.json"
    file.write_text("{" if spoilt is None else json.dumps({"cube": {**asdict(GOOD), **spoilt}}))
    with pytest.raises(NoiseFileBroken, match=word) as raised:
        perception_noise.read(file)
    assert str(file) in str(raised.value)
    assert "\n" not in str(raised.value)
