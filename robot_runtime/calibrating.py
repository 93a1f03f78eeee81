"""The arm collects what a calibration needs: it drives a tour, rests, looks for the board, and keeps every sample."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np

from calibration import store, surroundings, tour
from calibration.board import Board, BoardError, BoardView, NoBoard, check_size, pose_of
from calibration.hand_eye import (
    AGREES_RAD,
    LEAST_SAMPLES,
    CalibrationFailed,
    Sample,
    TooFewSamples,
    check_intrinsics,
    solve,
)
from calibration.samples import SampleFolder, Taken
from calibration.surroundings import Look, camera_delay, check_depth
from contract.poses import Pose
from perception.camera import Camera, Frame
from robot_runtime.bridge_client import BridgeClient, BridgeFaulted, BridgeLost, BridgeRefused
from robot_runtime.calibration_drive import Drive
from robot_runtime.calibration_task import Plan, Task, eye_of
from robot_runtime.cell_limits import guard_limits

Say = Callable[[str], None]
FIRST_FRAME_S = 10.0
LEAST_SHARE = 0.6
"""Of the tour's poses that must give a sample."""


class CameraMoved(RuntimeError):
    """The camera, or the board, was moved while samples were collected."""


@dataclass(frozen=True)
class _Found:
    """One look at the board with the arm at rest, and its last picture."""

    sample: Sample
    stamp_s: float
    rgb: np.ndarray
    depth_m: np.ndarray
    K: np.ndarray


