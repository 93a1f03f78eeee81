"""A mock cell's estimator beside the truth, cube at rest at many places: how good what the policy is told really is."""

from __future__ import annotations

import contextlib
import datetime
import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import stats

from _running import bridge, cell_lock
from contract.messages import ObjectState, RobotState
from contract.object_motion import position_sigma
from contract.perception_noise import MeasuredNoise
from contract.poses import Pose, yaw_of
from contract.tasks import LIFT_CUBE
from perception.detector import Detector, weights_folder
from perception.estimator import Estimator
from perception.pose_estimation import nearest_quarter_turn
from perception.realsense import open_camera
from robot_runtime.bridge_client import BridgeClient
from robot_runtime.cell import load_cell
from robot_runtime.mock_cell.cell_process import MockCell, MockCellAddresses
from robot_runtime.mock_cell.scoring import ScoringClient
from robot_runtime.wire import BridgeStatus

SETTLE_S = 0.3
"""Robot time after the cube was put somewhere before its estimates count."""
PLACE_S = 1.2
"""Robot time spent at one place, about 18 frames of a camera at 15 Hz."""
_ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class LiveEstimate:
    """What became of one frame. stamp: its robot time. latency_s: until the estimate was there, robot time.

    seen: the belief with this frame in it, None where nothing was measured. truth: where the object was, base frame.
    """

    place: int
    stamp: float
    latency_s: float
    seen: ObjectState | None
    truth: Pose


@dataclass(frozen=True)
class Watched:
    """All frames, and the tracker's normalised innovations squared with their degrees of freedom."""

    frames: list[LiveEstimate]
    innovations: list[float]
    freedoms: int


def watch(places: int, seed: int = 0, cell_name: str = "mock") -> Watched:
    """Every frame of the cell's camera while the cube rests at `places` places, the arm above them at its start pose.

    Starts and ends mock cell and bridge. Raises what those do.
    """
    cell, spec = load_cell(cell_name), LIFT_CUBE
    assert cell.scoring is not None
    watched: list[LiveEstimate] = []
    with contextlib.ExitStack() as stack:
        stack.enter_context(cell_lock(cell))
        stack.enter_context(MockCell(MockCellAddresses.of_cell(cell), seed, None, cell.camera.serial))
        stack.enter_context(bridge(cell, cell_name, lambda line: None))
        scoring = stack.enter_context(ScoringClient(cell.scoring))
        eye = cell.camera
        camera = stack.enter_context(open_camera(eye.address, eye.serial, eye.width, eye.height, eye.rate_hz))
        T_base_camera, K = Pose.from_matrix(eye.T_base_camera_matrix), eye.calibrated_K
        estimator = Estimator(spec, camera, Detector(weights_folder(spec.name)), T_base_camera, eye.clock, K)
        frames: list[tuple[float, ObjectState | None]] = []
        known: list[tuple[float, float, ObjectState | None]] = []

        def on_state(state: RobotState, _: BridgeStatus) -> None:
            """An estimate is there for whoever decides at the first state that comes after it."""
            estimator.on_state(state)
            while frames:
                stamp, seen = frames.pop(0)
                known.append((stamp, state.stamp - stamp, seen))

        estimator.on_estimate = lambda stamp, seen: frames.append((stamp, seen))
        stack.enter_context(estimator)
        client = stack.enter_context(BridgeClient(cell, "live estimates", on_state))
        client.connect(spec.contract_hash(), spec.period_s)
        client.move_home(spec.start_q_rad)
        for place in range(places):
            truth = scoring.reset(seed + place)
            estimator.tracker.forget()
            client.wait_until(truth.stamp + SETTLE_S + PLACE_S)
            rested = scoring.truth().pose_base_object
            fresh = [one for one in known if one[0] > truth.stamp + SETTLE_S]
            watched += [LiveEstimate(place, stamp, late, seen, rested) for stamp, late, seen in fresh]
            known.clear()
    return Watched(watched, list(estimator.tracker.innovations), estimator.tracker.shape.dimensions)


def consistency(squares: Sequence[float], freedoms: int) -> dict[str, float | bool]:
    """Mean of normalised squared errors or innovations beside its 95 % band, where covariances are honest.

    Each is chi-square distributed with `freedoms`, and so is their sum with as many times that. Below the band what
    measures is better than it says, above it is worse.
    """
    low, high = stats.chi2.ppf([0.025, 0.975], freedoms * len(squares)) / len(squares)
    mean = float(np.mean(squares))
    return {"mean": mean, "low": float(low), "high": float(high), "consistent": bool(low <= mean <= high)}


def measured_noise(watched: list[LiveEstimate]) -> MeasuredNoise:
    """Their figures, with where they come from. Raises ValueError where nothing was measured."""
    seen = [(one, one.seen) for one in watched if one.seen is not None]
    if not seen:
        raise ValueError("No frame had a measurement: check the detector's weights, then measure again.")
    place = np.array([one.place for one, _ in seen])
    error = np.array([belief.pose_base_object.position - one.truth.position for one, belief in seen])
    places = np.unique(place)
    bias = np.array([error[place == k].mean(axis=0) for k in places])
    white = error - bias[np.searchsorted(places, place)]
    sigma = np.array([position_sigma(belief.covariance) for _, belief in seen])
    latency = np.array([one.latency_s for one in watched])
    return MeasuredNoise(
        noise_m=_rounded(np.sqrt((white**2).mean())),
        bias_m=_rounded(np.percentile(np.abs(bias), 95)),
        yaw_noise_rad=_rounded(np.sqrt(np.mean([_yaw_error(belief, one.truth) ** 2 for one, belief in seen]))),
        latency_mean_s=_rounded(latency.mean()),
        latency_p50_s=_rounded(np.percentile(latency, 50)),
        latency_p95_s=_rounded(np.percentile(latency, 95)),
        dropout=_rounded(1 - len(seen) / len(watched)),
        sigma_share=_rounded(np.sqrt((sigma**2).mean() / (error**2).mean())),
        sigma_low_m=_rounded(np.percentile(sigma, 5)),
        sigma_high_m=_rounded(np.percentile(sigma, 95)),
        samples=len(watched),
        places=len({one.place for one in watched}),
        command=_command(sys.argv),
        date=datetime.date.today().isoformat(),
        commit=_commit(),
    )


def _yaw_error(seen: ObjectState, truth: Pose) -> float:
    believed = float(yaw_of(seen.pose_base_object.quaternion))
    return believed - nearest_quarter_turn(float(yaw_of(truth.quaternion)), believed)


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")


def _command(argv: Sequence[str]) -> str:
    """As it would be typed in the repository."""
    program = Path(argv[0]).resolve()
    name = str(program.relative_to(_ROOT)) if program.is_relative_to(_ROOT) else program.name
    return shlex.join([name, *argv[1:]])


def _commit() -> str:
    """Short name of the code measured, marked where it was changed since; empty outside a repository."""
    asked = ["git", "-C", str(_ROOT), "describe", "--always", "--dirty", "--exclude", "*"]
    answer = subprocess.run(asked, capture_output=True, text=True, check=False)
    return answer.stdout.strip()
