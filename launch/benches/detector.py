"""What a detector costs: time per frame on each runtime, and how late the control loop is with it running beside."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import _reports
from _running import bridge, cell_lock
from contract.messages import RobotState, Setpoint
from contract.poses import Pose
from contract.tasks import LIFT_CUBE
from perception.camera import Frame
from perception.detector import DEFAULT_RUNTIME, Detector, weights_folder
from perception.detector_runtimes import KINDS, Runtime
from perception.estimator import Estimator
from perception.measuring import measure
from perception.realsense import RealSenseCamera, open_camera
from robot_runtime.bridge_client import BridgeClient
from robot_runtime.cell import Cell, load_cell
from robot_runtime.loop import NEARLY
from robot_runtime.mock_cell.cell_process import MockCell, MockCellAddresses
from robot_runtime.mock_cell.renders import Sample, render_samples
from robot_runtime.wire import BridgeStatus

ROUNDS = 5
PICTURES = 10
WARM_UP_TICKS = 10
ALONE = "no detector"
_PERIOD_S = LIFT_CUBE.period_s
Setting = tuple[Runtime, int]
"""A runtime and its threads."""


@dataclass(frozen=True)
class Arguments:
    """How much, and where to."""

    threads: tuple[int, ...] = (1, 2)
    """Of the network; each number is measured."""
    frames: int = 12
    """Per runtime and round."""
    seconds: float = 3.0
    """Robot time the loop holds the arm still, per setting and round; 0 leaves the loop out."""
    loop_rounds: int = 2
    """Rounds over all settings of the loop."""
    seed: int = 424242
    """Of the pictures."""
    out: Path = Path("runs/detector")
    """Folder for the picture."""
    report: Path | None = None
    """Also write the figures here."""


@dataclass
class Held:
    """What the loop did under one setting. Lateness: robot time from when a tick was due to its state, seconds."""

    late_s: list[float]
    answered_s: list[float]
    skipped: int = 0
    frames: int = 0
    robot_s: float = 0.0


def run(arguments: Arguments) -> dict[str, Any]:
    """Measure, draw, tabulate; returns the figures. Raises DetectorMissing, RuntimeMissing or NoOffscreenRendering."""
    settings: list[Setting] = [(runtime, threads) for threads in arguments.threads for runtime in KINDS]
    detectors = {s: Detector(weights_folder(LIFT_CUBE.name), threads=s[1], runtime=s[0]) for s in settings}
    pictures = list(render_samples(PICTURES, arguments.seed))
    figures: dict[str, Any] = {
        "default": DEFAULT_RUNTIME,
        "frame_ms": frame_times(detectors, pictures, arguments.frames),
    }
    show_frames(figures["frame_ms"])
    if arguments.seconds > 0:
        held = beside_the_loop(detectors, arguments.seconds, arguments.loop_rounds)
        figures["loop"] = {name: loop_figures(one) for name, one in held.items()}
        show_loop(figures["loop"])
        arguments.out.mkdir(parents=True, exist_ok=True)
        draw(arguments.out / "detector_jitter.png", figures["frame_ms"], held)
    _reports.write(arguments.report, figures)
    return figures


def name_of(setting: Setting) -> str:
    """As tables and pictures name it."""
    return f"{setting[0]}, {setting[1]} thread{'s' if setting[1] > 1 else ''}"


# --- time per frame ---------------------------------------------------------------------------------------------------


def frame_times(detectors: dict[Setting, Detector], pictures: list[Sample], frames: int) -> dict[str, Any]:
    """Milliseconds of detection and pose, in interleaved rounds; ratios are to ONNX Runtime in the same round."""
    rounds: dict[Setting, list[float]] = {setting: [] for setting in detectors}
    processor_ms: dict[Setting, list[float]] = {setting: [] for setting in detectors}
    for index in range(ROUNDS + 1):
        for setting, detector in detectors.items():
            detector.detect(pictures[0].rgb)  # threads are made at the first frame
            with undisturbed():
                began = time.process_time()
                took = [one_frame(detector, pictures[k % len(pictures)]) for k in range(frames)]
                spent = time.process_time() - began
            if index:  # the first round is for caches
                processor_ms[setting].append(1e3 * spent / frames)
                rounds[setting].append(1e3 * float(np.median(took)))
    rows = {}
    for setting, values in rounds.items():
        ratios = np.divide(values, rounds["onnxruntime", setting[1]])
        rows[name_of(setting)] = {
            **_spread("", values),
            **_spread("ratio_", ratios),
            "processor_ms": float(np.median(processor_ms[setting])),
        }
    return rows


def _spread(what: str, values: Any) -> dict[str, float]:
    return {
        f"{what}median": float(np.median(values)),
        f"{what}lowest": float(min(values)),
        f"{what}highest": float(max(values)),
    }


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Where allowed, all threads in the real-time class: what else runs on the machine does not count then."""
    before = {}
    for thread in Path("/proc/self/task").iterdir():
        number = int(thread.name)
        with contextlib.suppress(PermissionError, ProcessLookupError):
            was = os.sched_getscheduler(number), os.sched_getparam(number)
            os.sched_setscheduler(number, os.SCHED_RR, os.sched_param(1))
            before[number] = was
    try:
        yield
    finally:
        for number, (policy, priority) in before.items():
            with contextlib.suppress(PermissionError, ProcessLookupError):
                os.sched_setscheduler(number, policy, priority)