class Collection:
    """One collection under way: the arm, the camera, and a thread that looks for boards while the arm drives on."""

    def __init__(self, client: BridgeClient, camera: Camera, task: Task, say: Say) -> None:
        self._task, self._say = task, say
        self._samples = SampleFolder(task.folder, task.header)
        eye = eye_of(task.cell, task.mount)
        self._size_px = eye.width, eye.height
        self._drive = Drive(client, camera, eye.clock)
        self._problems: list[str] = []
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="board")

    def close(self) -> None:
        """Ends its thread."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def collect(self) -> tuple[SampleFolder, list[Look]]:
        """Drive the tour, as far as it is not sampled yet; the samples, and looks taken in motion.

        Raises BoardError, NoDepth, NoTour, CameraStalled, CameraMoved, TooFewSamples, BridgeFaulted.
        """
        if self._samples.finished:
            self._say(f"  the samples of the calibration before this one are kept in {self._samples.set_aside()}")
        frame = self._drive.camera.wait_newer(None, FIRST_FRAME_S) or self._drive.camera.read_latest(FIRST_FRAME_S)
        check_depth(frame.depth_m)
        room = self._room()
        looks = tour.first_looks(self._task.mount, self._task.board, room)
        self._drive.begin(looks[0][1])
        plan = self._plan(looks, tour.Room(room.workspace, room.joints, looks[0][1]))
        self._drive_tour(plan)
        numbers = self._samples.numbers()
        if len(numbers) < max(LEAST_SAMPLES, LEAST_SHARE * len(plan.poses)):
            why = Counter(self._problems).most_common(1)
            raise TooFewSamples(
                f"Only {len(numbers)} of {len(plan.poses)} poses gave a sample. {why[0][0] if why else ''}".strip()
            )
        self._drive.go(plan.poses[numbers[0]])
        self._check_unmoved(plan, self._samples.read(numbers[0]))
        return self._samples, self._sway(plan.poses[numbers[0]])

    def _room(self) -> tour.Room:
        cell = self._task.cell
        middle = np.array([0.0, -0.04, 0.0, -2.33, 0.0, 2.29, 0.785 if self._task.mount == "wrist" else -0.785])
        return tour.Room(cell.workspace, guard_limits(cell, self._drive.period_s).joints, middle)

    def _plan(self, looks: list[tuple[Pose, np.ndarray]], room: tour.Room) -> Plan:
        task = self._task
        kept = self._samples.tour
        if kept is not None:
            plan = Plan.of_plain(kept, task.mount, self._size_px)
            self._say(f"  going on with {len(self._samples.numbers())} of {len(plan.poses)} samples in {task.folder}")
            return plan
        first = self._first_look([pose for pose, _ in looks])
        K, C = first.K, pose_of(first.sample.view, first.K)
        tool = first.sample.pose_base_tcp
        if task.mount == "fixed":
            Y = tour.held_board(task.board)
            eye = tour.Eye(task.mount, tool @ Y @ C.inverse(), Y, K, self._size_px)
        else:
            eye = tour.Eye(task.mount, task.rough_wrist, tool @ task.rough_wrist @ C, K, self._size_px)
        poses = self._drive.disarmed(lambda: tour.plan(eye, task.board, room, tool, task.poses, task.seed))
        plan = Plan(eye, poses)
        self._samples.begin(plan.to_plain())
        self._say(f"  {len(plan.poses)} poses planned, about {tour_seconds(plan.poses):.0f} s of driving")
        return plan

    def _first_look(self, poses: list[Pose]) -> _Found:
        problem: BoardError = NoBoard(NoBoard.__doc__)
        for k, pose in enumerate(poses):
            self._drive.go(pose)
            looked = self._look()
            self._drive.hold_until(looked.done)
            try:
                return looked.result()
            except BoardError as error:
                problem = error if k == 0 or isinstance(problem, NoBoard) else problem
                self._say(f"  look {k + 1} of {len(poses)}: {error}")
        raise problem

    def _look(self, number: int | None = None) -> Future[_Found]:
        """A look at the board from where the arm rests; it is found, and kept as the sample of that number, while the
        arm may already drive on."""
        frames, pose = self._drive.frames_at_rest()

        def find() -> _Found:
            found = _find(self._task.board, frames, pose)
            if number is not None:
                self._samples.add(Taken(number, found.sample, found.stamp_s, found.rgb, found.depth_m))
            return found

        return self._pool.submit(find)

    def _drive_tour(self, plan: Plan) -> None:
        done = set(self._samples.numbers())
        waiting: list[tuple[int, Future[_Found]]] = []
        for number, pose in enumerate(plan.poses):
            if number in done:
                continue
            self._drive.go(pose)
            waiting.append((number, self._look(number)))
            self._tell(waiting, len(plan.poses), wait=False)
        self._tell(waiting, len(plan.poses), wait=True)

    def _tell(self, waiting: list[tuple[int, Future[_Found]]], total: int, wait: bool) -> None:
        """Tell what has been found by now; with `wait`, everything."""
        if wait:
            self._drive.hold_until(lambda: all(future.done() for _, future in waiting))
        while waiting and waiting[0][1].done():
            number, future = waiting.pop(0)
            try:
                found = future.result()
            except BoardError as error:
                self._problems.append(str(error))
                self._say(f"  pose {number + 1:>2}/{total}  {error}")
                continue
            self._say(f"  pose {number + 1:>2}/{total}  {len(found.sample.view.ids)} corners")

    def _check_unmoved(self, plan: Plan, first: Taken) -> None:
        """Back where the first sample was taken the board must be seen where it was. Raises CameraMoved."""
        looked = self._look()
        self._drive.hold_until(looked.done)
        try:
            again = looked.result().sample
        except BoardError:
            again = None
        known = self._drive.disarmed(lambda: self._best_known(plan.eye))
        off_px = np.inf if again is None else _shift_px(known, first.sample, again)
        if off_px > 0.75 * AGREES_RAD * plan.eye.K[0, 0]:
            self._drive.client.stop()
            aside = self._samples.set_aside()
            seen = "is not seen any more" if again is None else f"is seen {off_px:.1f} px from where it was"
            raise CameraMoved(
                f"Back at the first pose the board {seen}: camera or board was moved. Fasten both and start again;"
                f" the samples so far are kept in {aside}."
            )

    def _best_known(self, rough: tour.Eye) -> tour.Eye:
        """Where camera and board are by the samples; as planned with where these do not tell."""
        try:
            solved = solve([one.sample for one in self._samples.all()], rough.K, rough.mount)
        except CalibrationFailed:
            return rough
        return replace(rough, T_reference_camera=solved.T_reference_camera, T_other_board=solved.T_other_board)

    def _sway(self, pose: Pose) -> list[Look]:
        """To and fro, with the board found in every picture that comes."""
        futures = [
            (stamp, self._pool.submit(self._task.board.find, frame.rgb)) for stamp, frame in self._drive.sway(pose)
        ]
        self._drive.client.stop()
        looks = []
        for stamp, future in futures:
            with contextlib.suppress(BoardError):
                view = future.result()
                looks.append(Look(stamp, view.corners_px, view.points_board))
        return looks

    def one_look(self) -> Sample:
        """The board from the first pose that shows it. Raises BoardError."""
        looks = tour.first_looks(self._task.mount, self._task.board, self._room())
        self._drive.begin(looks[0][1])
        return self._first_look([pose for pose, _ in looks]).sample

    def finish(self, samples: SampleFolder, looks: list[Look]) -> store.Calibration:
        """Solve, and measure what the samples tell besides. Raises one of hand_eye.CalibrationFailed."""
        eye, taken = eye_of(self._task.cell, self._task.mount), list(samples.all())
        tour_kept = samples.tour
        assert tour_kept is not None
        mode = eye.width, eye.height, eye.rate_hz
        motion = self._drive.recorded()
        return evaluate(self._task, taken, np.array(tour_kept["K"]), eye.serial, mode, looks, motion)


def _find(board: Board, frames: list[Frame], pose: Pose) -> _Found:
    """The board in pictures of one scene; corners averaged. Raises BoardError."""
    views = [board.find(frame.rgb) for frame in frames]
    ids = sorted(set.intersection(*(set(view.ids.tolist()) for view in views)))
    rows = [[int(np.flatnonzero(view.ids == i)[0]) for i in ids] for view in views]
    corners = np.mean([view.corners_px[row] for view, row in zip(views, rows, strict=True)], axis=0)
    view, last = BoardView(np.array(ids), corners, views[0].points_board[rows[0]]), frames[-1]
    check_size(view, pose_of(view, last.K), last.depth_m)
    return _Found(Sample(pose, view), last.stamp_s, last.rgb, last.depth_m, last.K)


def _shift_px(eye: tour.Eye, first: Sample, again: Sample) -> float:
    """How far the board's corners moved in the picture beyond what the arm explains; median."""

    def expected(sample: Sample) -> np.ndarray:
        A = sample.pose_base_tcp if eye.mount == "fixed" else sample.pose_base_tcp.inverse()
        p = (eye.T_reference_camera.inverse() @ A @ eye.T_other_board).apply(sample.view.points_board)
        return np.asarray(p[:, :2] / p[:, 2:] * eye.K[[0, 1], [0, 1]])

    both = sorted(set(first.view.ids.tolist()) & set(again.view.ids.tolist()))
    if len(both) < 4:
        return float("inf")
    rows = [[int(np.flatnonzero(sample.view.ids == i)[0]) for i in both] for sample in (first, again)]
    moved = again.view.corners_px[rows[1]] - first.view.corners_px[rows[0]]
    explained = expected(again)[rows[1]] - expected(first)[rows[0]]
    return float(np.median(np.linalg.norm(moved - explained, axis=1)))


