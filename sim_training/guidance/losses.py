"""Guidance losses between the policy's mean action and a teacher's target."""

from __future__ import annotations

from torch import Tensor

from contract.poses import cosine


def directional_loss(mean: Tensor, target: Tensor, valid: Tensor, eps: float = 1e-6) -> Tensor:
    """1 - cos between policy and teacher, summed over translation and rotation, averaged over guided steps.

    Shapes: mean (B, 7), target (B, 7), valid (B,) bool. A component whose teacher vector is shorter than `eps`
    has no direction and does not count. The gripper is never constrained. VLAJS, section III-C.
    """
    total = mean.new_zeros(())
    for component in (slice(0, 3), slice(3, 6)):
        taught = target[:, component]
        counts = valid & (taught.norm(dim=-1) > eps)
        total = total + ((1 - cosine(mean[:, component], taught)) * counts).sum()
    return total / valid.sum().clamp(min=1)