def one_frame(detector: Detector, sample: Sample) -> float:
    """Seconds from a picture to the object's pose."""
    began = time.perf_counter()
    frame = Frame(sample.rgb, sample.depth_m, sample.K, 0, 0.0, "none", 0.0)
    for found in detector.detect(sample.rgb):
        measure(LIFT_CUBE, found, frame, sample.T_base_camera)
    return time.perf_counter() - began


# --- beside the loop --------------------------------------------------------------------------------------------------


def beside_the_loop(detectors: dict[Setting, Detector], seconds: float, rounds: int) -> dict[str, Held]:
    """The arm of a mock cell is held still at 20 Hz while nothing, then each detector, looks at the camera's frames."""
    cell = load_cell("mock")
    held = {name: Held([], []) for name in (ALONE, *map(name_of, detectors))}
    with contextlib.ExitStack() as stack:
        stack.enter_context(cell_lock(cell))
        stack.enter_context(MockCell(MockCellAddresses.of_cell(cell), 0, None, cell.camera.serial))
        stack.enter_context(bridge(cell, "mock", lambda line: None))
        eye = cell.camera
        camera = stack.enter_context(open_camera(eye.address, eye.serial, eye.width, eye.height, eye.rate_hz))
        watching: list[Estimator] = []

        def on_state(state: RobotState, _: BridgeStatus) -> None:
            for estimator in watching:
                estimator.on_state(state)

        client = stack.enter_context(BridgeClient(cell, "bench", on_state))
        client.connect(LIFT_CUBE.contract_hash(), _PERIOD_S)
        client.move_home(LIFT_CUBE.start_q_rad)
        for _ in range(rounds):
            hold(client, seconds, held[ALONE])
            for setting, detector in detectors.items():
                with estimating(cell, camera, detector, watching) as estimator:
                    hold(client, seconds, held[name_of(setting)])
                    held[name_of(setting)].frames += estimator.statistics.frames
    return held


@contextlib.contextmanager
def estimating(
    cell: Cell, camera: RealSenseCamera, detector: Detector, watching: list[Estimator]
) -> Iterator[Estimator]:
    """An estimator that looks at every frame it can."""
    T_base_camera = Pose.from_matrix(cell.camera.T_base_camera_matrix)
    with Estimator(LIFT_CUBE, camera, detector, T_base_camera, cell.camera.clock) as estimator:
        watching.append(estimator)
        try:
            yield estimator
        finally:
            watching.clear()


