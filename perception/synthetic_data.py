"""Writes labelled pictures as a YOLO segmentation data set: crops at native resolution, polygons from masks."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from perception.detector import pad_to_stride

CROPS_PER_SAMPLE = 2
MIN_MASK_PX = 20
"""Of a cube that shows less than this (of about 260), a label would teach guessing."""
_EMPTY_SHARE = 0.1


class Sample(Protocol):
    """What a renderer must give: rgb uint8 (H, W, 3) and mask bool (H, W)."""

    @property
    def rgb(self) -> np.ndarray: ...

    @property
    def mask(self) -> np.ndarray: ...


def polygon(mask: np.ndarray) -> np.ndarray | None:
    """Outline of the largest blob through the outer edges of its pixels, normalised to 0..1; None if too small.

    Shape: (H, W) bool -> (N, 2)
    """
    # Traced at four times the size: contours run through pixel centres and would cost half a pixel all around.
    scale = 4
    enlarged = cv2.resize(mask.astype(np.uint8), None, fx=scale, fy=scale, interpolation=cv2.INTER_NEAREST)
    outlines, _ = cv2.findContours(enlarged, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    if mask.sum() < MIN_MASK_PX:
        return None
    outline = max(outlines, key=cv2.contourArea)[:, 0, :].astype(float)
    height, width = enlarged.shape
    points: np.ndarray = (outline + 0.5) / (width, height)
    return points


def random_crop(
    rng: np.random.Generator, rgb: np.ndarray, mask: np.ndarray, size: int
) -> tuple[np.ndarray, np.ndarray]:
    """A square window, usually with the whole cube anywhere in it. Shapes: (size, size, 3), (size, size)"""
    window = []
    empty = not mask.any() or rng.random() < _EMPTY_SHARE
    for side, seen in zip(mask.shape, (mask.any(axis=1), mask.any(axis=0)), strict=True):
        low, high = 0, side - size
        if not empty:
            inside = np.flatnonzero(seen)
            low, high = max(low, inside[-1] + 1 - size), min(high, inside[0])
        start = int(rng.integers(low, max(low, high) + 1))
        window.append(slice(start, start + size))
    rows, columns = window
    return rgb[rows, columns], mask[rows, columns]


def sensor_noise(rng: np.random.Generator, rgb: np.ndarray) -> np.ndarray:
    """A little of what a real camera adds: defocus, gain and pixel noise. Shape: (H, W, 3) uint8"""
    image: np.ndarray = rgb.astype(np.float32)
    if rng.random() < 0.3:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 0.9))
    image = image * rng.uniform(0.85, 1.15) + rng.normal(0.0, rng.uniform(0.0, 6.0), image.shape)
    return np.clip(image, 0, 255).astype(np.uint8)


def _write(folder: Path, name: str, rgb: np.ndarray, mask: np.ndarray) -> None:
    cv2.imwrite(str(folder / "images" / f"{name}.png"), rgb[..., ::-1])
    outline = polygon(mask)
    line = "" if outline is None else "0 " + " ".join(f"{value:.5f}" for value in outline.ravel()) + "\n"
    (folder / "labels" / f"{name}.txt").write_text(line)


def write_dataset(
    folder: Path, train: Iterable[Sample], validation: Iterable[Sample], name: str, crop_px: int, seed: int
) -> tuple[int, int]:
    """Noisy crops for training, whole padded pictures for validation, and `data.yaml`. Returns how many of each."""
    rng = np.random.default_rng(seed)
    counts = []
    for part, samples, crops in (("train", train, CROPS_PER_SAMPLE), ("val", validation, 0)):
        for kind in ("images", "labels"):
            (folder / part / kind).mkdir(parents=True, exist_ok=True)
        written = 0
        for sample in samples:
            rgb, mask = pad_to_stride(sample.rgb), pad_to_stride(sample.mask)
            pictures = [random_crop(rng, sensor_noise(rng, rgb), mask, crop_px) for _ in range(crops)]
            for picture in pictures or [(rgb, mask)]:
                _write(folder / part, f"{written:05d}", *picture)
                written += 1
        counts.append(written)
    text = f"path: {folder.resolve()}\ntrain: train/images\nval: val/images\nnames:\n  0: {name}\n"
    (folder / "data.yaml").write_text(text)
    return counts[0], counts[1]
