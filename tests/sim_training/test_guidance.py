"""Guidance: losses against cases computed by hand, who is asked when, and when it ends."""

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import Normal

from contract.tasks import LIFT_CUBE
from sim_training.guidance import losses
from sim_training.guidance.algorithms import ALGORITHMS
from sim_training.guidance.losses import Targets
from sim_training.guidance.queries import GuidanceTargets
from sim_training.guidance.schedule import Persistent, ScheduleConfig, Silent, Transient
from sim_training.settings import Config
from sim_training.teachers.teacher import Answer, BadAnswer, checked

CPU = torch.device("cpu")
ALL = torch.ones(7, dtype=torch.bool)
PULLING = [name for name, algorithm in ALGORITHMS.items() if algorithm.loss is not None]


def _policy(mean: list[list[float]], std: float = 1.0) -> Normal:
    at = torch.tensor(mean, requires_grad=True)
    return Normal(at, torch.full_like(at, std))


def _targets(mean: list[list[float]], valid: list[bool], spread: float = 0.1, free: Tensor = ALL) -> Targets:
    target = torch.tensor(mean)
    return Targets(target, torch.full_like(target, spread), torch.tensor(valid), free)


def _answer(delta: Tensor) -> Answer:
    return Answer(delta, torch.ones(len(delta), dtype=torch.bool))


def test_the_directional_loss_ignores_magnitude_and_the_gripper() -> None:
    policy = _policy([[0.01, 0, 0, 0, 0, 5.0, -1.0]])
    assert losses.directional(policy, _targets([[1.0, 0, 0, 0, 0, 1.0, 1.0]], [True])).item() == pytest.approx(
        0, abs=1e-3
    )


def test_the_directional_loss_is_two_for_opposite_directions_and_one_for_perpendicular_ones() -> None:
    target = _targets([[1.0, 0, 0, 0, 0, 0, 0]], [True])
    assert losses.directional(_policy([[-1.0, 0, 0, 0, 0, 0, 0]]), target).item() == pytest.approx(2.0, abs=1e-3)
    assert losses.directional(_policy([[0, 1.0, 0, 0, 0, 0, 0]]), target).item() == pytest.approx(1.0, abs=1e-3)


def test_steps_without_guidance_and_components_without_direction_do_not_count() -> None:
    policy = _policy([[-1.0] * 7] * 2)
    loss = losses.directional(policy, _targets([[1.0, 0, 0, 0, 0, 0, 0], [0.0] * 7], [True, False]))
    (gradient,) = torch.autograd.grad(loss, policy.mean)
    assert loss.item() == pytest.approx(1 + 1 / math.sqrt(3), abs=1e-3)
    assert gradient[1].abs().max() == 0
    assert gradient[0, 3:].abs().max() == 0


def test_rpd_s_loss_is_the_mean_squared_distance_and_vlajs_rpd_s_the_sum() -> None:
    policy = _policy([[0.5, 0, 0, 0, 0, 0, 1.0], [9.0] * 7])
    targets = _targets([[1.0, 0, 0, 0, 0, 0, -1.0], [0.0] * 7], [True, False])
    assert losses.mse(policy, targets).item() == pytest.approx((0.5**2 + 2.0**2) / 7)
    assert losses.squared_distance(policy, targets).item() == pytest.approx(0.5**2 + 2.0**2)


def test_a_direction_shorter_than_a_tenth_of_full_scale_does_not_count() -> None:
    policy = _policy([[0, 0, 1.0, 0, 0, 0, 0]])
    short, long = ([[x, 0, 0, 0, 0, 0, 0]] for x in (0.099, 0.101))
    assert losses.directional(policy, _targets(short, [True])).item() == 0
    assert losses.directional(policy, _targets(long, [True])).item() == pytest.approx(1.0, abs=1e-3)


def test_the_l1_loss_is_the_mean_distance_and_locked_components_are_left_out() -> None:
    free = torch.tensor([True, True, True, False, False, True, True])
    policy = _policy([[0.5, 0, 0, 7.0, 7.0, 0, 1.0]])
    target = _targets([[1.0, 0, 0, 0, 0, 0, -1.0]], [True], free=free)
    assert losses.l1(policy, target).item() == pytest.approx((0.5 + 2.0) / 5)


def test_the_likelihood_loss_also_pulls_the_standard_deviation() -> None:
    target = _targets([[0.0] * 7], [True])
    wide, narrow = (losses.likelihood(_policy([[0.0] * 7], std), target).item() for std in (1.0, 0.1))
    assert wide == pytest.approx(7 * 0.5 * math.log(2 * math.pi))
    assert narrow == pytest.approx(wide + 7 * math.log(0.1))


