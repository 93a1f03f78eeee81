"""How true calibrations are, on the mock cell: random cameras, the whole chain, and the truth only to score.

Beside ours: OpenCV's five closed forms on the same samples, and all of them with a fifth of the samples spoilt.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import _mock_board
import numpy as np
from scipy.stats import spearmanr

import _reports
import _running
from calibration import hand_eye
from calibration.board import Board, BoardError
from calibration.hand_eye import METHODS, Geometry, Mount, Sample, board_poses, closed_form, solve
from calibration.samples import SampleFolder
from calibration.surroundings import NoDepth
from calibration.tour import POSES, NoTour
from contract.poses import Pose, quat_from_axis_angle, quat_multiply, rotation_between
from contract.tasks import LIFT_CUBE
from perception.realsense import open_camera
from robot_runtime import calibrating
from robot_runtime.bridge_client import BridgeClient, BridgeFaulted
from robot_runtime.calibration_task import Task, eye_of
from robot_runtime.cell import load_cell
from robot_runtime.mock_cell.cell_process import MockCell, MockCellAddresses
from robot_runtime.mock_cell.scoring import ScoringClient

SPOILT = 0.2
_FAILURES = (BoardError, NoDepth, NoTour, calibrating.CameraMoved, hand_eye.CalibrationFailed)


@dataclass(frozen=True)
class Arguments:
    """Which cameras, and where the samples go."""

    cameras: int = 10
    """Random placements."""
    mount: Mount = "fixed"
    """Of the fixed camera, or of the one on the wrist."""
    seed: int = 0
    """Of the first placement; the next ones follow."""
    cell: str = "mock"
    """Name of a mock cell, or its file."""
    board: str = str(Board())
    """As launch/calibrate.py reads it."""
    poses: int = POSES
    """Of each tour."""
    samples: Path = Path("runs/calibration_bench")
    """Folder of the raw samples; placements whose samples are there already are only scored again."""
    report: Path | None = None
    """Also write the figures here."""


@dataclass(frozen=True)
class Score:
    """One solution against the truth."""

    mm: float
    deg: float

    @staticmethod
    def of(found: Pose | None, truth: Pose) -> Score:
        """No solution is infinitely far off."""
        if found is None:
            return Score(float("inf"), float("inf"))
        turn = np.linalg.norm(rotation_between(found.quaternion, truth.quaternion))
        return Score(1e3 * float(np.linalg.norm(found.position - truth.position)), float(np.rad2deg(turn)))


def run(arguments: Arguments) -> int:
    """Collect what is missing, score everything, print a table; returns the exit code."""
    wanted = [arguments.seed + k for k in range(arguments.cameras)]
    missing = [seed for seed in wanted if not (folder_of(arguments, seed) / "truth.json").exists()]
    walls = collect(arguments, missing) if missing else {}
    rows = [score(arguments, seed) | {"wall_s": walls.get(seed)} for seed in wanted]
    print(table(rows))
    figures = summary(rows) | {"mount": arguments.mount, "board": arguments.board, "placements": rows}
    print(json.dumps({k: v for k, v in figures.items() if k != "placements"}, indent=1))
    _reports.write(arguments.report, figures)
    return 0


def folder_of(arguments: Arguments, seed: int) -> Path:
    """Samples of one placement."""
    return arguments.samples / f"{arguments.mount}_{seed:03d}"


def collect(arguments: Arguments, seeds: list[int]) -> dict[int, float]:
    """Drives one tour per placement, through FCI, SDK and rendering; wall seconds of each."""
    cell, walls = load_cell(arguments.cell), {}
    eye, board = eye_of(cell, arguments.mount), Board.parse(arguments.board)
    with contextlib.ExitStack() as stack:
        stack.enter_context(_running.cell_lock(cell))
        addresses = MockCellAddresses.of_cell(cell)
        stack.enter_context(MockCell(addresses, 0, None, cell.camera.serial))
        scoring = stack.enter_context(ScoringClient(addresses.scoring))
        stack.enter_context(_running.bridge(cell, arguments.cell, print))
        client = stack.enter_context(BridgeClient(cell, "bench calibration"))
        client.connect(LIFT_CUBE.contract_hash(), LIFT_CUBE.period_s)
        camera = stack.enter_context(open_camera(eye.address, eye.serial, eye.width, eye.height, eye.rate_hz))
        for seed in seeds:
            truth = _mock_board.random_camera(arguments.mount, seed)
            _mock_board.place(scoring, arguments.mount, truth)
            _mock_board.show(scoring, arguments.mount, board, seed)
            folder = folder_of(arguments, seed)
            task = Task(cell, arguments.mount, board, folder, arguments.poses, seed)
            began_s, found = time.monotonic(), None
            try:
                found = calibrating.calibrate(client, camera, task, lambda line: None)
            except BridgeFaulted as error:  # on a busy machine; what was collected is kept
                print(f"camera {seed}: {error} It goes on.", flush=True)
                client.recover(by_person=True)
                found = calibrating.calibrate(client, camera, task, lambda line: None)
            except _FAILURES as error:
                print(f"camera {seed}: {error}", flush=True)
            walls[seed] = round(time.monotonic() - began_s, 1)
            folder.mkdir(parents=True, exist_ok=True)
            kept = {"T_reference_camera": truth.matrix().tolist(), "delay_s": found and found.delay_s}
            kept["table_height_m"] = found.table.height_m if found is not None and found.table is not None else None
            (folder / "truth.json").write_text(json.dumps(kept))
            print(f"camera {seed}: {len(list(folder.glob('sample_*.json')))} samples in {walls[seed]} s", flush=True)
    return walls


def spoil(samples: list[Sample], seed: int) -> list[Sample]:
    """A fifth of them corrupted: the tool was elsewhere, or corners were taken for others."""
    random = np.random.default_rng([seed, 2])
    spoilt = list(samples)
    for k, index in enumerate(random.choice(len(samples), round(SPOILT * len(samples)), replace=False)):
        sample = samples[index]
        if k % 2:
            view = sample.view
            spoilt[index] = replace(sample, view=replace(view, corners_px=np.roll(view.corners_px, 4, axis=0)))
        else:
            pose = sample.pose_base_tcp
            turn = quat_from_axis_angle(random.normal(0.0, 0.1, 3))
            off = Pose(pose.position + random.normal(0.0, 0.04, 3), np.asarray(quat_multiply(turn, pose.quaternion)))
            spoilt[index] = replace(sample, pose_base_tcp=off)
    return spoilt


def score(arguments: Arguments, seed: int) -> dict[str, Any]:
    """All solutions of one placement against its truth."""
    folder = folder_of(arguments, seed)
    kept = json.loads((folder / "truth.json").read_text())
    truth = Pose.from_matrix(np.array(kept.pop("T_reference_camera")))
    store = SampleFolder(folder, {})
    row: dict[str, Any] = {"camera": seed, **kept}
    if store.tour is None:
        return row | {"samples": 0, "ours": vars(Score.of(None, truth)), "spoilt": vars(Score.of(None, truth))}
    K, samples = np.array(store.tour["K"]), [one.sample for one in store.all()]
    row["samples"] = len(samples)
    for name, given in (("ours", samples), ("spoilt", spoil(samples, seed))):
        try:
            solved = solve(given, K, arguments.mount)
        except hand_eye.CalibrationFailed as error:
            row[name] = vars(Score.of(None, truth)) | {"failure": str(error)}
            continue
        sigma_mm = 1e3 * float(np.sqrt(np.trace(solved.covariance[:3, :3])))
        held = {"held_out_px": solved.held_out_px, "held_out_mm": solved.held_out_mm, "sigma_mm": sigma_mm}
        row[name] = vars(Score.of(solved.T_reference_camera, truth)) | held | {"agree": int(solved.agrees.sum())}
    for suffix, given in (("", samples), ("_spoilt", spoil(samples, seed))):
        for name, X in _closed_forms(given, K, arguments.mount):
            row[name + suffix] = vars(Score.of(None if X is None else Pose.from_matrix(X), truth))
    return row


def _closed_forms(samples: list[Sample], K: np.ndarray, mount: Mount) -> Iterator[tuple[str, np.ndarray | None]]:
    if not samples:
        return
    geometry = Geometry(samples, mount)
    C, usable = board_poses(samples, K)
    for name, method in METHODS.items():
        yield name, closed_form(geometry.A[usable], C[usable], method)


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Medians and worst cases; a placement that gave no calibration counts as infinitely far off."""
    figures: dict[str, Any] = {}
    for prefix, name in (("", "ours"), ("spoilt_", "spoilt")):
        figures |= _extremes(prefix, [row[name] for row in rows])
    for method in METHODS:
        for suffix in ("", "_spoilt"):
            figures |= _extremes(f"{method.lower()}{suffix}_", [row[method + suffix] for row in rows if method in row])
    held = [row["ours"]["held_out_px"] for row in rows if "held_out_px" in row["ours"]]
    true = [row["ours"]["mm"] for row in rows if "held_out_px" in row["ours"]]
    if len(true) > 2:
        figures["held_out_rank_correlation"] = float(spearmanr(held, true).statistic)
    walls = [row["wall_s"] for row in rows if row["wall_s"] is not None]
    figures["wall_s_median"] = float(np.median(walls)) if walls else None
    return figures


