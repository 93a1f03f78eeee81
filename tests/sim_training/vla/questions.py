"""The questions that tiny models are asked, by their own libraries and through the teacher server; numpy only."""

from pathlib import Path

import numpy as np

INSTRUCTIONS = ["lift the red cube", "push", "lift the red cube", "put the peg upright", "push", "roll the ball"]
IMAGES = np.random.default_rng(0).integers(0, 256, (len(INSTRUCTIONS), 32, 32, 3), np.uint8).repeat(4, 1).repeat(4, 2)
"""Shape: (N, 128, 128, 3)"""
TCP = np.array([[0.5, 0.01 * i, 0.2, 0.0, np.cos(0.1 * i), np.sin(0.1 * i), 0.0] for i in range(len(INSTRUCTIONS))])
"""Metres and quaternion wxyz, base frame. Shape: (N, 7)"""
EXPECTED = "expected.npy"


def write_expected(folder: Path, actions: np.ndarray) -> None:
    """Keep what the model's own library answers row by row. Shape: (N, steps, 7)"""
    np.save(folder / EXPECTED, np.asarray(actions, np.float64))
