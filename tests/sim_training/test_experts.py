"""Scripted experts: without faults they solve their tasks; their faults are remembered, and hurt."""

from typing import Any

import pytest
import torch

from contract.tasks import LIFT_CUBE, TASKS, task
from sim_training.envs import make_task
from sim_training.teachers.evaluate import INCREMENTS, success
from sim_training.teachers.scripted import NO_FAULTS, Faults, ScriptedTeacher
from sim_training.teachers.teacher import Question, increment

COUNT = 8


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.mark.parametrize("name", sorted(TASKS))
def test_an_expert_without_faults_solves_its_task_and_the_sparse_reward_says_so(name: str) -> None:
    env = make_task(name, COUNT, reward="sparse")
    paid = torch.zeros(COUNT)
    step = env.step

    def counting(action: Any) -> Any:
        result = step(action)
        paid.add_(result[1])
        return result

    env.step = counting
    succeeded = success(env, ScriptedTeacher(task(name), NO_FAULTS), seed=11)
    assert succeeded.sum() >= 7
    torch.testing.assert_close(paid, 2.0 * succeeded - 1.0)
    env.close()


def test_an_expert_a_phase_ahead_of_things_hardly_ever_succeeds() -> None:
    env = make_task("lift_cube", COUNT)
    ahead = Faults(noise=0.0, bias_m=0.0, wrong_phase=1.0, dropped_grasp=0.0)
    assert success(env, ScriptedTeacher(LIFT_CUBE, ahead), seed=12).sum() <= 2
    env.close()


def test_faults_belong_to_an_episode_and_survive_a_checkpoint() -> None:
    env = make_task("lift_cube", COUNT)
    env.reset(seed=13)
    faults = Faults(noise=0.0, bias_m=0.02, wrong_phase=0.5, dropped_grasp=0.0)
    teacher, rows, truth = ScriptedTeacher(LIFT_CUBE, faults), torch.arange(COUNT), env.unwrapped.truth
    question = Question(rows, [""] * COUNT, truth.tcp, None, truth)
    first = teacher.ask(question, 1.0).delta
    torch.testing.assert_close(teacher.ask(question, 1.0).delta, first)
    restored = ScriptedTeacher(LIFT_CUBE, faults)
    restored.restore(teacher.state())
    torch.testing.assert_close(restored.ask(question, 1.0).delta, first)
    teacher.begin(torch.tensor([0]))
    second = teacher.ask(question, 1.0).delta
    assert not torch.equal(second[0], first[0])
    torch.testing.assert_close(second[1:], first[1:])
    env.close()


def test_a_delta_is_executed_over_five_ticks_and_never_faster_than_full_scale() -> None:
    delta = torch.tensor([[0.03, 0.0, 0.0, 0.1, 0.0, 0.15, 1.0], [1.0, 0.0, 0.0, 0.0, 0.0, 0.0, -1.0]])
    expected = torch.tensor([[0.5, 0.0, 0.0, 0.0, 0.0, 0.5, 1.0], [1.0, 0.0, 0.0, 0.0, 0.0, 0.0, -1.0]])
    torch.testing.assert_close(increment(LIFT_CUBE, delta, INCREMENTS), expected)