def _extremes(prefix: str, scores: list[dict[str, float]]) -> dict[str, float]:
    if not scores:
        return {}
    mm, deg = ([one[unit] for one in scores] for unit in ("mm", "deg"))
    return {
        f"{prefix}median_mm": float(np.median(mm)), f"{prefix}worst_mm": max(mm),
        f"{prefix}median_deg": float(np.median(deg)), f"{prefix}worst_deg": max(deg),
    }  # fmt: skip


def table(rows: list[dict[str, Any]]) -> str:
    """Held-out error beside the true one, ours beside the closed forms; millimetres of position."""
    lines = [
        "camera  samples  held-out px    mm   sigma mm   true mm    deg   spoilt mm   "
        + "".join(f"{name.lower():>11}" for name in METHODS)
    ]
    for row in rows:
        ours = row["ours"]
        held = [ours.get(name, float("nan")) for name in ("held_out_px", "held_out_mm", "sigma_mm")]
        others = "".join(f"{row[name]['mm']:>11.1f}" for name in METHODS if name in row)
        lines.append(
            f"{row['camera']:>6}  {row['samples']:>7}  {held[0]:>11.2f}  {held[1]:>4.1f}  {held[2]:>9.2f}"
            f"  {ours['mm']:>8.2f}  {ours['deg']:>5.2f}  {row['spoilt']['mm']:>10.2f}   {others}"
        )
    return "\n".join(lines)