def test_the_divergence_is_zero_for_the_teacher_s_own_distribution_and_kullback_and_leibler_s_otherwise() -> None:
    target = _targets([[0.2] * 7], [True], spread=0.5)
    assert losses.divergence(_policy([[0.2] * 7], 0.5), target).item() == pytest.approx(0, abs=1e-6)
    by_hand = 7 * (math.log(1.0 / 0.5) + (0.5**2 + 0.3**2) / 2 - 0.5)
    assert losses.divergence(_policy([[0.5] * 7], 1.0), target).item() == pytest.approx(by_hand, rel=1e-5)


@pytest.mark.parametrize("name", PULLING)
def test_every_loss_moves_the_policy_towards_the_teacher_and_is_zero_without_guided_steps(name: str) -> None:
    loss = ALGORITHMS[name].loss
    assert loss is not None
    policy = _policy([[0.0, 0.3, 0, 0, 0, 0.2, 0]])
    target = [[0.5, 0.3, 0, 0, 0, -0.2, 0]]
    (gradient,) = torch.autograd.grad(loss(policy, _targets(target, [True])), policy.mean)
    assert gradient[0, 0] < 0
    assert gradient[0, 5] > 0
    nothing = loss(policy, _targets(target, [False]))
    (gradient,) = torch.autograd.grad(nothing, policy.mean)
    assert nothing.item() == 0
    assert gradient.abs().max() == 0


def test_one_answer_is_spread_over_d_steps_and_ends_with_its_episode() -> None:
    guidance = GuidanceTargets(LIFT_CUBE, length=10, count=2, calls=1, increments=5, device=CPU)
    delta = torch.tensor([[0.05, 0, 0, 0, 0, 0.3, 1.0]]).repeat(2, 1)
    guidance.add(2, torch.arange(2), [_answer(delta)])
    guidance.end_episodes(3, torch.tensor([True, False]))
    assert guidance.valid[:, 1].nonzero()[:, 0].tolist() == [2, 3, 4, 5, 6]
    assert guidance.valid[:, 0].nonzero()[:, 0].tolist() == [2, 3]
    moved = guidance.mean[2:7, 1, 0].sum() * LIFT_CUBE.translation_scale_m
    turned = guidance.mean[2:7, 1, 5].sum() * LIFT_CUBE.rotation_scale_rad[2]
    assert moved == pytest.approx(0.05)
    assert turned == pytest.approx(0.3)


def test_a_target_is_never_faster_than_the_task_allows() -> None:
    guidance = GuidanceTargets(LIFT_CUBE, length=5, count=1, calls=1, increments=5, device=CPU)
    guidance.add(0, torch.arange(1), [_answer(torch.tensor([[3.0, 4.0, 0, 0, 0, -9.0, 5.0]]))])
    torch.testing.assert_close(guidance.mean[0, 0], torch.tensor([0.6, 0.8, 0, 0, 0, -1.0, 1.0]))


def test_several_samples_become_their_mean_and_spread() -> None:
    guidance = GuidanceTargets(LIFT_CUBE, length=5, count=1, calls=5, increments=1, device=CPU)
    low, high = (torch.tensor([[x, 0, 0, 0, 0, 0, 1.0]]) * LIFT_CUBE.translation_scale_m for x in (0.2, 0.6))
    guidance.add(0, torch.arange(1), [_answer(low), _answer(high)])
    assert guidance.mean[0, 0, 0].item() == pytest.approx(0.4)
    assert guidance.spread[0, 0, 0].item() == pytest.approx(0.2)


def test_a_budget_asks_about_some_environments_and_in_the_end_about_all_alike() -> None:
    torch.manual_seed(0)
    guidance = GuidanceTargets(LIFT_CUBE, length=10, count=8, calls=2, increments=5, device=CPU)
    drawn = torch.stack([guidance.rows(share=0.5) for _ in range(400)])
    assert drawn.shape == (400, 4)
    assert all(len(set(rows.tolist())) == 4 for rows in drawn)
    assert (drawn.flatten().bincount(minlength=8) - 200).abs().max() < 60
    guidance.add(5, drawn[0], [_answer(torch.ones(4, 7))])
    assert guidance.valid[5].nonzero()[:, 0].tolist() == drawn[0].tolist()


def test_by_default_a_fifth_of_all_steps_is_guided_and_fewer_are_asked_about() -> None:
    config = Config()
    calls = config.schedule.calls_max
    guidance = GuidanceTargets(LIFT_CUBE, config.rollout, 100, calls, config.increments, CPU)
    asked = 0
    for step in sorted(guidance.query_steps):
        rows = guidance.rows(config.guided_share)
        guidance.add(step, rows, [_answer(torch.ones(len(rows), 7))])
        asked += len(rows)
    assert guidance.valid.float().mean().item() == pytest.approx(0.2)
    assert asked / guidance.valid.numel() == pytest.approx(0.04)