def hold(client: BridgeClient, seconds: float, held: Held) -> None:
    """Setpoints to stay, in the way of the policy loop, for so many seconds of robot time."""
    client.arm()
    here = client.status().command_base_tcp
    begun = due = client.latest().stamp
    for k in range(WARM_UP_TICKS + round(seconds / _PERIOD_S)):
        state = client.wait_until(due)
        began = time.perf_counter()
        client.send(Setpoint(state.stamp + _PERIOD_S, k + 1, here, np.zeros(6)))
        answered_s = time.perf_counter() - began
        client.check()
        missed = max(0, int((client.latest().stamp - due - _PERIOD_S + NEARLY * _PERIOD_S) // _PERIOD_S))
        if k >= WARM_UP_TICKS:
            held.late_s.append(state.stamp - due)
            held.answered_s.append(answered_s)
            held.skipped += missed
        due += (1 + missed) * _PERIOD_S
    held.robot_s += client.latest().stamp - begun
    client.stop()


def loop_figures(held: Held) -> dict[str, Any]:
    """Milliseconds; frames are those looked at per second of robot time."""
    late, answered = 1e3 * np.array(held.late_s), 1e3 * np.array(held.answered_s)
    return {
        "ticks": len(late),
        "skipped": held.skipped,
        "late_median_ms": float(np.median(late)),
        "late_p95_ms": float(np.percentile(late, 95)),
        "late_max_ms": float(late.max()),
        "answered_median_ms": float(np.median(answered)),
        "answered_p95_ms": float(np.percentile(answered, 95)),
        "frames_per_s": held.frames / held.robot_s,
    }


# --- tables and picture -----------------------------------------------------------------------------------------------


def show_frames(rows: dict[str, Any]) -> None:
    """A table of time per frame."""
    print("| detection + pose | ms per frame (range) | × ONNX Runtime (range) | processor ms |")
    print("| --- | --- | --- | --- |")
    for name, row in rows.items():
        print(
            f"| {name} | {row['median']:.1f} ({row['lowest']:.1f} to {row['highest']:.1f}) "
            f"| {row['ratio_median']:.2f} ({row['ratio_lowest']:.2f} to {row['ratio_highest']:.2f}) "
            f"| {row['processor_ms']:.1f} |"
        )


def show_loop(rows: dict[str, Any]) -> None:
    """A table of the loop's lateness."""
    print("\n| beside the loop | late ms: median | p95 | most | ticks | skipped | frames/s |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for name, row in rows.items():
        late = " | ".join(f"{row[f'late_{which}_ms']:.1f}" for which in ("median", "p95", "max"))
        print(f"| {name} | {late} | {row['ticks']} | {row['skipped']} | {row['frames_per_s']:.1f} |")


def draw(path: Path, frame_ms: dict[str, Any], held: dict[str, Held]) -> None:
    """Left: time per frame. Right: share of ticks that were later than so much."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, (bars, tails) = plt.subplots(1, 2, figsize=(13, 4.5))
    medians = [row["median"] for row in frame_ms.values()]
    spread = [[row["median"] - row["lowest"], row["highest"] - row["median"]] for row in frame_ms.values()]
    bars.barh(list(frame_ms), medians, xerr=np.transpose(spread), color="tab:blue")
    bars.set(xlabel="ms per frame, detection and pose (median and range of rounds)")
    bars.invert_yaxis()
    for name, one in held.items():
        late = np.sort(1e3 * np.array(one.late_s))
        style = {"color": "black", "linewidth": 2.5} if name == ALONE else {"linewidth": 1.2}
        tails.step(late, 1.0 - np.arange(len(late)) / len(late), label=name, **style)
    tails.set(yscale="log", xlabel="tick late by, ms of robot time", ylabel="share of ticks at least so late")
    tails.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)
    print(f"\nPicture: {path}")
