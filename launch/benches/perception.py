"""How well the shipped detectors and pose fits find their objects: in fresh renders, and live on the mock cell."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from _live_estimates import consistency, measured_noise, watch
from _perception_pictures import draw_map
from scipy.stats import chi2

import _reports
from contract import perception_noise
from contract.poses import yaw_of
from contract.task_spec import TaskSpec
from contract.tasks import LIFT_CUBE, PEG_UPRIGHT
from perception.camera import Frame
from perception.depth_noise import noisy_depth
from perception.detector import Detector, weights_folder
from perception.measurement import Measurement
from perception.measuring import measure
from perception.pose_estimation import nearest_quarter_turn
from perception.synthetic_data import sensor_noise
from robot_runtime.mock_cell.renders import Sample, render_samples
from robot_runtime.trials import wilson_interval

UNHIDDEN_PX = 200
"""A cube that shows at least this many pixels (of about 260 to 450) counts as unhidden: all of those must be found."""
UNHIDDEN_PEG_PX = 700
"""The same of a peg, which shows about 1000 to 2000."""
FREEDOMS = 4
"""x, y, z and yaw of a cube."""
FALSE_M = 0.03
"""Further than this from the truth, a measurement is of something else."""


@dataclass(frozen=True)
class Arguments:
    """What to measure on."""

    samples: int = 800
    """Fresh pictures with the cube: other light, textures, things beside it, camera, arm in each."""
    empty: int = 500
    """Fresh pictures without it, for false detections."""
    peg: int = 300
    """Fresh pictures with the peg; 0 leaves it out."""
    watched: int = 0
    """Places of the cube on the mock cell at which the running estimator is compared with the truth."""
    noise: Path | None = None
    """Write what was measured there to this file, from which training's estimates get their faults."""
    map: Path | None = None
    """Draw where the errors are, and whether the covariance tells them, to this PNG."""
    seed: int = 424242
    """Of the pictures; training used seeds near 0 and 1000000."""
    report: Path | None = None
    """Also write the figures here."""


@dataclass(frozen=True)
class Look:
    """One picture: what was there and what was found. Nothing is wrong by infinity where nothing was found.

    error: of x, y, z (m) and yaw (rad). axis_error_rad: of a long object's axis. Shapes: (4,)
    """

    truth_m: np.ndarray
    unhidden: bool
    held: bool
    measured: Measurement | None
    error: np.ndarray
    axis_error_rad: float
    seconds: tuple[float, float]

    @property
    def distance_m(self) -> float:
        """From the truth."""
        return float(np.linalg.norm(self.error[:3]))

    @property
    def squared(self) -> float:
        """The error in standard deviations that the covariance claims, squared: chi-square of 4 degrees if honest."""
        assert self.measured is not None
        return float(self.error @ np.linalg.solve(self.measured.covariance[:4, :4], self.error))


def run(arguments: Arguments) -> dict[str, Any]:
    """Renders, looks, prints and returns the figures. Raises DetectorMissing or NoOffscreenRendering."""
    result: dict[str, Any] = {"seed": arguments.seed}
    cubes = looks_at(LIFT_CUBE, arguments.samples, arguments.seed)
    result |= figures(cubes) | {"false_rate": false_rate(arguments.empty, arguments.seed)}
    result["false_interval"] = wilson_interval(round(result["false_rate"] * arguments.empty), arguments.empty)
    if arguments.peg:
        result["peg"] = peg_figures(looks_at(PEG_UPRIGHT, arguments.peg, arguments.seed))
    if arguments.watched:
        watched = watch(arguments.watched)
        measured = measured_noise(watched.frames)
        result["live"] = {**vars(measured), "innovations": consistency(watched.innovations, watched.freedoms)}
        if arguments.noise is not None:
            perception_noise.write(arguments.noise, LIFT_CUBE.object_name, measured)
    print(json.dumps(result, indent=2))
    if arguments.map is not None:
        draw_map(arguments.map, standing(cubes))
    _reports.write(arguments.report, result)
    return result


def looks_at(spec: TaskSpec, count: int, seed: int, empty_share: float = 0.0) -> list[Look]:
    """Fresh pictures of a card's object, each looked at once."""
    detector = Detector(weights_folder(spec.name))
    random = np.random.default_rng(seed)
    samples = render_samples(count, seed, spec=spec, empty_share=empty_share)
    return [look(spec, detector, sample, random) for sample in samples]


