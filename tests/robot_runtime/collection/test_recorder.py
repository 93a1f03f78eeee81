"""The recorder keeps at 10 Hz what ticks at 20 Hz showed, and misses no picture without saying so."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from contract.tasks import LIFT_CUBE
from perception.camera import CameraStalled
from robot_runtime.collection import actions, episode
from robot_runtime.collection.episode import Episode
from robot_runtime.collection.film import Eye
from robot_runtime.collection.recorder import Recorder
from robot_runtime.loop import Tick
from tests.robot_runtime.collection.made_up import about
from tests.robot_runtime.collection.ticks import Reel, walk

PERIOD_S = 1.0 / 15
STAMPS = [99.96 + k * PERIOD_S for k in range(40)]


def eye(name: str, camera: Reel) -> Eye:
    return Eye(name, camera, lambda frame: frame.stamp_s, PERIOD_S)


def record(ticks: list[Tick], keep_frames: bool = False, stamps: list[float] = STAMPS) -> tuple[Recorder, Episode]:
    cameras = {"wrist": Reel(stamps), "front": Reel(STAMPS)}
    with Recorder([eye(*each) for each in cameras.items()], LIFT_CUBE.rate_hz, keep_frames) as recorder:
        assert all(camera.shown.wait(5.0) for camera in cameras.values())
        for tick in ticks:
            recorder.watch(tick)
    return recorder, recorder.episode(about())


def test_every_second_tick_begins_a_step_and_all_ticks_are_kept() -> None:
    ticks = walk(21)
    recorder, made = record(ticks)
    assert len(made) == recorder.steps == 10, "half a step at the end is none"
    np.testing.assert_allclose(np.diff(made.steps["stamp"]), 0.1)
    np.testing.assert_array_equal(made.steps["q"], [tick.state.q for tick in ticks[:20:2]])
    assert len(made.ticks["stamp"]) == 21
    assert made.steps["object_age"][0] == pytest.approx(0.06)


def test_whoever_looks_at_a_steps_beginning_sees_the_newest_pictures() -> None:
    begins: list[bool] = []
    with Recorder([eye("wrist", camera := Reel(STAMPS))], LIFT_CUBE.rate_hz) as recorder:
        assert camera.shown.wait(5.0)
        for tick in walk(6):
            recorder.watch(tick)
            begins.append(recorder.begins)
        newest = recorder.newest()["wrist"]
    assert begins == [True, False] * 3
    assert newest.shape == (episode.SIDE_PX, episode.SIDE_PX, 3)
    number = sum(stamp <= 100.25 for stamp in STAMPS) - 1
    assert (newest == number).all(), "a picture is as bright as its number"


def test_the_first_command_is_where_the_arm_was_and_each_action_leads_to_the_next_one() -> None:
    ticks = walk(20, let_pass=0.6)
    _, made = record(ticks)
    np.testing.assert_allclose(made.steps["command_base_tcp"][0], actions.row_of(ticks[0].state.pose_base_tcp))
    for k in range(len(made)):
        command = actions.pose_of(made.steps["command_base_tcp"][k])
        executed = actions.applied(made.steps["executed_base"][k], command)
        passed = ticks[2 * k + 1].executed.pose_base_tcp
        np.testing.assert_allclose(executed.position, passed.position, atol=1e-12)
        np.testing.assert_allclose(
            actions.from_wrist(made.steps["executed_wrist"][k], command), made.steps["executed_base"][k], atol=1e-12
        )


def test_what_was_asked_is_not_what_was_executed_where_the_bridge_clipped() -> None:
    _, passed = record(walk(20))
    np.testing.assert_allclose(passed.steps["asked_base"], passed.steps["executed_base"], atol=1e-12)
    _, clipped = record(walk(20, let_pass=0.5))
    np.testing.assert_allclose(clipped.steps["executed_base"][:, :3], 0.5 * clipped.steps["asked_base"][:, :3])


def test_the_action_closes_the_gripper_in_the_step_in_which_it_was_told_to() -> None:
    _, made = record(walk(20, closes_at=7))
    assert made.steps["executed_base"][:, 6].tolist() == [1.0] * 3 + [0.0] * 7
    assert made.steps["gripper_closed"].tolist() == [0.0] * 4 + [1.0] * 6


def test_each_step_has_the_picture_that_was_taken_last_when_it_began() -> None:
    recorder, made = record(walk(20))
    ages_s = made.steps["stamp"] - made.image_stamps["wrist"]
    assert ages_s.min() >= 0.0
    assert ages_s.max() < PERIOD_S
    number = np.round((made.image_stamps["wrist"] - STAMPS[0]) / PERIOD_S)
    assert np.abs(made.pictures("wrist").mean((1, 2, 3)) - number).max() <= 1.0
    assert recorder.timings()["frames_dropped"] == {"wrist": 0, "front": 0}


def test_a_step_whose_picture_was_lost_counts_as_dropped() -> None:
    missing = {7, 8, 20}
    recorder, made = record(walk(30), stamps=[stamp for k, stamp in enumerate(STAMPS) if k not in missing])
    assert recorder.timings()["frames_dropped"] == {"wrist": 1, "front": 0}, "the step at 100.5 s, whose is 6"
    assert made.steps["stamp"][5] - made.image_stamps["wrist"][5] > 0.1


def test_pictures_that_stop_count_as_dropped_until_the_camera_is_given_up() -> None:
    before = [stamp for stamp in STAMPS if stamp < 100.35]
    recorder, _ = record(walk(14), stamps=before)
    assert recorder.timings()["frames_dropped"]["wrist"] == 3
    with pytest.raises(CameraStalled, match="wrist camera has sent no picture for 0.5 s"):
        record(walk(40), stamps=before)


def test_a_camera_that_is_gone_ends_the_trial_with_its_own_sentence() -> None:
    camera = Reel(STAMPS)
    camera.stalled = True
    tick = walk(1)[0]
    with Recorder([eye("wrist", camera)], LIFT_CUBE.rate_hz) as recorder, pytest.raises(CameraStalled, match="7 has"):
        recorder.watch(tick)


def test_pictures_are_squares_and_whole_ones_are_kept_only_on_request(tmp_path: Path) -> None:
    _, made = record(walk(20))
    assert made.pictures("front").shape == (10, 128, 128, 3)
    assert made.frames == {}
    _, whole = record(walk(20), keep_frames=True)
    episode.write(tmp_path / "whole.h5", whole)
    frames = episode.read(tmp_path / "whole.h5", with_frames=True).frames
    assert episode.decode(frames["front"][9]).shape == (60, 90, 3)
