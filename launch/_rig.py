"""What a program needs that lets a policy act on a cell: checked piece by piece, started in order, ended together."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import _judges
import _reports
import _running
import _terminal
from calibration.store import CalibrationError
from contract import artifact
from contract.poses import Pose
from contract.task_spec import TaskSpec
from contract.tasks import UnknownTask
from perception.camera import CameraMissing, CameraStalled, WrongCamera
from perception.detector import Detector, DetectorMissing, PictureSizeMismatch, weights_folder
from perception.detector_runtimes import RuntimeMissing
from perception.estimator import Estimator, EstimatorFailed
from perception.realsense import RealSenseCamera, open_camera
from robot_runtime.bridge_client import BridgeClient, BridgeFaulted, BridgeLost, BridgeRefused
from robot_runtime.cell import Cell, CellError
from robot_runtime.cell_cameras import AnyCamera
from robot_runtime.collection.actions import row_of
from robot_runtime.loop import NotAtStart, OperatorStopped, Tick
from robot_runtime.mock_cell.cell_process import MockCell, MockCellAddresses, MockCellFailed, PortInUse
from robot_runtime.mock_cell.scoring import ScoringClient, ScoringUnreachable
from robot_runtime.policy import Actor
from robot_runtime.trials import GripperStuck, NothingInSight
from robot_runtime.wire import KeysUnusable, WireError

POLICIES = Path(__file__).resolve().parent.parent / "policies"
BLIND_TRIALS = 3
"""So many trials in a row without the object in sight end the run."""

CAMERA_SILENT_S = 3.0
"""Wall time without a frame after which it is the camera's fault that nothing is in sight."""

SEEDS_PER_RUN, MOST_SEED = 10_000, 50_000
"""Trial k of seed s sets the scene by s * this + k, so that runs of different seeds share no scene."""


class WrongArgument(ValueError):
    """An argument cannot be meant."""


FAILURES = (
    UnknownTask, CellError, artifact.ArtifactError, _running.CellBusy, _running.BridgeDidNotStart, _judges.NoTerminal,
    MockCellFailed, PortInUse, ScoringUnreachable, KeysUnusable, WireError, BridgeLost, BridgeRefused, BridgeFaulted,
    DetectorMissing, RuntimeMissing, PictureSizeMismatch, EstimatorFailed, CameraMissing, CameraStalled, WrongCamera,
    NothingInSight, GripperStuck, WrongArgument, _reports.CannotWrite, NotAtStart, CalibrationError,
)  # fmt: skip
"""What can go wrong, each with one sentence."""


@dataclass(frozen=True)
class MockExtras:
    """What a mock cell does besides. video: film of what the fixed camera sees; the others as in `_judges.GroundTruth`.

    puts_down: of a lab cell: the arm itself puts the object down after a success.
    """

    video: Path | None = None
    randomise_visuals: bool = False
    pushes: int = 0
    puts_down: bool = False


@dataclass
class Rig:
    """Everything connected, the arm at rest; the estimator does not watch yet."""

    spec: TaskSpec
    cell: Cell
    policy: Actor
    judge: _judges.Judge
    camera: RealSenseCamera
    estimator: Estimator
    client: BridgeClient

    @contextlib.contextmanager
    def explained(self) -> Iterator[None]:
        """Trouble that the cell or its camera explains is told in their words."""
        try:
            yield
        except (BridgeFaulted, BridgeLost, NothingInSight):
            self.judge.check()
            self.camera.read_latest(CAMERA_SILENT_S)
            raise


def load_policy(spec: TaskSpec, folder: Path | None) -> artifact.Policy:
    """Of that folder, or the shipped one of the task. Raises artifact.ArtifactError."""
    policy = artifact.load(folder or POLICIES / spec.name, spec)
    _terminal.checked("policy", described(policy))
    return policy


def described(policy: artifact.Policy) -> str:
    """Where it comes from, in a few words."""
    made = policy.card["provenance"]
    return f"{policy.spec.name}, {made.get('env_steps', 0) / 1e6:.1f} M steps, commit {made.get('commit', 'unknown')}"


def check_seed(seed: int) -> None:
    """Raises WrongArgument where a trial's own seed would not be one."""
    if not 0 <= seed <= MOST_SEED:
        raise WrongArgument(f"--seed is {seed}; it is a whole number from 0 to {MOST_SEED}.")


