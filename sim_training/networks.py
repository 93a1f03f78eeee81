"""Actor, critic and the running normaliser of what they see."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.distributions import Normal


def mlp(sizes: list[int], last_gain: float) -> nn.Sequential:
    """Linear layers with tanh between them, orthogonal weights, zero biases."""
    layers: list[nn.Module] = []
    for i, (n_in, n_out) in enumerate(zip(sizes, sizes[1:], strict=False)):
        linear = nn.Linear(n_in, n_out)
        last = i == len(sizes) - 2
        nn.init.orthogonal_(linear.weight, last_gain if last else math.sqrt(2))
        nn.init.zeros_(linear.bias)
        layers += [linear] if last else [linear, nn.Tanh()]
    return nn.Sequential(*layers)


_LEAST_STD = 0.05
"""Metres, radians, or shares: what stood still while the statistics were taken, like the height of an object not yet
lifted, must stay visible once it moves."""


class Normaliser(nn.Module):
    """Running mean and variance over everything seen; clips to ten standard deviations."""

    mean: Tensor
    variance: Tensor
    count: Tensor

    def __init__(self, size: int):
        super().__init__()
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("variance", torch.ones(size))
        self.register_buffer("count", torch.tensor(1e-4, dtype=torch.float64))

    def update(self, mean: Tensor, variance: Tensor, count: float) -> None:
        """Merge the statistics of a batch (Chan et al. 1979). Shapes: (n,), (n,)"""
        total = self.count + count
        delta = mean - self.mean
        share = (count / total).float()
        self.variance = (
            self.variance * (1 - share) + variance * share + delta.square() * share * (self.count / total).float()
        )
        self.mean = self.mean + delta * share
        self.count = total

    @property
    def std(self) -> Tensor:
        """What is divided by, never less than `_LEAST_STD`. Shape: (n,)"""
        return torch.sqrt(self.variance + _LEAST_STD**2)

    def forward(self, x: Tensor) -> Tensor:
        """Shape: (..., n)"""
        return torch.clip((x - self.mean) / self.std, -10.0, 10.0)


_COARSE, _FINE = 1.0, 0.03
"""Scale of the two looks: standard deviations from the mean, and metres (or radians) from zero."""


class ActorCritic(nn.Module):
    """The actor sees the first `policy_size` numbers of an observation, the critic all of them.

    Both look at each number twice: over the whole range that it has, and closely around zero. Distances matter to the
    centimetre near contact, which a network of the range alone is slow to resolve.
    """

    def __init__(self, policy_size: int, observation_size: int, log_std: list[float], hidden: int):
        super().__init__()
        self.policy_size = policy_size
        self.normaliser = Normaliser(observation_size)
        self.actor = mlp([2 * policy_size, hidden, hidden, len(log_std)], last_gain=0.5)
        self.critic = mlp([2 * observation_size, hidden, hidden, 1], last_gain=1.0)
        self.log_std = nn.Parameter(torch.tensor(log_std), requires_grad=False)

    def mean(self, observation: Tensor) -> Tensor:
        """Mean action. Shape: (..., observation_size) -> (..., action_size)"""
        return self.actor(self._looks(observation, self.policy_size))

    def value(self, observation: Tensor) -> Tensor:
        """Expected return. Shape: (..., observation_size) -> (...)"""
        return self.critic(self._looks(observation, observation.shape[-1]))[..., 0]

    def _looks(self, observation: Tensor, size: int) -> Tensor:
        """Of the first `size` numbers. Shape: (..., n) -> (..., 2 * size)"""
        seen, normaliser = self.normaliser(observation)[..., :size], self.normaliser
        fine = (seen * normaliser.std[:size] + normaliser.mean[:size]) / _FINE
        return torch.tanh(torch.cat([seen / _COARSE, fine], -1))

    def deployed_actor(self) -> nn.Sequential:
        """The actor with its two looks as a first layer: from normalised observations to the mean action."""
        looks = nn.Linear(self.policy_size, 2 * self.policy_size)
        std, mean = self.normaliser.std[: self.policy_size], self.normaliser.mean[: self.policy_size]
        coarse = torch.eye(self.policy_size, device=std.device) / _COARSE
        with torch.no_grad():
            looks.weight.copy_(torch.cat([coarse, torch.diag(std) / _FINE]))
            looks.bias.copy_(torch.cat([torch.zeros_like(mean), mean / _FINE]))
        return nn.Sequential(looks, nn.Tanh(), *self.actor)

    def distribution(self, observation: Tensor) -> Normal:
        """Independent Gaussians around the mean action."""
        mean = self.mean(observation)
        return Normal(mean, self.log_std.exp().expand_as(mean), validate_args=False)
