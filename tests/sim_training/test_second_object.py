"""Tasks with a second object: where it starts, what is believed about it, what it takes to succeed."""

import pytest
import torch

from contract.observation import layout
from contract.poses import Pose
from contract.tasks import STACK_CUBE, TASKS
from sim_training.backends import restore_state, save_state
from sim_training.envs import make_task

COUNT = 8


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.mark.parametrize("name", sorted(name for name, card in TASKS.items() if not card.has_second))
def test_a_card_without_a_second_object_says_nothing_about_one(name: str) -> None:
    assert not any("second" in key for key in TASKS[name].as_dict())
    assert not any("second" in field["name"] for field in layout(TASKS[name]))


def test_the_second_object_is_never_believed_to_be_in_the_fingers() -> None:
    env = make_task("stack_cube", COUNT, near_starts=1.0)
    torch.manual_seed(21)
    env.reset(seed=21)
    task = env.unwrapped
    below = task.object.position - torch.tensor([0.0, 0.0, 0.041])
    task._put(task.second_actor, Pose(below, task.object.quaternion))
    task.scene._gpu_apply_all()
    env.step(torch.zeros(COUNT, 7))
    held = task.belief.object.held
    assert 0 < held.sum() < COUNT
    assert ((task.second.position - task.tcp.position).norm(dim=-1)[held] < 0.06).all()
    assert not task.belief.second.held.any()
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


@pytest.mark.parametrize("name", ["poke_cube", "pull_cube_tool"])
def test_a_cube_where_it_should_be_counts_only_with_the_tool_in_the_fingers(name: str) -> None:
    env = make_task(name, COUNT, near_starts=1.0)
    torch.manual_seed(23)
    env.reset(seed=23)
    task = env.unwrapped
    held = task.controller.closed.clone()
    assert 0 < held.sum() < COUNT
    place = task.goal_position if task.card.has_goal else torch.tensor([0.58, 0.1, 0.02]).expand(COUNT, 3)
    task._put(task.second_actor, Pose(place, task.second.quaternion))
    task.scene._gpu_apply_all()
    still = torch.zeros(COUNT, 7)
    for _ in range(15):
        _, _, _, _, info = env.step(still)
    torch.testing.assert_close(info["success"], held)
    env.close()


def test_a_peg_in_the_hole_has_three_millimetres_to_either_side_and_no_more() -> None:
    env = make_task("peg_insertion", COUNT, randomise=False)
    env.reset(seed=24)
    task = env.unwrapped
    aside = torch.tensor([0.0, 0.002, -0.002, 0.0025, 0.006, -0.006, 0.005, -0.005])
    middle, straight = torch.zeros(COUNT, 3), torch.tensor([1.0, 0.0, 0.0, 0.0]).repeat(COUNT, 1)
    middle[:, 1] = aside
    task._put(task.actor, task.second @ Pose(middle, straight))
    task.scene._gpu_apply_all()
    for _ in range(4):
        env.step(torch.zeros(COUNT, 7))
    assert task.settled.all()
    lies = (task.second.inverse() @ task.object).position
    torch.testing.assert_close(lies[:4, 1], aside[:4], atol=3e-4, rtol=0)
    torch.testing.assert_close(lies[4:, 1], 0.003 * aside[4:].sign(), atol=5e-4, rtol=0)
    torch.testing.assert_close(lies[:, 2], torch.full((COUNT,), -0.003), atol=3e-4, rtol=0)
    env.close()


def test_the_box_with_the_hole_stands_where_it_was_put_whatever_hits_it() -> None:
    env = make_task("peg_insertion", COUNT, randomise=False)
    env.reset(seed=25)
    task = env.unwrapped
    before = task.second.position.clone()
    task.actor.set_linear_velocity(torch.tensor([[0.0, 3.0, 0.0]]).repeat(COUNT, 1))
    task.scene._gpu_apply_all()
    for _ in range(10):
        env.step(torch.zeros(COUNT, 7))
    assert torch.equal(task.second.position, before)
    env.close()


def test_a_saved_episode_with_two_objects_goes_on_bit_for_bit() -> None:
    env = make_task("stack_cube", 2, physics="fast")
    torch.manual_seed(26)
    env.reset(seed=26)
    generator = torch.Generator().manual_seed(0)
    actions = 2 * torch.rand(12, 2, 7, generator=generator) - 1
    for action in actions[:6]:
        env.step(action)
    saved, random = save_state(env), torch.get_rng_state()
    went_on = [env.step(action)[0] for action in actions[6:]]
    env.reset(seed=27)
    restore_state(env, saved)
    torch.set_rng_state(random)
    for action, observation in zip(actions[6:], went_on, strict=True):
        assert torch.equal(env.step(action)[0], observation)
    env.close()
