"""A generalist in the simulator: what it answers is what the tool does, at its own rate, as driver and as teacher."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
import torch

from contract.generalist import Card, Generalist, UnknownInstruction
from contract.tasks import LIFT_CUBE
from sim_training import demonstrators, rollouts
from sim_training.generalist.driving import Driver
from sim_training.pictures import Shown
from sim_training.teachers.generalist import GeneralistTeacher
from sim_training.teachers.teacher import Question

COUNT, SIDE = 4, 8
WORDS = LIFT_CUBE.instruction
STEP = np.array([0.01, -0.005, 0.002, 0.0, 0.0, 0.02])


class Answering:
    """In the place of onnxruntime: always the same motion, gripper open."""

    def __init__(self) -> None:
        self.rows: list[int] = []

    def run(self, names: None, inputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        self.rows.append(len(inputs["wrist"]))
        return [np.tile([*(STEP / 0.05), 9.0], (self.rows[-1], 1))]


class BlackPictures:
    """In the place of a painter: pictures cost a renderer, and what is on them does not matter here."""

    views = {"wrist": None}

    def draw(self, shown: Shown) -> dict[str, np.ndarray]:
        return {"wrist": np.zeros((SIDE, SIDE, 3), np.uint8)}


def model() -> tuple[Generalist, Answering]:
    session = Answering()
    return Generalist(Card((WORDS,), ("wrist",), SIDE, 10.0, (-0.05,) * 6, (0.05,) * 6), session), session


@pytest.fixture(scope="module")
def env() -> rollouts.Any:
    return rollouts.make("lift_cube", rollouts.VARIANTS["red_cube"], COUNT, randomise=False)


def test_the_tool_is_commanded_what_was_answered(env: rollouts.Any) -> None:
    generalist, session = model()
    tracks = rollouts.roll(env, Driver(LIFT_CUBE, generalist, BlackPictures(), WORDS), 3, horizon_factor=0.1)  # type: ignore[arg-type]
    assert session.rows == [COUNT] * 7
    for track in tracks:
        assert len(track) == 7
        commands = np.vstack([track.columns["command_base_tcp"], track.end_command])
        assert np.allclose(np.diff(commands[:, :3], axis=0), STEP[:3], atol=1e-5)
        assert not track.success


def test_the_same_seed_gives_the_same_episodes_and_another_seed_others(env: rollouts.Any) -> None:
    def places(seed: int) -> np.ndarray:
        tracks = rollouts.roll(env, lambda task, seen, running: torch.zeros(COUNT, 7), seed, horizon_factor=0.05)
        return np.stack([track.columns["pose_base_object"][0] for track in tracks])

    assert np.array_equal(places(1), places(1))
    assert not np.allclose(places(1), places(2))


def test_a_persons_stand_in_does_the_task_but_takes_its_time(env: rollouts.Any) -> None:
    tracks = rollouts.roll(env, demonstrators.HumanLike(LIFT_CUBE, 0), 5, demonstrators.HORIZON_FACTOR)
    done = [track for track in tracks if track.success]
    assert len(done) >= COUNT - 1
    assert np.mean([track.duration_s for track in done]) > 5.5
    assert all(np.isfinite(values).all() for track in done for values in track.columns.values())


def test_what_never_succeeds_is_not_waited_for_for_ever() -> None:
    still = rollouts.successes(
        "lift_cube", rollouts.VARIANTS["red_cube"], lambda task, seen, running: torch.zeros(2, 7), 1, 0, 2, 0.02
    )
    with pytest.raises(rollouts.NeverSucceeds, match="better policy"):
        list(still)


def test_as_a_teacher_it_answers_for_as_long_as_a_teachers_answer_lasts(env: rollouts.Any) -> None:
    generalist, _ = model()
    teacher = GeneralistTeacher(generalist, BlackPictures(), LIFT_CUBE, WORDS, "made up")  # type: ignore[arg-type]
    env.reset(seed=0)
    answer = teacher.ask(Question.of(env.unwrapped, torch.tensor([0, 2]), teacher.needs_images), 1.0)
    assert answer.valid.tolist() == [True, True]
    assert np.allclose(answer.delta[:, :6], 2.5 * STEP, atol=1e-6)
    assert (answer.delta[:, 6] > 0.9).all()


def test_neither_takes_an_instruction_that_it_does_not_know() -> None:
    generalist, _ = model()
    for made in (
        lambda: Driver(LIFT_CUBE, generalist, BlackPictures(), "lift the peg"),  # type: ignore[arg-type]
        lambda: GeneralistTeacher(generalist, BlackPictures(), LIFT_CUBE, "lift the peg", "made up"),  # type: ignore[arg-type]
    ):
        with pytest.raises(UnknownInstruction, match="lift the cube"):
            made()
