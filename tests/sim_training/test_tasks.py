"""Every task under the contract: what it observes, what it pays, what may be asked of it."""

from typing import Any

import pytest
import torch

from contract.observation import observation_size
from contract.task_spec import stretched
from contract.tasks import LIFT_CUBE, PUSH_CUBE, TASKS, task
from sim_training.envs import UnknownOption, make_task
from sim_training.envs.catalogue import catalogue

COUNT = 4


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def _wander(env: Any, ticks: int) -> tuple[torch.Tensor, torch.Tensor, dict[str, Any]]:
    generator = torch.Generator().manual_seed(0)
    rewards = []
    for _ in range(ticks):
        observation, reward, _, _, info = env.step(2 * torch.rand(COUNT, 7, generator=generator) - 1)
        rewards.append(reward)
    return observation, torch.stack(rewards), info


@pytest.mark.parametrize("name", sorted(TASKS))
def test_every_task_observes_what_its_card_says_and_pays_at_most_one_a_tick(name: str) -> None:
    for reward in ("dense", "simplified"):
        env = make_task(name, COUNT, physics="fast", reward=reward)
        first, _ = env.reset(seed=1)
        observation, rewards, _ = _wander(env, 8)
        assert observation.shape == (COUNT, observation_size(task(name)) + env.unwrapped.privileged_size)
        assert observation.isfinite().all()
        assert not torch.equal(first, observation)
        assert rewards.isfinite().all()
        assert rewards.max() <= 1.0
        env.close()


@pytest.mark.parametrize("name", sorted(TASKS))
def test_the_sparse_reward_is_minus_one_once_for_an_episode_that_fails(name: str) -> None:
    env = make_task(name, COUNT, physics="fast", reward="sparse")
    env.reset(seed=2)
    still = torch.zeros(COUNT, 7)
    env.unwrapped._elapsed_steps[:] = task(name).horizon - 3
    rewards = torch.stack([env.step(still)[1] for _ in range(3)])
    torch.testing.assert_close(rewards, torch.tensor([[0.0], [0.0], [-1.0]]).repeat(1, COUNT))
    env.close()


def test_bodies_differ_from_seed_to_seed_and_only_then() -> None:
    made = [make_task("peg_insertion", COUNT, physics="fast", body_seed=seed) for seed in (1, 1, 2)]
    first, same, other = (env.unwrapped for env in made)
    torch.testing.assert_close(first.half_size, same.half_size)
    assert (first.half_size[:, 1] - other.half_size[:, 1]).abs().min() > 1e-6
    assert first.half_size[:, 1].unique().numel() == COUNT
    for env in made:
        env.close()


def test_the_lift_cube_contract_is_the_one_that_policies_were_shipped_with() -> None:
    assert LIFT_CUBE.contract_hash() == "ab8825de2ecbc70bd096c0d89cbd0f72c5c53332bb66c54a9fad3d2b390c976c"
    assert "goal_tolerance_m" not in LIFT_CUBE.as_dict()


def test_ten_times_the_horizon_takes_a_tenth_of_the_step() -> None:
    long = stretched(LIFT_CUBE, 10)
    assert (long.horizon, long.translation_scale_m) == (10 * LIFT_CUBE.horizon, pytest.approx(0.0012))
    assert long.contract_hash() != LIFT_CUBE.contract_hash()
    env = make_task("lift_cube", 1, horizon_factor=10, randomise=False)
    env.reset(seed=3)
    before = env.unwrapped.tcp.position.clone()
    for _ in range(20):
        env.step(torch.tensor([[1.0, 0, 0, 0, 0, 0, 1]]))
    assert 0.015 < float((env.unwrapped.tcp.position - before)[0, 0]) < 0.024
    env.close()


def test_the_moved_camera_looks_from_elsewhere() -> None:
    eyes = []
    for camera in ("normal", "moved"):
        env = make_task("push_cube", 1, camera=camera)
        eyes.append(env.unwrapped._default_human_render_camera_configs.pose.p)
        env.close()
    assert (eyes[0] - eyes[1]).abs().max() > 0.1


def test_without_randomisation_every_episode_has_the_cards_object_and_start() -> None:
    env = make_task("push_cube", COUNT, randomise=False)
    env.reset(seed=4)
    bare = env.unwrapped
    torch.testing.assert_close(bare.half_size, torch.full((COUNT, 3), PUSH_CUBE.object_width_m / 2))
    torch.testing.assert_close(bare.tcp.position, torch.tensor([PUSH_CUBE.start_position_m] * COUNT), atol=1e-3, rtol=0)
    assert not bare._knock_at.any(), "nothing knocks the object"
    _wander(env, 3)
    torch.testing.assert_close(bare.estimate.pose.position, bare.object.position)
    env.close()


def test_a_knock_moves_the_object_at_its_tick() -> None:
    env = make_task("push_cube", COUNT)
    env.reset(seed=5)
    bare = env.unwrapped
    before = bare.object.position.clone()
    bare._knock_at[:] = 2
    bare._knock[:] = torch.tensor([0.0, 0.05, 0.0])
    stay = torch.zeros(COUNT, 7)
    for _ in range(2):
        env.step(stay)
    assert (bare.object.position - before).norm(dim=-1).max() < 1e-3
    for _ in range(3):
        env.step(stay)
    assert (bare.object.position - before)[:, 1].min() > 2e-3
    env.close()


def test_a_ball_sent_to_its_target_has_been_there_and_never_leaves_the_table() -> None:
    env = make_task("roll_ball", COUNT, randomise=False)
    env.reset(seed=6)
    bare, stay = env.unwrapped, torch.zeros(COUNT, 7)
    way = bare.goal_position - bare.object.position
    way[0] *= -1  # the first is sent the other way
    bare.actor.set_linear_velocity(0.8 * way / way.norm(dim=-1, keepdim=True))
    bare.scene._gpu_apply_all()
    outcomes = torch.stack([env.step(stay)[4]["success"] for _ in range(60)])
    assert not outcomes[:5].any(), "it is still on its way"
    assert outcomes[-1].tolist() == [False] + [True] * (COUNT - 1)
    assert (bare.object.position[:, 2] > 0.02).all()
    env.close()


def test_unknown_options_are_refused_with_the_nearest_name() -> None:
    with pytest.raises(UnknownOption, match="no reward 'spars'; did you mean 'sparse'"):
        make_task("lift_cube", 1, reward="spars")  # type: ignore[arg-type]
    with pytest.raises(UnknownOption, match="no camera 'move'; did you mean 'moved'"):
        make_task("lift_cube", 1, camera="move")  # type: ignore[arg-type]
    with pytest.raises(UnknownOption, match="Choose from: 1, 10"):
        make_task("lift_cube", 1, horizon_factor=100)


def test_the_catalogue_names_every_task_with_its_instruction() -> None:
    printed = catalogue()
    for card in TASKS.values():
        assert card.name in printed
        assert card.instruction in printed