def test_an_answer_that_is_not_finite_guides_nothing_and_one_of_another_shape_is_refused() -> None:
    delta = torch.ones(2, 7)
    delta[1, 3] = math.nan
    answer = checked(_answer(delta), 2, "broken")
    assert answer.valid.tolist() == [True, False]
    assert torch.isfinite(answer.delta).all()
    with pytest.raises(BadAnswer, match="broken"):
        checked(_answer(torch.ones(2, 6)), 2, "broken")


def test_fewer_calls_as_reward_rises_but_never_fewer_than_the_least() -> None:
    schedule = Transient(ScheduleConfig(threshold=1e9, window=2), calls_max=5)
    calls = []
    for reward in (0.0, 0.0, 0.0, 0.0, 0.5, 0.5, 9.0, 9.0):
        schedule.record(reward)
        calls.append(schedule.calls)
    assert calls[3] == 5
    assert calls[5] == math.floor(5 * math.exp(-math.log(5) * 0.5))
    assert calls[7] == 1


def test_the_weight_follows_the_query_rate() -> None:
    schedule = ALGORITHMS["vlajs"].start(ScheduleConfig(threshold=1e9, window=2), rollout=50)
    weights = []
    for reward in (0.0, 0.0, 0.0, 0.0, 0.5, 0.5):
        schedule.record(reward)
        weights.append(schedule.weight)
    assert weights[3] == 0.5
    assert weights[5] == pytest.approx(0.5 * schedule.calls / 5)
    assert schedule.calls == 2


def test_where_success_is_paid_once_an_episode_guidance_ends_when_half_of_the_episodes_succeed() -> None:
    schedule = ALGORITHMS["vlajs"].start(ScheduleConfig(threshold=0.5, window=3), rollout=50, best_reward=0.01)
    for succeeded in (0.4, 0.45, 0.49):
        schedule.record(succeeded / 100)
    assert schedule.active
    schedule.record(0.51 / 100)
    assert not schedule.active


def test_guidance_ends_for_good_after_a_monotonic_rise_beyond_the_threshold() -> None:
    schedule = Transient(ScheduleConfig(threshold=0.5, window=3), calls_max=5)
    for reward in (0.6, 0.55, 0.7):
        schedule.record(reward)
    assert schedule.active, "not a monotonic rise"
    for reward in (0.71, 0.72):
        schedule.record(reward)
    assert not schedule.active
    assert schedule.calls == 0
    assert schedule.weight == 0
    again = Transient(ScheduleConfig(), calls_max=5)
    again.restore(schedule.state())
    for reward in (0.0, 0.0, 0.0, 0.0):
        again.record(reward)
    assert not again.active, "permanent, also across a checkpoint"


def test_the_threshold_may_be_a_share_of_what_there_was_to_gain() -> None:
    rewards = (0.4, 0.5, 0.6, 0.65)
    for kind, ended in (("reward", True), ("gain", False)):
        schedule = Transient(ScheduleConfig(threshold=0.5, threshold_of=kind, window=3), calls_max=5)
        for reward in rewards:
            schedule.record(reward)
        assert schedule.active is not ended, kind
    again = Transient(ScheduleConfig(threshold=0.5, threshold_of="gain", window=3), calls_max=5)
    again.restore(schedule.state())
    again.record(0.71)
    assert not again.active, "(0.71 - 0.4) / (1 - 0.4) is more than half"


def test_plain_ppo_never_asks_and_rpd_asks_at_every_step_for_ever() -> None:
    silent = ALGORITHMS["ppo"].start(ScheduleConfig(), rollout=50)
    dense = ALGORITHMS["rpd_mse"].start(ScheduleConfig(), rollout=50)
    sparse = ALGORITHMS["sparse_rpd"].start(ScheduleConfig(), rollout=50)
    assert isinstance(silent, Silent)
    assert isinstance(sparse, Persistent)
    for schedule in (silent, dense, sparse):
        for reward in range(10):
            schedule.record(float(reward))
    assert (silent.calls, silent.weight, silent.active) == (0, 0.0, False)
    assert (dense.calls, sparse.calls) == (50, 5)
    assert (dense.weight, sparse.weight) == (1.0, 0.5)
    assert ALGORITHMS["rpd_mse"].start(ScheduleConfig(weight=0.3), rollout=50).weight == 0.3
    targets = GuidanceTargets(LIFT_CUBE, length=50, count=1, calls=dense.calls, increments=5, device=CPU)
    assert targets.query_steps == set(range(50))
