"""How long things take: setpoint → reference → torque, frame → estimate → setpoint, and the machine's own jitter."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import _reports
from _running import bridge, cell_lock
from contract import artifact
from contract.messages import RobotState, Setpoint
from contract.poses import Pose
from contract.tasks import LIFT_CUBE
from perception.detector import Detector, weights_folder
from perception.estimator import Estimator
from perception.realsense import open_camera
from robot_runtime.bridge_client import BridgeClient
from robot_runtime.cell import Cell, load_cell
from robot_runtime.franka import Arm
from robot_runtime.mock_cell.cell_process import MockCell, MockCellAddresses
from robot_runtime.mock_cell.scoring import ScoringClient
from robot_runtime.reference import Reference
from robot_runtime.trials import TrialRunner
from robot_runtime.wire import BridgeStatus

SLEEP_S = 0.001
STEP_M = 0.001
TORQUE_NM = 0.02
"""A millimetre of a spring of some thousand N/m is torques a hundred times larger."""
_PERIOD_S = LIFT_CUBE.period_s
_POLICIES = Path(__file__).resolve().parents[2] / "policies"


@dataclass(frozen=True)
class Arguments:
    """How often, and where the picture goes."""

    repeats: int = 200
    """Of each short measurement."""
    trials: int = 3
    """Lifts whose every tick is measured."""
    out: Path = Path("runs/latency")
    """Folder for the picture."""
    report: Path | None = None
    """Also write the figures here."""


def run(arguments: Arguments) -> None:
    """Measure, draw, tabulate. Milliseconds of robot time but for the machine's own."""
    cell = load_cell("mock")
    assert cell.scoring is not None
    samples: dict[str, np.ndarray] = {}
    with contextlib.ExitStack() as stack:
        stack.enter_context(cell_lock(cell))
        stack.enter_context(MockCell(MockCellAddresses.of_cell(cell), 0, None, cell.camera.serial))
        samples["machine: 1 ms asleep, too long by"] = oversleep(arguments.repeats * 5)
        samples["reference → torque request"] = reference_to_torque(cell, arguments.repeats)
        stack.enter_context(bridge(cell, "mock", print))
        scoring = stack.enter_context(ScoringClient(cell.scoring))
        samples |= through_the_bridge(cell, arguments.repeats)
        samples |= through_the_camera(cell, scoring, arguments.trials)
    figures = {name: _figures(values) for name, values in samples.items()}
    print("| ms | p50 | p99 | worst | samples |\n| --- | --- | --- | --- | --- |")
    for name, row in figures.items():
        print(f"| {name} | {row['p50_ms']:.1f} | {row['p99_ms']:.1f} | {row['worst_ms']:.1f} | {row['samples']} |")
    arguments.out.mkdir(parents=True, exist_ok=True)
    _draw(arguments.out / "latency.png", samples)
    print(f"Picture: {arguments.out / 'latency.png'}")
    _reports.write(arguments.report, figures)


def oversleep(count: int) -> np.ndarray:
    """By how much the machine wakes a sleeper too late, seconds of wall time. Shape: (count,)"""
    late = []
    for _ in range(count):
        began = time.perf_counter()
        time.sleep(SLEEP_S)
        late.append(time.perf_counter() - began - SLEEP_S)
    return np.array(late)


def reference_to_torque(cell: Cell, count: int) -> np.ndarray:
    """From giving franky a reference a millimetre away to the arm's state showing another torque asked for. Seconds."""
    arm = Arm(cell.robot, cell.gains, cell.limits)
    arm.connect()
    took = []
    try:
        start = arm.read()
        arm.start_impedance(start)
        time.sleep(0.5)
        for k in range(count):
            before = arm.read()
            aside = start.pose_base_tcp.position + [0.0, STEP_M * (1 - k % 2), 0.0]
            arm.set_target(Reference(Pose(aside, start.pose_base_tcp.quaternion), np.zeros(6), np.zeros(6)))
            while np.abs((now := arm.read()).torque_asked_nm - before.torque_asked_nm).max() < TORQUE_NM:
                pass
            took.append(now.stamp - before.stamp)
            time.sleep(0.03)
        arm.start_stop()
        while arm.is_moving():
            time.sleep(0.01)
    finally:
        arm.close()
    return np.array(took)


