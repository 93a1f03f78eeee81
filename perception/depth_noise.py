"""What a stereo camera does to depth, so that rendered depth can be as bad as measured depth."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

DEPTH_SIGMA_AT_1M = 0.002
"""Metres; grows with the square of the distance. A D435 is allowed 2 % of the distance (datasheet 337029)."""


@dataclass(frozen=True)
class DepthNoise:
    """What goes wrong in one depth image of a stereo camera, whatever it looks at. All of shape (H, W).

    error: in standard deviations; neighbouring pixels err together. torn: where a jump in depth leaves a hole.
    known: False in spots where nothing is measured.
    """

    error: np.ndarray
    torn: np.ndarray
    known: np.ndarray

    @staticmethod
    def drawn(rng: np.random.Generator, shape: tuple[int, int]) -> DepthNoise:
        """Of one picture."""
        fine, coarse = rng.normal(size=shape), cv2.GaussianBlur(rng.normal(size=shape), (0, 0), 1.5)
        spots = cv2.GaussianBlur(rng.normal(size=shape), (0, 0), 2.5)
        return DepthNoise(
            error=(0.7 * fine + 0.7 * coarse / coarse.std()).astype(np.float32),
            torn=rng.random(shape) < 0.5,
            known=spots < spots.std() * rng.uniform(1.6, 3.0),
        )

    def on(self, depth_m: np.ndarray) -> np.ndarray:
        """That depth as it is measured: noise that grows with the square of the distance, and holes (0)."""
        noisy = depth_m + DEPTH_SIGMA_AT_1M * depth_m**2 * self.error
        # A jump of more than 3 % between neighbours hides one side from one of the two cameras.
        near, far = (f(depth_m.astype(np.float32), np.ones((3, 3), np.uint8)) for f in (cv2.erode, cv2.dilate))
        known = (depth_m > 0) & self.known & ~((far > 1.03 * near) & self.torn)
        return np.where(known, noisy, 0.0).astype(np.float32)


def noisy_depth(rng: np.random.Generator, depth_m: np.ndarray) -> np.ndarray:
    """Depth as a stereo camera sees it. Shape: (H, W), 0 where unknown"""
    return DepthNoise.drawn(rng, depth_m.shape).on(depth_m)
