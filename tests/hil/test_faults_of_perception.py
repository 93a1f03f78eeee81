"""The fault matrix, what the camera does to a policy: with the real SDK, the real detector and the real bridge."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pytest

from contract import artifact
from contract.poses import Pose
from contract.tasks import LIFT_CUBE, TASKS
from perception.camera import CameraStalled, WrongCamera
from perception.detector import Detector, weights_folder
from perception.estimator import Estimator, EstimatorFailed
from perception.realsense import RealSenseCamera, open_camera
from robot_runtime.bridge_client import BridgeClient
from robot_runtime.loop import NotAtStart, PolicyLoop, Tick
from robot_runtime.motions import Mover, stay, towards
from robot_runtime.policy import PolicyRunner
from robot_runtime.trials import Trial, TrialRunner

from .matrix import Matrix
from .scripted import ScriptedLift
from .stage import ROOT, Stage, lease

pytestmark = pytest.mark.hil
DISTURBED_AT = 8
SEEN_WITHIN_S = LIFT_CUBE.max_object_age_s + 0.35
"""Age allowed, the newest frame's own age, and one tick."""


UNPLUGGED_S = 5.0
"""Wall time; longer than the camera's patience."""
BLINK_S = 0.2


@dataclass(frozen=True)
class Sight:
    """Everything between the camera and the arm."""

    client: BridgeClient
    camera: RealSenseCamera
    estimator: Estimator
    runner: TrialRunner


@pytest.fixture
def sight(stage: Stage) -> Iterator[Sight]:
    """A policy's program without its policy: camera, estimator, and a client that holds the lease."""
    eye = stage.cell.camera
    T_base_camera = Pose.from_matrix(eye.T_base_camera_matrix)
    detector = Detector(weights_folder(LIFT_CUBE.name))
    with (
        open_camera(eye.address, eye.serial, eye.width, eye.height, eye.rate_hz) as camera,
        Estimator(LIFT_CUBE, camera, detector, T_base_camera, eye.clock) as estimator,
        BridgeClient(stage.cell, "the test", lambda state, _: estimator.on_state(state)) as client,
    ):
        lease(client)
        yield Sight(client, camera, estimator, TrialRunner(client, estimator, LIFT_CUBE, ScriptedLift(LIFT_CUBE)))
        stage.scoring.calm()


def disturbed(stage: Stage, sight: Sight, seed: int, disturb: Callable[[], float]) -> tuple[Trial, float]:
    """A lift in which that happens on the way to the cube; robot time at which it acted."""
    stage.scoring.calm()
    sight.runner.go_to_start()
    stage.scoring.reset(seed)
    sight.estimator.tracker.forget()
    sight.runner.wait_for_object()
    acted: list[float] = []

    def at_a_tick(tick: Tick) -> None:
        if tick.index == DISTURBED_AT:
            acted.append(disturb())

    trial = sight.runner.run(index=seed, seed=seed, show=at_a_tick)
    return trial, acted[0]


@pytest.mark.parametrize(
    ("kind", "why", "what"),
    [
        ("unplugged", "last seen", "camera unplugged"),
        ("dark", "last seen|same picture", "detection lost: black pictures"),
        ("frozen", "same picture", "camera frozen, with fresh stamps"),
    ],
)
def test_a_policy_that_sees_no_more_stops_the_arm(
    stage: Stage, sight: Sight, matrix: Matrix, kind: str, why: str, what: str
) -> None:
    reactions = []
    for seed in range(matrix.repeats):
        acted: list[float] = []

        def blind(acted: list[float] = acted) -> float:
            acted.append(stage.scoring.disturb("camera", kind=kind))
            return acted[0]

        try:
            failure = disturbed(stage, sight, seed, blind)[0].failure
        except EstimatorFailed as error:
            failure = str(error)
        assert re.search(why, str(failure)), failure
        reactions.append(stage.seconds_until(lambda row: row.status.mode == "stopping", acted[0]))
        assert stage.seconds_until_rest(acted[0]) < SEEN_WITHIN_S + 0.3
        if kind != "unplugged":
            break  # the estimator has ended
    matrix.note(what, "the policy's program stops the arm", SEEN_WITHIN_S, reactions)


def test_a_camera_that_was_unplugged_for_long_is_found_again(stage: Stage, sight: Sight, matrix: Matrix) -> None:
    reactions = []
    for seed in range(matrix.repeats):
        restarts, recovered = sight.camera.recoveries.restarts, sight.camera.recoveries.recovered
        trial, acted = disturbed(stage, sight, seed, lambda: stage.scoring.disturb("camera", kind="unplugged"))
        assert re.search("last seen", str(trial.failure)), trial.failure
        reactions.append(stage.seconds_until(lambda row: row.status.mode == "stopping", acted))
        last = sight.camera.read_latest(60.0)
        with pytest.raises(CameraStalled, match="re-plug"):
            sight.camera.read_latest(0.5)
        time.sleep(UNPLUGGED_S)
        stage.scoring.calm()
        first = sight.camera.wait_newer(sight.camera.read_latest(60.0).number, 10.0)
        assert first is not None
        assert first.stamp_s > last.stamp_s
        assert sight.camera.recoveries.restarts > restarts
        assert sight.camera.recoveries.recovered == recovered + 1
        again, _ = disturbed(stage, sight, seed, lambda: 0.0)
        assert stage.scoring.truth().success, again.failure
    matrix.note(
        "camera unplugged for 5 s", "stopped; the stream is restarted, the next trial lifts", SEEN_WITHIN_S, reactions
    )


