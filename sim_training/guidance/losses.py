"""Guidance losses between the policy's action distribution (B, 7) and a teacher's targets: means over guided steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from contract.poses import cosine


@dataclass(frozen=True)
class Targets:
    """What a teacher wants on each of B steps, as normalised actions.

    mean: (B, 7). spread: (B, 7) standard deviation over the teacher's samples, for losses that compare distributions.
    valid: (B,) bool, the guided steps. free: (7,) bool, the components the task does not lock.
    """

    mean: Tensor
    spread: Tensor
    valid: Tensor
    free: Tensor

    def __getitem__(self, rows: Tensor) -> Targets:
        """Those of some steps."""
        return Targets(self.mean[rows], self.spread[rows], self.valid[rows], self.free)


GuidanceLoss = Callable[[Normal, Targets], Tensor]


def directional(distribution: Normal, targets: Targets, eps: float = 0.1) -> Tensor:
    """1 - cos between policy mean and teacher, summed over translation and rotation.

    A component whose teacher vector is shorter than `eps` has no direction and does not count. The gripper is never
    constrained. VLAJS, section III-C.
    """
    total = distribution.mean.new_zeros(())
    for component in (slice(0, 3), slice(3, 6)):
        taught = targets.mean[:, component]
        counts = targets.valid & (taught.norm(dim=-1) > eps)
        total = total + ((1 - cosine(distribution.mean[:, component], taught)) * counts).sum()
    return total / targets.valid.sum().clamp(min=1)


def squared_distance(distribution: Normal, targets: Targets) -> Tensor:
    """Squared Euclidean distance of the policy mean from the teacher's action. VLAJS (RPD) and Sparse RPD."""
    return _per_step((distribution.mean - targets.mean).square(), targets)


def mse(distribution: Normal, targets: Targets) -> Tensor:
    """The same as a mean over the action's components. RPD-MSE, equation 5."""
    return squared_distance(distribution, targets) / targets.free.sum()


def l1(distribution: Normal, targets: Targets) -> Tensor:
    """Mean absolute distance of the policy mean from the teacher's action. RPD-L1."""
    return _per_step((distribution.mean - targets.mean).abs(), targets) / targets.free.sum()


def likelihood(distribution: Normal, targets: Targets) -> Tensor:
    """Negative log-likelihood of the teacher's action under the policy. RPD-BC, equation 2."""
    return _per_step(-distribution.log_prob(targets.mean), targets)


def divergence(distribution: Normal, targets: Targets) -> Tensor:
    """KL divergence from the Gaussian fitted to the teacher's samples to the policy. RPD's baseline PPD.

    Both Gaussians are diagonal, as the policy is; the clipping of PPD's own paper is left out.
    """
    taught = Normal(targets.mean, targets.spread.clamp(min=0.05), validate_args=False)
    return _per_step(kl_divergence(taught, distribution), targets)


def _per_step(components: Tensor, targets: Targets) -> Tensor:
    """Sum over the free components, mean over the valid steps; 0 where none is valid. Shape: components (B, 7)"""
    counts = targets.valid[:, None] & targets.free
    return torch.where(counts, components, 0.0).sum() / targets.valid.sum().clamp(min=1)
