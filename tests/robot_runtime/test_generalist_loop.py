"""A generalist on the arm: one look for every two setpoints, which together are its answer."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from contract.generalist import Card, Generalist, UnknownInstruction
from contract.tasks import LIFT_CUBE
from robot_runtime.generalist_loop import GeneralistLoop, Step
from robot_runtime.loop import OperatorStopped
from tests.robot_runtime.test_loop import IdealArm

START = np.array(LIFT_CUBE.start_position_m)


class Answering:
    """In the place of onnxruntime: says what it is told to, and counts."""

    def __init__(self, *answers: list[float]) -> None:
        self.answers, self.asked = answers, 0

    def run(self, names: None, inputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        answer = self.answers[min(self.asked, len(self.answers) - 1)]
        self.asked += 1
        return [np.array([answer])]


def loop(arm: IdealArm, session: Answering, instruction: str = "lift the cube") -> GeneralistLoop:
    """Its full scale is 20 mm and 0.1 rad in a tenth of a second."""
    card = Card(("lift the cube",), ("wrist",), 8, 10.0, (-0.02,) * 3 + (-0.1,) * 3, (0.02,) * 3 + (0.1,) * 3)
    model = Generalist(card, session)
    return GeneralistLoop(arm, lambda: {"wrist": np.zeros((8, 8, 3), np.uint8)}, model, LIFT_CUBE, instruction)


def on_and_on(step: Step) -> bool:
    return False


def test_two_setpoints_for_each_look_add_up_to_the_answer() -> None:
    arm, session = IdealArm(), Answering([0.5, -0.5, 0.0, 0, 0, 0, 9.0])
    statistics = loop(arm, session).run(4, on_and_on)
    assert (session.asked, statistics.ticks, len(arm.sent)) == (4, 8, 8)
    way = np.array([setpoint.pose_base_tcp.position for setpoint in arm.sent]) - START
    assert np.allclose(way[1::2], np.outer([1, 2, 3, 4], [0.01, -0.01, 0.0]))
    assert np.allclose(way[0], [0.005, -0.005, 0.0])
    assert np.allclose(np.diff([setpoint.stamp for setpoint in arm.sent]), 0.05)


def test_the_contracts_bounds_hold_whatever_it_answers() -> None:
    arm = IdealArm()
    loop(arm, Answering([0.0, 0.0, -1.0, 0, 0, 0, 9.0])).run(40, on_and_on)
    heights = np.array([setpoint.pose_base_tcp.position[2] for setpoint in arm.sent])
    assert heights.min() >= LIFT_CUBE.command_low_m[2] - 1e-9
    assert LIFT_CUBE.gentle_step_m is not None
    assert LIFT_CUBE.gentle_low_m is not None
    assert LIFT_CUBE.gentle_high_m is not None
    gentle = (heights[:-1] <= LIFT_CUBE.gentle_high_m) & (heights[:-1] > LIFT_CUBE.gentle_low_m)
    assert gentle.any()
    assert -np.diff(heights)[gentle].min() <= LIFT_CUBE.gentle_step_m + 1e-9


def test_the_next_answer_begins_where_the_bridge_let_the_arm_go() -> None:
    arm = IdealArm()
    arm.clip_to = START + [0.001, 0.0, 0.0]
    loop(arm, Answering([1.0, 0, 0, 0, 0, 0, 9.0])).run(2, on_and_on)
    assert np.allclose(arm.sent[-1].pose_base_tcp.position, arm.clip_to + [0.01, 0.0, 0.0])


def test_the_gripper_is_told_only_what_is_new_and_sure() -> None:
    arm = IdealArm()
    still = [0.0] * 6
    unsure, shut, wide = [*still, 0.5], [*still, -9.0], [*still, 9.0]
    loop(arm, Answering(wide, unsure, shut, unsure, unsure, wide)).run(6, on_and_on)
    assert arm.grips == [True]  # 0.3 s later fingers are still under way
    loop(arm, Answering(shut, *[unsure] * 5, wide, unsure)).run(8, on_and_on)
    assert arm.grips == [True, True, False]


def test_it_ends_when_told_that_it_is_done_or_to_stop() -> None:
    arm = IdealArm()
    session = Answering([0.0] * 7)
    assert loop(arm, session).run(10, lambda step: step.index == 2).ticks == 3
    with pytest.raises(OperatorStopped):
        loop(arm, session).run(10, on_and_on, lambda: True)


def test_what_it_does_not_know_is_refused_before_anything_moves() -> None:
    with pytest.raises(UnknownInstruction, match="lift the cube"):
        loop(IdealArm(), Answering([0.0] * 7), "lift the peg")
