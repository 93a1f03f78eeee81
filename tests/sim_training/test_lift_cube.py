"""lift_cube under the contract: what an action does, what is observed, when it succeeds."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from contract.observation import observation_size
from contract.poses import quat_rotate, rotation_between, yaw_of
from contract.tasks import LIFT_CUBE
from sim_training.envs import make_task
from sim_training.envs.kinematics import forward

COUNT = 8


@pytest.fixture(scope="module")
def env() -> Iterator[Any]:
    torch.set_num_threads(1)
    env = make_task("lift_cube", COUNT, randomise=False)
    yield env
    env.close()


def _hold(env: Any, action: list[float], ticks: int) -> None:
    for _ in range(ticks):
        env.step(torch.tensor([action]).repeat(COUNT, 1))


def test_an_episode_starts_at_the_cards_pose_with_the_cube_in_its_area(env: Any) -> None:
    observation, _ = env.reset(seed=1)
    task = env.unwrapped
    assert observation.shape == (COUNT, observation_size(LIFT_CUBE) + task.privileged_size)
    torch.testing.assert_close(task.tcp.position, torch.tensor([LIFT_CUBE.start_position_m] * COUNT), atol=1e-3, rtol=0)
    xy = task.object.position[:, :2]
    assert (xy >= torch.tensor(LIFT_CUBE.object_low_m)).all()
    assert (xy <= torch.tensor(LIFT_CUBE.object_high_m)).all()


def test_kinematics_agree_with_the_simulated_arm(env: Any) -> None:
    env.reset(seed=2)
    _hold(env, [0.4, -0.3, -0.5, 0, 0, 0.8, 1], 10)
    task = env.unwrapped
    link = task.agent.tcp.pose
    ours = forward(task.agent.robot.get_qpos()[:, :7])
    torch.testing.assert_close(ours.position + task._base, link.p, atol=1e-4, rtol=0)
    assert rotation_between(ours.quaternion, link.q).abs().max() < 1e-3


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_translation_moves_the_tool_along_its_axis_at_the_cards_speed(env: Any, axis: int) -> None:
    env.reset(seed=3)
    task = env.unwrapped
    before = task.tcp.position.clone()
    action = [0.0] * 6 + [1.0]
    action[axis] = 1.0
    _hold(env, action, 5)
    _hold(env, [0.0] * 6 + [1.0], 20)
    expected = torch.zeros(COUNT, 3)
    expected[:, axis] = 5 * LIFT_CUBE.translation_scale_m
    torch.testing.assert_close(task.tcp.position - before, expected, atol=2e-3, rtol=0)


def test_positive_rotation_turns_the_tool_counter_clockwise_seen_from_above(env: Any) -> None:
    env.reset(seed=4)
    task = env.unwrapped
    before = yaw_of(task.tcp.quaternion).clone()
    _hold(env, [0, 0, 0, 0, 0, 1, 1], 5)
    _hold(env, [0, 0, 0, 0, 0, 0, 1], 20)
    turned = yaw_of(task.tcp.quaternion) - before
    torch.testing.assert_close(turned, torch.full((COUNT,), 5 * 0.06), atol=0.01, rtol=0)
    down = quat_rotate(task.tcp.quaternion, torch.tensor([[0.0, 0.0, 1.0]]).repeat(COUNT, 1))
    assert (down[:, 2] < -0.999).all(), "the tool keeps pointing down"


def test_the_tool_never_exceeds_a_quarter_metre_a_second(env: Any) -> None:
    env.reset(seed=5)
    task, fastest = env.unwrapped, 0.0
    generator = torch.Generator().manual_seed(0)
    before = task.tcp.position.clone()
    for _ in range(40):
        action = torch.sign(torch.rand(COUNT, 7, generator=generator) - 0.5)
        command = task.agent.controller.command.position.clone()
        env.step(action)
        asked = (task.agent.controller.command.position - command).norm(dim=-1).max() * LIFT_CUBE.rate_hz
        fastest = max(fastest, float(asked))
        before = task.tcp.position
    assert fastest <= 0.25
    assert before.isfinite().all()


def test_doing_nothing_does_not_succeed(env: Any) -> None:
    env.reset(seed=7)
    _hold(env, [0.0] * 6 + [1.0], 20)
    assert not env.unwrapped.evaluate()["success"].any()


def test_asking_for_observations_twice_does_not_change_what_is_believed(env: Any) -> None:
    env.reset(seed=8)
    _hold(env, [0.5, 0, 0, 0, 0, 0, 1], 3)
    task = env.unwrapped
    first, second = task.get_obs(task.get_info()), task.get_obs(task.get_info())
    torch.testing.assert_close(first, second)


@pytest.mark.parametrize("physics", ["stock", "fast"])
def test_a_cube_held_from_the_start_stays_held_as_it_rises(physics: Any) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    env = make_task("lift_cube", 32, physics=physics, near_starts=1.0)
    env.reset(seed=12)
    task = env.unwrapped
    held = task.controller.closed.clone()
    assert 4 < held.sum() < 28
    began = task.object.position[:, 2].clone()
    action = torch.zeros(32, 7)
    action[:, 2] = torch.where(held, 0.3, 0.0)
    for _ in range(30):
        _, _, _, _, info = env.step(action)
    assert info["grasped"][held].all()
    assert (task.object.position[:, 2] - began)[held].min() > 0.08
    assert (task.estimate.pose.position - task.object.position).norm(dim=-1)[held].max() < 0.02
    env.close()


def test_episodes_that_begin_leave_the_others_as_they_were(env: Any) -> None:
    env.reset(seed=8)
    task = env.unwrapped
    _hold(env, [0.5, 0.3, -0.5, 0, 0, 0.5, -1.0], 15)
    before, *_ = env.step(torch.tensor([[0.5, 0.3, -0.5, 0, 0, 0.5, -1.0]]).repeat(COUNT, 1))
    width, target = task.controller.gripper_width.clone(), task.controller.width_target.clone()
    after, _ = env.reset(options={"env_idx": torch.tensor([0, 1])})
    torch.testing.assert_close(after[2:], before[2:], rtol=0, atol=0)
    assert not torch.equal(after[:2], before[:2])
    assert task.controller.closed.tolist() == [False] * 2 + [True] * (COUNT - 2)
    assert torch.equal(task.controller.width_target[2:], target[2:])
    _hold(env, [0.0] * 6 + [0.0], 3)
    assert (task.controller.gripper_width[2:] <= width[2:]).all()
    assert (task.controller.gripper_width[:2] > width[:2] + 0.01).all()


def test_an_arm_that_comes_down_on_the_cube_presses_no_further_than_the_card_allows(env: Any) -> None:
    env.reset(seed=4)
    task = env.unwrapped
    across = torch.tensor([0.0, 0.04, 0.0])  # one finger above the cube
    lead = LIFT_CUBE.gentle_lead_m
    assert lead is not None
    held_up = torch.zeros(COUNT, dtype=torch.bool)
    for _ in range(90):
        way = task.object.position + across - task.tcp.position
        action = torch.cat([way / LIFT_CUBE.translation_scale_m, torch.zeros(COUNT, 3), torch.ones(COUNT, 1)], -1)
        before = task.tcp.position[:, 2].clone()
        env.step(action.clip(-1, 1))
        below = before - task.controller.command.position[:, 2]
        near = before <= LIFT_CUBE.gentle_high_m
        assert (below[near] <= lead + 1e-6).all()
        held_up |= near & (below > lead - 1e-4) & (before > 0.044) & (task.tcp.position[:, 2] > before - 1e-4)
    assert held_up.any(), "a finger lies on the cube, and the command goes no further"


def test_the_tool_sinks_gently_where_fingers_meet_the_cubes_top_and_at_full_speed_elsewhere(env: Any) -> None:
    env.reset(seed=6)
    task = env.unwrapped
    low, high, step = LIFT_CUBE.gentle_low_m, LIFT_CUBE.gentle_high_m, LIFT_CUBE.gentle_step_m
    assert low is not None
    assert high is not None
    assert step is not None
    heights = [task.controller.command.position[:, 2].clone()]
    for _ in range(45):
        _hold(env, [0, 0, -1.0, 0, 0, 0, 1], 1)
        heights.append(task.controller.command.position[:, 2].clone())
    height = torch.stack(heights)
    sunk = height[:-1] - height[1:]
    gentle = (height[:-1] <= high) & (height[:-1] > low)
    assert sunk[gentle].max() <= step + 1e-6
    assert (height[1:][height[:-1] > high] > high - step - 1e-6).all(), "nor jumps through"
    assert sunk[height[:-1] > high + LIFT_CUBE.translation_scale_m].max() == pytest.approx(0.012, abs=1e-5)
    assert (height[-1] < low).all()
