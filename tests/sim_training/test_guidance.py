"""Guidance as VLAJS defines it."""

import math

import pytest
import torch

from contract.tasks import LIFT_CUBE
from sim_training.guidance.losses import directional_loss
from sim_training.guidance.queries import GuidanceTargets
from sim_training.guidance.schedule import JumpStart, ScheduleConfig

CPU = torch.device("cpu")


def test_the_directional_loss_ignores_magnitude_and_the_gripper() -> None:
    target = torch.tensor([[1.0, 0, 0, 0, 0, 1.0, 1.0]])
    mean = torch.tensor([[0.01, 0, 0, 0, 0, 5.0, -1.0]])
    assert directional_loss(mean, target, torch.tensor([True])) == pytest.approx(0.0, abs=1e-3)


def test_the_directional_loss_is_two_for_opposite_directions_and_one_for_perpendicular_ones() -> None:
    target = torch.tensor([[1.0, 0, 0, 0, 0, 0, 0]]).repeat(2, 1)
    mean = torch.tensor([[-1.0, 0, 0, 0, 0, 0, 0], [0, 1.0, 0, 0, 0, 0, 0]])
    assert directional_loss(mean[:1], target[:1], torch.tensor([True])) == pytest.approx(2.0, abs=1e-3)
    assert directional_loss(mean[1:], target[1:], torch.tensor([True])) == pytest.approx(1.0, abs=1e-3)


def test_steps_without_guidance_and_components_without_direction_do_not_count() -> None:
    target = torch.zeros(2, 7)
    target[0, 0] = 1.0
    mean = -torch.ones(2, 7, requires_grad=True)
    loss = directional_loss(mean, target, torch.tensor([True, False]))
    (gradient,) = torch.autograd.grad(loss, mean)
    assert float(loss.detach()) == pytest.approx(1 + 1 / math.sqrt(3), abs=1e-3)
    assert gradient[1].abs().max() == 0
    assert gradient[0, 3:].abs().max() == 0


def test_one_answer_is_spread_over_d_steps_and_ends_with_its_episode() -> None:
    guidance = GuidanceTargets(LIFT_CUBE, length=10, count=2, calls=1, spread=5, device=CPU)
    delta = torch.tensor([[0.05, 0, 0, 0, 0, 0.3, 1.0]]).repeat(2, 1)
    guidance.add(2, delta)
    guidance.end_episodes(3, torch.tensor([True, False]))
    assert guidance.valid[:, 1].nonzero()[:, 0].tolist() == [2, 3, 4, 5, 6]
    assert guidance.valid[:, 0].nonzero()[:, 0].tolist() == [2, 3]
    moved = guidance.targets[2:7, 1, 0].sum() * LIFT_CUBE.translation_scale_m
    turned = guidance.targets[2:7, 1, 5].sum() * LIFT_CUBE.rotation_scale_rad[2]
    assert moved == pytest.approx(0.05)
    assert turned == pytest.approx(0.3)


def test_fewer_calls_as_reward_rises_but_never_fewer_than_the_least() -> None:
    schedule = JumpStart(ScheduleConfig(threshold=1e9, window=2))
    calls = []
    for reward in (0.0, 0.0, 0.0, 0.0, 0.5, 0.5, 9.0, 9.0):
        schedule.record(reward)
        calls.append(schedule.calls)
    assert calls[3] == 5
    assert calls[5] == math.floor(5 * math.exp(-math.log(5) * 0.5))
    assert calls[7] == 1


def test_guidance_ends_for_good_after_a_monotonic_rise_beyond_the_threshold() -> None:
    schedule = JumpStart(ScheduleConfig(threshold=0.5, window=3))
    for reward in (0.6, 0.55, 0.7):
        schedule.record(reward)
    assert schedule.active, "not a monotonic rise"
    for reward in (0.71, 0.72):
        schedule.record(reward)
    assert not schedule.active
    assert schedule.calls == 0
    assert schedule.weight == 0
    for reward in (0.0, 0.0, 0.0, 0.0):
        schedule.record(reward)
    assert not schedule.active, "permanent"
