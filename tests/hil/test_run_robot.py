"""The whole chain on real parts: frames through the SDK, detector, bridge, Franka protocol, physics."""

from __future__ import annotations

import numpy as np
import pytest

from _pushes import Pushes
from _true_poses import TruePoses
from contract.poses import Pose
from contract.tasks import LIFT_CUBE
from perception.detector import Detector, weights_folder
from perception.estimator import Estimator
from perception.realsense import open_camera
from robot_runtime.bridge_client import BridgeClient
from robot_runtime.loop import Tick
from robot_runtime.trials import TrialRunner

from .conftest import WholeCell
from .scripted import ScriptedLift

pytestmark = pytest.mark.hil


def test_a_scripted_policy_lifts_the_cube_through_bridge_and_franka_protocol(whole_cell: WholeCell) -> None:
    runner = TrialRunner(
        whole_cell.client, TruePoses(LIFT_CUBE, whole_cell.scoring), LIFT_CUBE, ScriptedLift(LIFT_CUBE)
    )
    runner.go_to_start()
    whole_cell.scoring.reset(seed=3)
    runner.wait_for_object()
    trial = runner.run(index=0, seed=3)
    truth = whole_cell.scoring.truth()
    assert truth.success, trial.failure
    assert trial.believed_success
    assert (trial.faults, trial.loop.refused, trial.loop.clipped) == (0, 0, 0), trial.loop.notes
    assert trial.loop.jitter_ms()["p95"] < 15.0
    counters = whole_cell.client.status().counters
    assert counters.limit_violations == 0
    assert counters.peak_speed_m_s < 2 * whole_cell.cell.limits.speed_m_s


def test_pushes_come_while_the_trial_runs_and_the_cube_is_found_again(whole_cell: WholeCell) -> None:
    runner = TrialRunner(
        whole_cell.client, TruePoses(LIFT_CUBE, whole_cell.scoring), LIFT_CUBE, ScriptedLift(LIFT_CUBE)
    )
    pushes = Pushes(whole_cell.scoring, 2)
    runner.go_to_start()
    before = whole_cell.scoring.reset(seed=4).pose_base_object.position
    runner.wait_for_object()
    pushes.begin(seed=4)
    places = []

    def show(tick: Tick) -> None:
        pushes.watch(tick)
        if not tick.seen.held:
            places.append(tick.seen.pose_base_object.position[:2])

    runner.run(index=0, seed=4, show=show, extra_s=4.0)
    assert pushes.done == 2
    assert np.linalg.norm(places[-1] - before[:2]) > 0.015


def test_a_scripted_policy_lifts_the_cube_that_camera_and_detector_see(whole_cell: WholeCell) -> None:
    eye, spec = whole_cell.cell.camera, LIFT_CUBE
    detector = Detector(weights_folder(spec.name))
    with (
        open_camera(eye.address, eye.serial, eye.width, eye.height, eye.rate_hz) as camera,
        Estimator(spec, camera, detector, Pose.from_matrix(eye.T_base_camera_matrix), eye.clock) as estimator,
        BridgeClient(whole_cell.cell, "states", lambda state, _: estimator.on_state(state)),
    ):
        runner = TrialRunner(whole_cell.client, estimator, spec, ScriptedLift(spec))
        for seed in (11, 12):
            runner.go_to_start()
            whole_cell.scoring.reset(seed)
            estimator.tracker.forget()
            runner.wait_for_object()
            seen = estimator.latest()
            truth = whole_cell.scoring.truth()
            assert seen is not None
            assert np.linalg.norm(seen.pose_base_object.position - truth.pose_base_object.position) < 0.01
            trial = runner.run(index=seed, seed=seed)
            assert whole_cell.scoring.truth().success, trial.failure
            assert trial.faults == 0