def through_the_bridge(cell: Cell, count: int) -> dict[str, np.ndarray]:
    """From the state a setpoint was made at to the reference moving, and to the answer being there. Seconds."""
    moved, answered = [], []
    rows: list[tuple[float, np.ndarray]] = []

    def keep(state: RobotState, status: BridgeStatus) -> None:
        rows.append((state.stamp, status.reference_base_tcp.position))

    with BridgeClient(cell, on_state=keep) as client:
        client.connect(LIFT_CUBE.contract_hash(), _PERIOD_S)
        client.move_home(LIFT_CUBE.start_q_rad)
        client.arm()
        here, due = client.status().command_base_tcp, client.latest().stamp + _PERIOD_S
        for k in range(4 * count):
            state = client.wait_until(due)
            due = state.stamp + _PERIOD_S
            aside = STEP_M if k % 8 >= 4 else 0.0  # every fourth is a step, between them the reference settles
            began = time.perf_counter()
            pose = Pose(here.position + [0.0, aside, 0.0], here.quaternion)
            client.send(Setpoint(due, k + 1, pose, np.zeros(6)))
            answered.append(time.perf_counter() - began)
            if k % 4 == 0 and k:
                client.wait_until(state.stamp + _PERIOD_S / 2)
                before = next(reference for stamp, reference in reversed(rows) if stamp <= state.stamp)
                seen = (s for s, r in rows if s > state.stamp and np.abs(r - before).max() > 1e-7)
                moved.append(next(seen, np.nan) - state.stamp)
            client.check()
        client.stop()
    return {"setpoint → reference": np.array(moved), "setpoint → answer (wall)": np.array(answered)}


def through_the_camera(cell: Cell, scoring: ScoringClient, trials: int) -> dict[str, np.ndarray]:
    """From a frame's stamp to the estimate being there, and to the setpoints made with it. Seconds."""
    eye, spec = cell.camera, LIFT_CUBE
    policy = artifact.load(_POLICIES / spec.name, spec)
    estimates: list[float] = []
    setpoints: list[float] = []
    with contextlib.ExitStack() as stack:
        camera = stack.enter_context(open_camera(eye.address, eye.serial, eye.width, eye.height, eye.rate_hz))
        T_base_camera, K = Pose.from_matrix(eye.T_base_camera_matrix), eye.calibrated_K
        estimator = Estimator(spec, camera, Detector(weights_folder(spec.name)), T_base_camera, eye.clock, K)
        numbers = set()

        def on_state(state: RobotState, _: BridgeStatus) -> None:
            estimator.on_state(state)
            if estimator.newest is not None and estimator.newest[0].number not in numbers:
                numbers.add(estimator.newest[0].number)
                estimates.append(state.stamp - estimator.newest[0].stamp_s)

        stack.enter_context(estimator)
        client = stack.enter_context(BridgeClient(cell, "latency", on_state))
        client.connect(spec.contract_hash(), _PERIOD_S)
        runner = TrialRunner(client, estimator, spec, policy)
        for index in range(trials):
            runner.go_to_start()
            scoring.reset(index)
            estimator.tracker.forget()
            runner.wait_for_object()
            ages = runner.run(index, index).loop.object_age_s
            setpoints += [age for age in ages if age > 0.0]  # once held, the object is where the tool is: no frame
        client.stop()
    return {"frame → estimate": np.array(estimates), "frame → setpoint": np.array(setpoints)}


def _figures(seconds: np.ndarray) -> dict[str, Any]:
    known = seconds[np.isfinite(seconds)]
    p50, p99, worst = 1e3 * np.percentile(known, [50, 99, 100])
    return {"p50_ms": float(p50), "p99_ms": float(p99), "worst_ms": float(worst), "samples": len(known)}


def _draw(path: Path, samples: dict[str, np.ndarray]) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(2, 3, figsize=(13, 6))
    for axis, (name, seconds) in zip(axes.flat, samples.items(), strict=True):
        known = 1e3 * seconds[np.isfinite(seconds)]
        axis.hist(known, bins=50)
        for share, colour in ((50, "tab:green"), (99, "tab:red")):
            value = float(np.percentile(known, share))
            axis.axvline(value, color=colour, linewidth=1, label=f"p{share} {value:.1f} ms")
        axis.set(title=name, xlabel="ms", yscale="log")
        axis.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)
