"""The small generalist: a light convolutional network per camera, told by the words what matters; a mixture head."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from contract.generalist import WORD_COUNT

_CHANNELS, _WORDS, _SEEN, _HIDDEN = (16, 32, 12), 32, 48, 256
_STRIDE, _LEAK = 8, 0.1
"""Pixels from one feature that is looked at to the next; slope of what would be cut off, or features die early."""
_LEAST_STD = 0.05
"""Of a component, in normalised units: below it the likelihood would reward memorising."""


@dataclass(frozen=True)
class Mixture:
    """Of K Gaussians with diagonal covariance over the motion, and the chance that the gripper is open.

    logits: (B, K). mean, std: (B, K, 6), normalised. open_logit: (B,)
    """

    logits: Tensor
    mean: Tensor
    std: Tensor
    open_logit: Tensor

    def negative_log_likelihood(self, motion: Tensor, is_open: Tensor, free: Tensor) -> Tensor:
        """Of actions that were taken. motion: (B, 6) normalised. is_open: (B,) 0 or 1. free: (6,) bool. Shape: (B,)"""
        off = (motion[:, None] - self.mean) / self.std
        log_density = (-0.5 * off.square() - self.std.log()) * free
        of_motion = torch.logsumexp(F.log_softmax(self.logits, -1) + log_density.sum(-1), -1)
        return F.binary_cross_entropy_with_logits(self.open_logit, is_open, reduction="none") - of_motion

    def best(self) -> Tensor:
        """Mean of the likeliest component, and the gripper above or below 0. Shape: (B, 7)"""
        index = self.logits.argmax(-1)[:, None, None].expand(-1, 1, 6)
        return torch.cat([self.mean.gather(1, index)[:, 0], self.open_logit[:, None]], -1)


class Eye(nn.Module):
    """One camera's picture as a few dozen numbers; what they are may depend on the words (FiLM)."""

    def __init__(self, side_px: int) -> None:
        super().__init__()
        first, second, third = _CHANNELS
        self.first = nn.Conv2d(3, first, 7, 4, 3)
        self.second = nn.Conv2d(first, second, 3, 2, 1)
        self.third = nn.Conv2d(second, second, 3, 1, 1)
        self.fourth = nn.Conv2d(second, third, 1)
        self.film = nn.Linear(_WORDS, 2 * second)
        cells = math.ceil(side_px / _STRIDE) ** 2
        self.seen, self.norm = nn.Linear(third * cells, _SEEN), nn.LayerNorm(_SEEN)

    def forward(self, pictures: Tensor, told: Tensor) -> Tensor:
        """Shapes: (B, 3, H, W) about 0, (B, _WORDS) -> (B, _SEEN)"""
        scale, shift = self.film(told)[:, :, None, None].chunk(2, 1)
        # A third less time where the processor knows bfloat16; pictures have eight bits.
        with torch.autocast(pictures.device.type, torch.bfloat16, enabled=self.training):
            x = F.leaky_relu(self.first(pictures), _LEAK)
            x = F.leaky_relu(self.second(x) * (1 + scale) + shift, _LEAK)
            x = F.leaky_relu(self.fourth(F.leaky_relu(self.third(x), _LEAK)), _LEAK)
            x = self.seen(x.flatten(1))
        return torch.tanh(self.norm(x.float()))


class GeneralistNetwork(nn.Module):
    """Pictures of some cameras and a bag of words in, a mixture over actions out."""

    def __init__(self, cameras: tuple[str, ...], side_px: int, components: int = 4) -> None:
        super().__init__()
        self.cameras, self._components = cameras, components
        self.told = nn.Linear(WORD_COUNT, _WORDS)
        nn.init.normal_(self.told.weight, std=0.5)  # or what is said would be a whisper beside what is seen
        self.eyes = nn.ModuleDict({camera: Eye(side_px) for camera in cameras})
        self.head = nn.Sequential(
            nn.Linear(_SEEN * len(cameras) + _WORDS, _HIDDEN),
            nn.ReLU(),
            nn.Linear(_HIDDEN, _HIDDEN),
            nn.ReLU(),
            nn.Linear(_HIDDEN, components * 13 + 1),
        )

    def forward(self, pictures: dict[str, Tensor], words: Tensor) -> Mixture:
        """pictures: camera to (B, H, W, 3) uint8, or the same as floats 0..255. words: (B, WORD_COUNT)"""
        told = torch.tanh(self.told(words))
        seen = [
            self.eyes[camera](pictures[camera].permute(0, 3, 1, 2).float() / 127.5 - 1, told) for camera in self.cameras
        ]
        out = self.head(torch.cat([*seen, told], -1))
        logits, rest = out[:, : self._components], out[:, self._components : -1]
        mean, spread = rest.unflatten(-1, (self._components, 12)).chunk(2, -1)
        return Mixture(logits, mean, F.softplus(spread) + _LEAST_STD, out[:, -1])


class Deployed(nn.Module):
    """The network as it is exported: the likeliest action only."""

    def __init__(self, network: GeneralistNetwork) -> None:
        super().__init__()
        self._network = network

    def forward(self, *inputs: Tensor) -> Tensor:
        """One (B, H, W, 3) uint8 per camera, then words (B, WORD_COUNT) -> (B, 7)"""
        *pictures, words = inputs
        best: Tensor = self._network(dict(zip(self._network.cameras, pictures, strict=True)), words).best()
        return best
