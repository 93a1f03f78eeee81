"""Tasks with a second object: where it starts, what is believed about it, what it takes to succeed."""

from typing import Any

import pytest
import torch

from contract.observation import layout
from contract.poses import Pose
from contract.tasks import STACK_CUBE, TASKS
from sim_training.envs import make_task
from sim_training.teachers.scripted import NO_FAULTS, ScriptedTeacher
from sim_training.teachers.teacher import Question, increment

COUNT = 8


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def _under_expert(env: Any, seed: int) -> Any:
    """Ticks of an episode driven by the expert without faults."""
    torch.manual_seed(seed)
    env.reset(seed=[seed + i for i in range(COUNT)])
    task, rows = env.unwrapped, torch.arange(COUNT)
    teacher = ScriptedTeacher(task.card, NO_FAULTS)
    for _ in range(task.card.horizon):
        question = Question(rows, [""] * COUNT, task.tcp, None, task.truth)
        yield env.step(increment(task.card, teacher.ask(question, 1.0).delta, 5))


@pytest.mark.parametrize("name", sorted(name for name, card in TASKS.items() if not card.has_second))
def test_a_card_without_a_second_object_says_nothing_about_one(name: str) -> None:
    assert not any("second" in key for key in TASKS[name].as_dict())
    assert not any("second" in field["name"] for field in layout(TASKS[name]))


def test_the_second_object_is_never_believed_to_be_in_the_fingers() -> None:
    env = make_task("stack_cube", COUNT)
    task, both_near = env.unwrapped, torch.zeros(COUNT, dtype=torch.bool)
    for _ in _under_expert(env, 21):
        near = (task.second.position - task.tcp.position).norm(dim=-1) < 0.05
        both_near |= near & task.belief.object.held
        assert not task.belief.second.held.any()
        assert (task.belief.second.pose.position - task.second.position).norm(dim=-1).max() < 0.03
    assert both_near.sum() >= COUNT // 2
    env.close()


def test_a_stacked_cube_counts_once_the_fingers_are_off_it() -> None:
    env = make_task("stack_cube", COUNT, randomise=False)
    env.reset(seed=22)
    task = env.unwrapped
    top = task.second.position + torch.tensor([0.0, 0.0, STACK_CUBE.object_width_m])
    task._put(task.actor, Pose(top, task.second.quaternion))
    task.scene._gpu_apply_all()
    ticks = round(STACK_CUBE.hold_s * STACK_CUBE.rate_hz)
    stay_open = torch.zeros(COUNT, 7)
    stay_open[:, 6] = 1.0
    outcomes = [env.step(stay_open)[4]["success"] for _ in range(ticks + 3)]
    assert not outcomes[ticks - 2].any(), "half a second has not passed"
    assert outcomes[-1].all()
    close = stay_open.clone()
    close[:, 6] = -1.0
    for _ in range(20):
        _, _, _, _, info = env.step(close)
    assert not info["success"].any(), "shut fingers may hold it"
    env.close()