def open_rig(
    stack: contextlib.ExitStack,
    name: str,
    spec: TaskSpec,
    cell: Cell,
    cell_argument: str,
    policy: Actor,
    extras: MockExtras,
    record_to: Path | None = None,
    calibrate: bool = False,
) -> Rig:
    """Checks and starts all of it, and takes the lease as `name`. Raises one of FAILURES.

    record_to: `.db3` file for what the fixed camera sees. calibrate: its pose is still to be found.
    """
    stack.enter_context(_running.cell_lock(cell))
    detector = Detector(weights_folder(spec.name))
    judge = open_judge(stack, cell, spec, extras)
    eye = cell.camera
    camera = stack.enter_context(open_eye(eye, record_to))
    # Checks a calibration that the cell names; one that is yet to be made replaces it before anything is looked at.
    rows, K = (np.eye(4), None) if calibrate else (eye.T_base_camera_matrix, eye.calibrated_K)
    estimator = Estimator(spec, camera, detector, Pose.from_matrix(rows), eye.clock, K)
    stack.enter_context(_running.bridge(cell, cell_argument, _terminal.say))
    client = stack.enter_context(BridgeClient(cell, name, lambda state, _: estimator.on_state(state)))
    client.connect(spec.contract_hash(), spec.period_s)
    _terminal.checked("robot", f"{cell.robot.model} at {cell.robot.address}, {client.status().mode}")
    return Rig(spec, cell, policy, judge, camera, estimator, client)


@contextlib.contextmanager
def open_eye(eye: AnyCamera, record_to: Path | None = None, name: str = "camera") -> Iterator[RealSenseCamera]:
    """One camera of a cell file, started. Raises CameraMissing or WrongCamera."""
    with open_camera(eye.address, eye.serial, eye.width, eye.height, eye.rate_hz, record_to) as camera:
        _terminal.checked(name, f"{eye.serial} at {eye.address}, {eye.width}x{eye.height}, {eye.rate_hz} Hz")
        yield camera


def open_judge(stack: contextlib.ExitStack, cell: Cell, spec: TaskSpec, extras: MockExtras) -> _judges.Judge:
    """Starts what a mock cell needs, its wrist camera where the cell file says; a lab cell needs an operator."""
    if cell.mock is None:
        return _judges.Operator(spec, extras.puts_down)
    addresses = MockCellAddresses.of_cell(cell)
    mock = stack.enter_context(MockCell(addresses, cell.mock.seed, extras.video, cell.camera.serial))
    _terminal.checked("mock cell", f"robot {addresses.robot}, camera {addresses.frames}")
    scoring = stack.enter_context(ScoringClient(addresses.scoring))
    if (wrist := cell.wrist_camera) is not None and wrist.T_tcp_camera is not None:
        scoring.disturb("place_camera", pose=row_of(Pose.from_matrix(wrist.T_tcp_camera_matrix)).tolist(), wrist=True)
    return _judges.GroundTruth(mock, scoring, extras.randomise_visuals, extras.pushes)


class LiveLine:
    """One line that follows a trial."""

    def __init__(self, name: str) -> None:
        self._name, self._clipped = name, 0

    def __call__(self, tick: Tick) -> None:
        """Show one tick."""
        self._clipped += bool(tick.executed.clipped)
        doing = "lifting" if tick.seen.held else "closing" if tick.decision.closed else "reaching"
        age_ms = 1e3 * (tick.state.stamp - tick.seen.stamp)
        speed = float(np.linalg.norm(tick.state.v_base_tcp[:3]))
        _terminal.live(
            f"  {self._name}  {doing:<8} {tick.index / 20:4.1f} s  {tick.seen.name} {age_ms:3.0f} ms old"
            f"  {speed:.2f} m/s  clipped {self._clipped}"
        )


def run_to_the_end(
    name: str,
    go: Callable[[contextlib.ExitStack], None],
    conclude: Callable[[str | None], int],
    expected: tuple[type[Exception], ...],
    when_stopped: str = "Stopped; the arm is at rest.",
) -> int:
    """Exit code of a program: `go` until it is over, stopped (130) or in trouble, then `conclude` with the reason."""
    _running.Interrupts()
    stopped = False
    problem: str | None = None
    try:
        with contextlib.ExitStack() as stack:
            go(stack)
    except (KeyboardInterrupt, OperatorStopped) as stop:
        stopped, problem = True, str(stop) or when_stopped
    except expected as error:
        problem = str(error)
    unwritten: str | None = None
    try:
        code = conclude(problem)
    except _reports.CannotWrite as error:
        code, unwritten = 1, str(error)
    for said in filter(None, (unwritten, problem)):
        print(f"{_terminal.paint(f'{name}:', _terminal.RED)} {said}", file=sys.stderr)
    return 130 if stopped else code
