"""The impedance loop as a second-order response to a commanded path, solved exactly over one control tick.

    x'' = w² (r - x) + 2 z w (g r' - x')      r: reference, linear over a tick; g: share of its velocity fed forward

A ramp is followed 2 z (1 - g) / w seconds late; around that the error decays freely: a 2 x 2 matrix a tick.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class SecondOrder:
    """frequency: w in rad/s; damping: z; feedforward: g. Floats, or tensors of shape (N,) for N environments."""

    frequency: float | Tensor
    damping: float | Tensor
    feedforward: float | Tensor

    def scaled(self, factor: Tensor) -> SecondOrder:
        """The same with another frequency. Shape: (N,)"""
        return replace(self, frequency=self.frequency * factor)


@dataclass(frozen=True)
class ImpedanceResponse:
    """How tool position and orientation answer a command."""

    translation: SecondOrder
    rotation: SecondOrder

    def scaled(self, factor: Tensor) -> ImpedanceResponse:
        """Both frequencies times `factor`. Shape: (N,)"""
        return ImpedanceResponse(self.translation.scaled(factor), self.rotation.scaled(factor))


FITTED_RESPONSE = ImpedanceResponse(
    translation=SecondOrder(frequency=16.7, damping=0.675, feedforward=0.295),
    rotation=SecondOrder(frequency=25.8, damping=0.845, feedforward=0.0),
)
"""Least squares on the mock cell's recording: 1.3 mm and 0.04 degrees rms over 60 mm and 0.3 rad at full rate."""


@dataclass
class Transition:
    """What one tick does to (offset from the reference, velocity). lag (N, 1) s; phi (N, 2, 2)."""

    lag: Tensor
    phi: Tensor

    @staticmethod
    def of(response: SecondOrder, period_s: float, count: int, device: torch.device) -> Transition:
        """The exact transition over `period_s` for `count` environments."""
        w, z, g = (
            torch.as_tensor(v, dtype=torch.float32, device=device).expand(count)
            for v in (response.frequency, response.damping, response.feedforward)
        )
        zero = torch.zeros_like(w)
        generator = torch.stack([torch.stack([zero, zero + 1], -1), torch.stack([-w * w, -2 * z * w], -1)], -2)
        return Transition((2 * z * (1 - g) / w)[:, None], torch.linalg.matrix_exp(generator * period_s))

    def replace(self, rows: Tensor, other: Transition) -> None:
        """Take over the other's rows. Shape: (N,) bool"""
        self.lag[rows], self.phi[rows] = other.lag[rows], other.phi[rows]

    def advance(self, offset: Tensor, velocity: Tensor, reference_velocity: Tensor) -> tuple[Tensor, Tensor]:
        """Offset from the tick's end reference, and velocity there, from the same at its start. Shapes: (N, 3)"""
        error = offset + self.lag * reference_velocity
        rate = velocity - reference_velocity
        phi = self.phi
        return (
            phi[:, 0, :1] * error + phi[:, 0, 1:] * rate - self.lag * reference_velocity,
            phi[:, 1, :1] * error + phi[:, 1, 1:] * rate + reference_velocity,
        )
