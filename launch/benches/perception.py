"""How well and how fast the shipped detector and the pose fit find the cube in fresh renders."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from contract.poses import yaw_of
from contract.tasks import LIFT_CUBE
from perception.detector import Detector, weights_folder
from perception.pose_estimation import CubeMeasurement, measure_cube, nearest_quarter_turn
from robot_runtime.mock_cell.renders import Sample, render_samples

UNHIDDEN_PX = 200
"""A cube that shows at least this many pixels (of about 260 to 450) counts as unhidden: all of those must be found."""
_FALSE_M = 0.03


@dataclass(frozen=True)
class Arguments:
    """What to measure on."""

    samples: int = 200
    """Fresh pictures."""
    seed: int = 424242
    """Of the pictures; training used seeds near 0 and 1000000."""
    depth_noise_m: float = 0.002
    """Standard deviation added to the rendered depth; a tenth of the pixels is dropped as well."""
    report: Path | None = None
    """Also write the figures here."""


@dataclass(frozen=True)
class Look:
    """One picture: what was there and what was found. Shapes: error_m (3,)"""

    unhidden: bool
    held: bool
    measured: CubeMeasurement | None
    error_m: np.ndarray
    yaw_error_rad: float
    seconds: tuple[float, float]

    @property
    def distance_m(self) -> float:
        """From the truth."""
        return float(np.linalg.norm(self.error_m))


def look(detector: Detector, sample: Sample, random: np.random.Generator, depth_noise_m: float) -> Look:
    """Detection and pose of one picture, compared with the truth."""
    noise = random.normal(0.0, depth_noise_m, sample.depth_m.shape)
    known = random.random(sample.depth_m.shape) > 0.1
    depth_m = ((sample.depth_m + noise) * known).astype(np.float32)
    began = time.perf_counter()
    found = detector.detect(sample.rgb)
    detected = time.perf_counter()
    truth, measured = sample.pose_base_object, None
    for detection in found:
        measured = measure_cube(detection.mask, depth_m, sample.K, sample.T_base_camera, LIFT_CUBE.object_width_m)
        if measured is not None:
            break
    done = time.perf_counter()
    error, yaw_error = np.full(3, np.inf), np.inf
    if measured is not None:
        error = measured.position - truth.position
        yaw_error = measured.yaw - nearest_quarter_turn(float(yaw_of(truth.quaternion)), measured.yaw)
    seconds = detected - began, done - detected
    return Look(int(sample.mask.sum()) >= UNHIDDEN_PX, sample.held, measured, error, yaw_error, seconds)


def figures(looks: list[Look]) -> dict[str, Any]:
    """Key figures. Errors are over measurements of unhidden cubes that stand on the table."""
    must = [one for one in looks if one.unhidden]
    clear = [one for one in must if not one.held and one.measured is not None]
    given = [one for one in looks if one.measured is not None]
    errors = np.array([one.error_m for one in clear])
    distance_mm = 1e3 * np.array([one.distance_m for one in clear])
    yaw_deg = np.rad2deg(np.abs([one.yaw_error_rad for one in clear]))
    hidden = [one for one in looks if not one.unhidden]
    return {
        "samples": len(looks),
        "unhidden": len(must),
        "median_mm": float(np.median(distance_mm)),
        "p95_mm": float(np.percentile(distance_mm, 95)),
        "max_mm": float(distance_mm.max()),
        "yaw_median_deg": float(np.median(yaw_deg)),
        "yaw_p95_deg": float(np.percentile(yaw_deg, 95)),
        "miss_rate": float(np.mean([one.measured is None for one in must])),
        "false_rate": float(np.mean([one.distance_m > _FALSE_M for one in given])),
        "hidden_miss_rate": float(np.mean([one.measured is None for one in hidden])) if hidden else 0.0,
        "bias_mm": [float(v) for v in 1e3 * errors.mean(axis=0)],
        "noise_mm": [float(v) for v in 1e3 * errors.std(axis=0)],
        "detect_ms": float(1e3 * np.median([one.seconds[0] for one in looks])),
        "pose_ms": float(1e3 * np.median([one.seconds[1] for one in looks])),
    }


def run(arguments: Arguments) -> dict[str, Any]:
    """Renders, looks, prints and returns the figures. Raises DetectorMissing or NoOffscreenRendering."""
    detector = Detector(weights_folder(LIFT_CUBE.name))
    random = np.random.default_rng(arguments.seed)
    samples = render_samples(arguments.samples, arguments.seed)
    result = figures([look(detector, sample, random, arguments.depth_noise_m) for sample in samples])
    print(json.dumps(result, indent=2))
    if arguments.report is not None:
        arguments.report.write_text(json.dumps(result, indent=2) + "\n")
    return result