def tour_seconds(poses: list[Pose]) -> float:
    """Of driving through all of them."""
    return sum(tour.seconds_between(a, b) for a, b in zip(poses, poses[1:], strict=False))


def evaluate(
    task: Task,
    taken: list[Taken],
    K: np.ndarray,
    serial: str,
    mode: tuple[int, int, int],
    looks: list[Look],
    motion: tuple[np.ndarray, list[Pose]],
) -> store.Calibration:
    """The calibration that these samples make. motion: stamps and tool poses while the looks were taken."""
    samples = [one.sample for one in taken]
    solved = solve(samples, K, task.mount, task.refine_intrinsics)
    stamps, poses = motion
    delay_s = camera_delay(looks, stamps, poses, solved) if len(stamps) > 10 else None
    cloud = []
    for one in taken:
        reference = Pose(np.zeros(3), np.array([1.0, 0, 0, 0])) if task.mount == "fixed" else one.sample.pose_base_tcp
        depth_m = surroundings.without_board(one.depth_m, one.sample.view.corners_px)
        cloud.append(surroundings.points_in_base(depth_m, K, reference @ solved.T_reference_camera))
    table = surroundings.table_plane(np.concatenate(cloud), task.cell.workspace)
    intrinsics = check_intrinsics(samples, solved, K)
    return store.made(solved, serial, mode, str(task.board), intrinsics, table, delay_s)


def calibrate(client: BridgeClient, camera: Camera, task: Task, say: Say) -> store.Calibration:
    """Collect and solve. The client holds the lease; the arm is at rest and disarmed afterwards, whatever happens.

    Samples are kept in the task's folder and a collection that was cut off goes on there. Raises what
    `Collection.collect` does, and hand_eye.CalibrationFailed.
    """
    collection = Collection(client, camera, task, say)
    try:
        samples, looks = collection.collect()
        try:
            found = collection.finish(samples, looks)
        except CalibrationFailed as error:
            raise type(error)(f"{error} The samples are kept in {samples.set_aside()}.") from None
        samples.finish()
        return found
    finally:
        with contextlib.suppress(BridgeLost, BridgeRefused, BridgeFaulted):
            client.stop()
        collection.close()


def check(client: BridgeClient, camera: Camera, task: Task, calibration: store.Calibration, say: Say) -> float:
    """One look at the board where it was during the calibration; millimetres of disagreement.

    Raises store.OutdatedCalibration, BoardError.
    """
    collection = Collection(client, camera, task, say)
    try:
        return store.quick_check(calibration, collection.one_look())
    finally:
        with contextlib.suppress(BridgeLost, BridgeRefused, BridgeFaulted):
            client.stop()
        collection.close()