def look(spec: TaskSpec, detector: Detector, sample: Sample, random: np.random.Generator) -> Look:
    """Detection and pose of one picture as a camera would give it, compared with the truth."""
    rgb, depth_m = sensor_noise(random, sample.rgb), noisy_depth(random, sample.depth_m)
    frame = Frame(rgb, depth_m, sample.K, 0, 0.0, "none", 0.0)
    began = time.perf_counter()
    found = detector.detect(rgb)
    detected = time.perf_counter()
    tried = (measure(spec, one, frame, sample.T_base_camera, None) for one in found)
    measured = next((one for one in tried if one is not None), None)
    seconds = detected - began, time.perf_counter() - detected
    truth = sample.pose_base_object
    enough = UNHIDDEN_PX if spec is LIFT_CUBE else UNHIDDEN_PEG_PX
    error, axis_error = np.full(4, np.inf), np.inf
    if measured is not None:
        yaw = float(yaw_of(truth.quaternion))
        error = np.array(
            [*(measured.position - truth.position), measured.yaw - nearest_quarter_turn(yaw, measured.yaw)]
        )
        between = measured.pose_base_object.matrix()[:3, 0] @ truth.matrix()[:3, 0]
        axis_error = float(np.arccos(min(1.0, abs(between))))
    unhidden = int(sample.mask.sum()) >= enough
    return Look(truth.position, unhidden, sample.held, measured, error, axis_error, seconds)


def standing(looks: list[Look]) -> list[Look]:
    """Measurements of unhidden objects that nobody holds."""
    return [one for one in looks if one.unhidden and not one.held and one.measured is not None]


def figures(looks: list[Look]) -> dict[str, Any]:
    """Key figures of the cube. Errors are over measurements of unhidden cubes that stand on the table."""
    must = [one for one in looks if one.unhidden]
    clear = standing(looks)
    given = [one for one in looks if one.measured is not None]
    errors = np.array([one.error for one in clear])
    distance_mm = 1e3 * np.array([one.distance_m for one in clear])
    yaw_deg = np.rad2deg(np.abs(errors[:, 3]))
    squared = [one.squared for one in clear]
    missed = sum(one.measured is None for one in must)
    hidden = [one for one in looks if not one.unhidden]
    return {
        "samples": len(looks),
        "unhidden": len(must),
        "median_mm": float(np.median(distance_mm)),
        "p95_mm": float(np.percentile(distance_mm, 95)),
        "max_mm": float(distance_mm.max()),
        "yaw_median_deg": float(np.median(yaw_deg)),
        "yaw_p95_deg": float(np.percentile(yaw_deg, 95)),
        "miss_rate": missed / len(must),
        "miss_interval": wilson_interval(missed, len(must)),
        "elsewhere_rate": float(np.mean([one.distance_m > FALSE_M for one in given])),
        "hidden_miss_rate": float(np.mean([one.measured is None for one in hidden])) if hidden else 0.0,
        "normalised_squared_error": consistency(squared, FREEDOMS),
        "within_95": float(np.mean(squared < chi2.ppf(0.95, FREEDOMS))),
        "bias_mm": [float(v) for v in 1e3 * errors[:, :3].mean(axis=0)],
        "noise_mm": [float(v) for v in 1e3 * errors[:, :3].std(axis=0)],
        "detect_ms": float(1e3 * np.median([one.seconds[0] for one in looks])),
        "pose_ms": float(1e3 * np.median([one.seconds[1] for one in looks])),
    }


def false_rate(count: int, seed: int) -> float:
    """Share of pictures without the cube in which one is measured all the same."""
    looks = looks_at(LIFT_CUBE, count, seed + 1, empty_share=1.0)
    return float(np.mean([one.measured is not None for one in looks])) if looks else 0.0


def peg_figures(looks: list[Look]) -> dict[str, Any]:
    """Key figures of the peg, over unhidden ones that nobody holds."""
    must = [one for one in looks if one.unhidden and not one.held]
    clear = standing(looks)
    axis_deg = np.rad2deg([one.axis_error_rad for one in clear])
    distance_mm = 1e3 * np.array([one.distance_m for one in clear])
    return {
        "samples": len(looks),
        "unhidden": len(must),
        "axis_median_deg": float(np.median(axis_deg)),
        "axis_p95_deg": float(np.percentile(axis_deg, 95)),
        "median_mm": float(np.median(distance_mm)),
        "p95_mm": float(np.percentile(distance_mm, 95)),
        "miss_rate": 1.0 - len(clear) / len(must),
    }
