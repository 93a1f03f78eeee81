"""Writes labelled pictures as a YOLO data set: crops at native resolution, with polygons or end points as labels."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from contract.poses import Pose
from perception.detector import border, pad_to_stride

CROPS_PER_SAMPLE = 2
MIN_MASK_PX = 20
"""Of a cube that shows less than this (of about 260), a label would teach guessing."""
_EMPTY_SHARE = 0.1
_END_WINDOW_PX = 4
"""An end with none of the object this near in the picture is hidden."""


class Sample(Protocol):
    """What a renderer must give: rgb uint8 (H, W, 3), mask bool (H, W), the object's pose, the camera's pose and K."""

    @property
    def rgb(self) -> np.ndarray: ...

    @property
    def mask(self) -> np.ndarray: ...

    @property
    def pose_base_object(self) -> Pose: ...

    @property
    def T_base_camera(self) -> Pose: ...

    @property
    def K(self) -> np.ndarray: ...


@dataclass(frozen=True)
class Labelled:
    """A picture and what is to be found in it.

    rgb: uint8 (H, W, 3). mask: bool (H, W). ends_px: of a long object, the middles of its end faces, in the order of
    `ordered_ends`; NaN where hidden. Shape: (2, 2)
    """

    rgb: np.ndarray
    mask: np.ndarray
    ends_px: np.ndarray | None = None


def ordered_ends(ends_px: np.ndarray) -> np.ndarray:
    """The same two points, the one nearer to the picture's top left corner (smaller u + v) first. Shape: (2, 2)

    Ends that look alike need some order. Any has a direction across which it jumps, and near which a network learns
    the mean of both ends: not "the left one first", as that would be the direction of pegs that stand.
    """
    return ends_px[np.argsort(ends_px.sum(axis=1), kind="stable")]


def labelled(sample: Sample, half_length_m: float | None) -> Labelled:
    """A render with its label. half_length_m: of a long object along its own x axis; None for a compact one."""
    if half_length_m is None:
        return Labelled(sample.rgb, sample.mask)
    ends = sample.pose_base_object.apply(np.array([[-half_length_m, 0.0, 0.0], [half_length_m, 0.0, 0.0]]))
    seen = sample.T_base_camera.inverse().apply(ends) @ sample.K.T
    ends_px = ordered_ends(seen[:, :2] / seen[:, 2:])
    v, u = np.nonzero(sample.mask)
    for end in ends_px:
        if not np.any(np.hypot(u - end[0], v - end[1]) < _END_WINDOW_PX):
            end[:] = np.nan
    return Labelled(sample.rgb, sample.mask, ends_px)


def padded(picture: Labelled) -> Labelled:
    """With the border that the detector adds."""
    (top, _), (left, _) = (border(side) for side in picture.mask.shape)
    ends = None if picture.ends_px is None else picture.ends_px + (left, top)
    return Labelled(pad_to_stride(picture.rgb), pad_to_stride(picture.mask), ends)


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


def label_line(picture: Labelled) -> str:
    """The picture's line in YOLO's segmentation format, or for a long object in its pose format; '' for nothing."""
    if picture.ends_px is None:
        outline = polygon(picture.mask)
        return "" if outline is None else "0 " + " ".join(f"{value:.5f}" for value in outline.ravel()) + "\n"
    if picture.mask.sum() < MIN_MASK_PX:
        return ""
    height, width = picture.mask.shape
    v, u = np.nonzero(picture.mask)
    low, high = np.array([u.min(), v.min()]), np.array([u.max(), v.max()]) + 1
    numbers = [*((low + high) / 2 / (width, height)), *((high - low) / (width, height))]
    # Pixel centres are whole numbers here, half ones there. 2: visible, 0: no label.
    for x, y in (picture.ends_px + 0.5) / (width, height):
        numbers += [x, y, 2] if 0 <= x < 1 and 0 <= y < 1 else [0, 0, 0]
    return "0 " + " ".join(f"{value:.5f}" for value in numbers) + "\n"


def random_crop(rng: np.random.Generator, picture: Labelled, size: int) -> Labelled:
    """A square window, usually with the whole object anywhere in it."""
    mask, window = picture.mask, []
    empty = not mask.any() or rng.random() < _EMPTY_SHARE
    for side, seen in zip(mask.shape, (mask.any(axis=1), mask.any(axis=0)), strict=True):
        low, high = 0, side - size
        if not empty:
            inside = np.flatnonzero(seen)
            low, high = max(low, inside[-1] + 1 - size), min(high, inside[0])
        start = int(rng.integers(low, max(low, high) + 1))
        window.append(slice(start, start + size))
    rows, columns = window
    ends = None if picture.ends_px is None else picture.ends_px - (columns.start, rows.start)
    return Labelled(picture.rgb[rows, columns], mask[rows, columns], ends)


def sensor_noise(rng: np.random.Generator, rgb: np.ndarray) -> np.ndarray:
    """A little of what a real camera adds: defocus, motion blur, gain and pixel noise. Shape: (H, W, 3) uint8"""
    image: np.ndarray = rgb.astype(np.float32)
    if rng.random() < 0.3:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 0.9))
    if rng.random() < 0.15:
        image = cv2.filter2D(image, -1, _streak(rng.uniform(1.5, 5.0), rng.uniform(0.0, np.pi)))
    image = image * rng.uniform(0.85, 1.15) + rng.normal(0.0, rng.uniform(0.0, 6.0), image.shape)
    return np.clip(image, 0, 255).astype(np.uint8)


def _streak(length_px: float, angle: float) -> np.ndarray:
    """What a moving camera makes of a point. Shape: (7, 7), sums to 1"""
    kernel = np.zeros((7, 7), np.float32)
    way = 16 * length_px / 2 * np.array([np.cos(angle), np.sin(angle)])
    tips = [tuple(int(x) for x in np.round(16 * 3 + sign * way)) for sign in (-1, 1)]
    cv2.line(kernel, tips[0], tips[1], 1.0, 1, cv2.LINE_AA, shift=4)
    blurred: np.ndarray = kernel / kernel.sum()
    return blurred


def _write(folder: Path, name: str, picture: Labelled) -> None:
    cv2.imwrite(str(folder / "images" / f"{name}.png"), picture.rgb[..., ::-1])
    (folder / "labels" / f"{name}.txt").write_text(label_line(picture))


def _crops(rng: np.random.Generator, pictures: Iterable[Labelled], crop_px: int) -> Iterator[Labelled]:
    for picture in pictures:
        for _ in range(CROPS_PER_SAMPLE):
            noisy = Labelled(sensor_noise(rng, picture.rgb), picture.mask, picture.ends_px)
            yield random_crop(rng, padded(noisy), crop_px)


def write_dataset(
    folder: Path, train: Iterable[Labelled], validation: Iterable[Labelled], name: str, crop_px: int, seed: int
) -> tuple[int, int]:
    """Noisy crops for training, whole padded pictures for validation, and `data.yaml`. Returns how many of each."""
    parts = {"train": _crops(np.random.default_rng(seed), train, crop_px), "val": map(padded, validation)}
    counts, long = [], False
    for part, pictures in parts.items():
        for kind in ("images", "labels"):
            (folder / part / kind).mkdir(parents=True, exist_ok=True)
        numbers = itertools.count()
        for picture in pictures:
            _write(folder / part, f"{next(numbers):05d}", picture)
            long = picture.ends_px is not None
        counts.append(next(numbers))
    text = f"path: {folder.resolve()}\ntrain: train/images\nval: val/images\nnames:\n  0: {name}\n"
    if long:
        text += "kpt_shape: [2, 3]\nkpt_oks_sigmas: [0.1, 0.1]\n"
    (folder / "data.yaml").write_text(text)
    return counts[0], counts[1]
