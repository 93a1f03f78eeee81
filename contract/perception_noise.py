"""What perception was measured to do wrong, and what training makes of it (`bench.py perception --noise FILE`)."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from contract.task_spec import Randomisation, Range

FILE = Path(__file__).with_name("perception_noise.json")
"""The measurement that training reads."""
TIMES = 3.0
"""Training reaches so many times as far as the render was measured to err: a real camera is worse than a render."""
LATENCY_TIMES = 1.5
"""The same for latency, which is the computer's more than the camera's."""


class NoiseFileBroken(ValueError):
    """The file of measured perception noise cannot be used. Measure anew: `launch/bench.py perception --noise FILE`."""


@dataclass(frozen=True)
class MeasuredNoise:
    """How the estimates of one object differ from the truth. Robot time.

    noise_m: standard deviation per axis of what differs from estimate to estimate at one place.
    bias_m: 95th percentile, over places and axes, of the mean error at one place.
    yaw_noise_rad: root mean square of the yaw error.
    latency_*_s: from a frame's stamp to its estimate being there. dropout: share of frames without a measurement.
    sigma_share: reported standard deviation over the root mean square of the true error, per axis.
    sigma_low_m, sigma_high_m: 5th and 95th percentile of what was reported.
    samples, places: how many estimates, and at how many places. command, date, commit: where the figures come from.
    """

    noise_m: float
    bias_m: float
    yaw_noise_rad: float
    latency_mean_s: float
    latency_p50_s: float
    latency_p95_s: float
    dropout: float
    sigma_share: float
    sigma_low_m: float
    sigma_high_m: float
    samples: int
    places: int
    command: str
    date: str
    commit: str


def read(file: Path = FILE) -> dict[str, MeasuredNoise]:
    """Measured figures by the object's name. Raises NoiseFileBroken."""
    try:
        return {name: _checked(figures) for name, figures in json.loads(file.read_text()).items()}
    except (OSError, TypeError, ValueError, AttributeError) as error:
        raise NoiseFileBroken(f"{file}: {error}. {NoiseFileBroken.__doc__}") from None


def write(file: Path, name: str, measured: MeasuredNoise) -> None:
    """Put the figures of one object into a file, beside those of others that it may hold. Raises NoiseFileBroken."""
    known = read(file) if file.exists() else {}
    known[name] = measured
    beside = file.with_name(file.name + ".new")
    beside.write_text(json.dumps({name: asdict(figures) for name, figures in sorted(known.items())}, indent=2) + "\n")
    beside.replace(file)


def injected(measured: MeasuredNoise, period_s: float = 0.05, least: Randomisation | None = None) -> Randomisation:
    """What training's estimates suffer: as wide as `least`, and at least `TIMES` what was measured.

    Latency, in ticks of `period_s`, reaches to LATENCY_TIMES its measured 95th percentile, rounded up.
    """
    least = Randomisation() if least is None else least
    bias_m = max(least.object_bias_m.high, TIMES * measured.bias_m)
    ticks = math.ceil(LATENCY_TIMES * measured.latency_p95_s / period_s)
    share = least.object_sigma_share
    return replace(
        least,
        object_noise_m=_up_to(least.object_noise_m, TIMES * measured.noise_m),
        object_bias_m=Range(-bias_m, bias_m),
        object_yaw_noise_rad=_up_to(least.object_yaw_noise_rad, TIMES * measured.yaw_noise_rad),
        object_latency_ticks=_up_to(least.object_latency_ticks, ticks),
        object_dropout=_up_to(least.object_dropout, min(0.5, TIMES * measured.dropout)),
        object_sigma_share=Range(min(share.low, measured.sigma_share / 2), max(share.high, measured.sigma_share * 2)),
    )


def _up_to(least: Range, high: float) -> Range:
    return Range(least.low, max(least.high, high))


def _checked(figures: dict[str, Any]) -> MeasuredNoise:
    measured = MeasuredNoise(**figures)
    for one in fields(measured):
        value = getattr(measured, one.name)
        if one.type in ("float", "int") and not (isinstance(value, (int, float)) and 0 <= value < math.inf):
            raise ValueError(f"'{one.name}' is {value!r}, not a number from 0")
    return measured
