"""What a teacher asks for is how the tool turns: sign, frame and size of its rotation, through physics."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from sim_training.envs import make_task
from sim_training.teachers.evaluate import INCREMENTS
from sim_training.teachers.teacher import Answer, Question, checked, increment

COUNT = 4
TURN_RAD = 0.1
SETTLING_TICKS = 20


class Turning:
    """Always asks for the same rotation vector, base frame."""

    name, needs_images = "synthetic turning", False

    def __init__(self, rotation: torch.Tensor):
        self._rotation = rotation

    def ask(self, question: Question, deadline_s: float) -> Answer:
        delta = torch.zeros(len(question.rows), 7)
        delta[:, 3:6], delta[:, 6] = self._rotation, 1.0
        return Answer(delta, torch.ones(len(delta), dtype=torch.bool))


@pytest.fixture(scope="module", params=["lift_cube", "peg_upright"])
def env(request: pytest.FixtureRequest) -> Iterator[Any]:
    torch.set_num_threads(1)
    env = make_task(request.param, COUNT, randomise=False)
    yield env
    env.close()


def orientation(env: Any) -> torch.Tensor:
    """Of the tool, by the simulator itself, base frame. Shape: (N, 3, 3)"""
    matrix: torch.Tensor = env.unwrapped.agent.tcp.pose.to_transformation_matrix()
    return matrix[:, :3, :3].clone()


def turned(env: Any, teacher: Turning) -> torch.Tensor:
    """By what rotation vector the tool has turned once one answer is executed, base frame. Shape: (N, 3)"""
    env.reset(seed=1)
    task, rows = env.unwrapped, torch.arange(COUNT)
    before = orientation(env)
    answer = checked(teacher.ask(Question.of(task, rows, False), 1.0), COUNT, teacher.name)
    action = increment(task.card, answer.delta, INCREMENTS)
    for _ in range(INCREMENTS):
        env.step(action)
    for _ in range(SETTLING_TICKS):
        env.step(torch.zeros_like(action))
    turn = orientation(env) @ before.mT
    # Rodrigues: a rotation matrix less its transpose is twice the axis times the angle's sine.
    sines = torch.stack(
        [turn[:, 2, 1] - turn[:, 1, 2], turn[:, 0, 2] - turn[:, 2, 0], turn[:, 1, 0] - turn[:, 0, 1]], -1
    )
    return torch.asin(sines / 2)


@pytest.mark.parametrize("sign", [1.0, -1.0], ids=["positive", "negative"])
@pytest.mark.parametrize("axis", range(3), ids=["roll", "pitch", "yaw"])
def test_the_tool_turns_about_the_axis_and_the_way_the_teacher_says(env: Any, axis: int, sign: float) -> None:
    asked = torch.zeros(3)
    asked[axis] = sign * TURN_RAD
    is_free = env.unwrapped.card.rotation_scale_rad[axis] > 0
    expected = asked if is_free else torch.zeros(3)
    torch.testing.assert_close(turned(env, Turning(asked)), expected.repeat(COUNT, 1), atol=0.01, rtol=0)
