"""What is sent when an episode is played once more, and how far the tool was from where it should have been."""

from __future__ import annotations

import numpy as np
import pytest

from contract.poses import yaw_of
from contract.tasks import LIFT_CUBE
from robot_runtime.collection.playback import Played, distances_mm, off_path_mm, told, told_raw
from robot_runtime.collection.put_down import random_place
from robot_runtime.collection.recorder import Recorder
from tests.robot_runtime.collection.made_up import about, episode
from tests.robot_runtime.collection.ticks import walk


def test_every_command_is_reached_at_its_steps_end_and_half_of_the_way_before() -> None:
    made = episode(steps=20, seed=4)
    script = list(told(made))
    assert [round(each.since_s, 6) for each in script[:4]] == [0.0, 0.05, 0.1, 0.15]
    commands = made.steps["command_base_tcp"][:, :3]
    for k in range(19):
        half, whole = script[2 * k].pose_base_tcp.position, script[2 * k + 1].pose_base_tcp.position
        np.testing.assert_allclose(whole, commands[k + 1], atol=1e-12)
        np.testing.assert_allclose(half, (commands[k] + commands[k + 1]) / 2, atol=1e-12)
    assert [each.closed for each in script] == [k > 20 for k in range(40)], "with the whole of the step that closes"


def test_raw_every_tick_is_told_what_it_was_told_then() -> None:
    with Recorder([], LIFT_CUBE.rate_hz) as recorder:
        for tick in (ticks := walk(8, closes_at=5)):
            recorder.watch(tick)
        made = recorder.episode(about())
    script = list(told_raw(made))
    assert [round(each.since_s, 6) for each in script] == [round(0.05 * k, 6) for k in range(8)]
    for each, tick in zip(script, ticks, strict=True):
        np.testing.assert_allclose(each.pose_base_tcp.position, tick.executed.pose_base_tcp.position, atol=1e-12)
    assert [each.closed for each in script] == [k >= 5 for k in range(8)]


def test_distances_are_taken_at_the_same_time_since_the_start() -> None:
    made = episode(steps=20, seed=4)
    times_s = made.steps["stamp"] - made.steps["stamp"][0]
    positions_m = made.steps["pose_base_tcp"][:, :3]
    assert distances_mm(made, Played(times_s, positions_m, 0)).max() < 1e-9
    aside = Played(times_s, positions_m + [0.003, 0.0, 0.004], 0)
    np.testing.assert_allclose(distances_mm(made, aside), 5.0)
    late = Played(times_s + 0.1, positions_m, 0)
    step_mm = 1e3 * np.linalg.norm(np.diff(positions_m, axis=0), axis=1)
    np.testing.assert_allclose(distances_mm(made, late)[1:], step_mm)


def test_the_path_is_the_same_however_late_it_is_gone() -> None:
    made = episode(steps=20, seed=4)
    times_s = made.steps["stamp"] - made.steps["stamp"][0]
    positions_m = made.steps["pose_base_tcp"][:, :3]
    assert off_path_mm(made, Played(times_s + 0.5, positions_m, 0)).max() < 1e-9
    step_mm = 1e3 * np.linalg.norm(np.diff(positions_m, axis=0), axis=1).max()
    every_other = Played(times_s[::2], positions_m[::2], 0)
    assert 0.0 < off_path_mm(made, every_other).max() < step_mm
    aside = Played(times_s, positions_m + [0.3, 0.0, 0.4], 0)
    assert (off_path_mm(made, aside) > 400.0).all()


@pytest.mark.parametrize("seed", range(20))
def test_an_object_is_put_down_where_it_may_start(seed: int) -> None:
    place, again = random_place(LIFT_CUBE, seed), random_place(LIFT_CUBE, seed)
    np.testing.assert_array_equal(place.position, again.position)
    assert (place.position[:2] >= LIFT_CUBE.object_low_m).all()
    assert (place.position[:2] <= LIFT_CUBE.object_high_m).all()
    assert place.position[2] == pytest.approx(0.02)
    assert abs(float(yaw_of(place.quaternion)) - float(yaw_of(np.array(LIFT_CUBE.start_quaternion)))) <= 0.4001