def test_a_short_silence_of_the_camera_does_not_end_the_trial(stage: Stage, sight: Sight, matrix: Matrix) -> None:
    plugging_in: list[threading.Thread] = []
    for seed in range(matrix.repeats):
        begun = stage.seen[-1].stamp

        def blink() -> float:
            acted = stage.scoring.disturb("camera", kind="unplugged")
            plugging_in.append(threading.Thread(target=back, args=(acted,), daemon=True))
            plugging_in[-1].start()
            return acted

        def back(acted: float) -> None:
            stage.await_robot_time(acted + BLINK_S)
            stage.scoring.calm()

        trial, _ = disturbed(stage, sight, seed, blink)
        plugging_in[-1].join()
        assert trial.faults == 0
        assert max(row.speed_m_s for row in stage.since(begun)) < 1.06 * stage.cell.limits.speed_m_s
        assert stage.scoring.truth().success, trial.failure
    matrix.note("camera unplugged for 0.2 s", "goes on with older estimates, within limits", 0.0, [0.0])


def test_a_slow_camera_is_lived_with_or_stopped_for(stage: Stage, sight: Sight, matrix: Matrix) -> None:
    for seed in range(matrix.repeats):
        begun = stage.seen[-1].stamp
        trial, _ = disturbed(stage, sight, seed, lambda: stage.scoring.disturb("camera", kind="slow"))
        assert trial.faults == 0
        assert max(row.speed_m_s for row in stage.since(begun)) < 1.06 * stage.cell.limits.speed_m_s
        assert stage.scoring.truth().success or trial.failure is not None
    matrix.note("camera slow: one frame in five", "goes on with older estimates, within limits", 0.0, [0.0])


def test_an_object_of_the_same_looks_is_not_taken_for_the_first(stage: Stage, sight: Sight, matrix: Matrix) -> None:
    for seed in range(matrix.repeats):

        def swap() -> float:
            where = stage.scoring.truth().pose_base_object.position
            return stage.scoring.disturb("lookalike", x=float(where[0]), y=float(where[1] - np.sign(where[1]) * 0.12))

        trial, _ = disturbed(stage, sight, seed, swap)
        assert stage.scoring.truth().success, trial.failure
    matrix.note("detection swapped: a second cube appears", "the first one is lifted", 0.0, [0.0])


def test_an_object_that_jumps_is_followed_within_the_limits(stage: Stage, sight: Sight, matrix: Matrix) -> None:
    for seed in range(matrix.repeats):
        begun = stage.seen[-1].stamp
        trial, _ = disturbed(stage, sight, seed, lambda: stage.scoring.disturb("move_object", dx=-0.05, dy=0.05))
        assert trial.faults == 0
        assert max(row.speed_m_s for row in stage.since(begun)) < 1.06 * stage.cell.limits.speed_m_s
        assert stage.scoring.truth().success, trial.failure
    matrix.note("detection jumps: the cube is moved by 7 cm", "followed, within limits", 0.0, [0.0])


def test_another_camera_than_the_calibrated_one_is_refused(stage: Stage, matrix: Matrix) -> None:
    eye = stage.cell.camera
    other = open_camera(eye.address, "777777777777", eye.width, eye.height, eye.rate_hz)
    with pytest.raises(WrongCamera, match=eye.serial), other:
        pass
    matrix.note("calibration of another camera", "refused before anything moves", 0.0, [0.0])


def test_an_artifact_of_another_task_is_refused(matrix: Matrix) -> None:
    with pytest.raises(artifact.ArtifactOfAnotherTask, match="lift_cube"):
        artifact.load(ROOT / "policies" / "lift_cube", TASKS["push_cube"])
    matrix.note("artifact of another task", "refused before anything moves", 0.0, [0.0])


def test_a_policy_does_not_begin_where_it_was_not_trained_to(client: BridgeClient, matrix: Matrix) -> None:
    move = Mover(client)
    move(towards(np.array(LIFT_CUBE.start_position_m) + [0.0, 0.2, 0.0]), 25)
    move(stay, 5)
    loop = PolicyLoop(client, None, PolicyRunner(LIFT_CUBE, ScriptedLift(LIFT_CUBE)))  # type: ignore[arg-type]
    with pytest.raises(NotAtStart, match="move_home"):
        loop.run(10, lambda tick: False)
    matrix.note("arm far from where the policy begins", "refused; driven home first", 0.0, [0.0])
    client.move_home(LIFT_CUBE.start_q_rad)
