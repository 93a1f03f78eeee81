"""Hand-labelled real frames in the YOLO format: `images/`, `labels/` and, if classes have names, `data.yaml`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from perception.synthetic_data import Labelled, ordered_ends

_ENDINGS = {".png", ".jpg", ".jpeg"}
_POSE_NUMBERS = 11
"""Class, box, and x, y, visibility of two end points."""


class BadRealFrames(ValueError):
    """The folder of real frames cannot be used. Correct what the message names and start again."""


def read_frames(folder: Path, name: str, crop_px: int, is_long: bool) -> list[Labelled]:
    """All frames of a folder, in the order of their names. Raises BadRealFrames.

    name: the one class to learn; class 0 where no data.yaml says otherwise. crop_px: no picture may be smaller.
    is_long: labels are in YOLO's pose format with two end points rather than polygons. No label file: nothing to see.
    """
    images = sorted(path for path in (folder / "images").glob("*") if path.suffix.lower() in _ENDINGS)
    if not images:
        raise BadRealFrames(f"There are no .png or .jpg pictures in {folder / 'images'}; put the real frames there.")
    known = {image.stem for image in images}
    for label in sorted((folder / "labels").glob("*.txt")):
        if label.stem not in known and label.stem != "classes":
            raise BadRealFrames(f"{label} has no picture in images/; remove it or add the picture.")
    class_id = _class_id(folder / "data.yaml", name)
    return [_read(image, folder / "labels" / f"{image.stem}.txt", class_id, name, crop_px, is_long) for image in images]


def split(frames: list[Labelled]) -> tuple[list[Labelled], list[Labelled]]:
    """To train on, and every tenth, at least one, to validate on."""
    kept = frames[9::10] or frames[-1:]
    return [frame for frame in frames if not any(frame is other for other in kept)], kept


def _class_id(path: Path, name: str) -> int:
    if not path.is_file():
        return 0
    import yaml

    try:
        names = yaml.safe_load(path.read_text())["names"]
        named = dict(enumerate(names)) if isinstance(names, list) else {int(k): v for k, v in names.items()}
    except (yaml.YAMLError, UnicodeDecodeError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise BadRealFrames(f"{path} does not list its classes under 'names'; write e.g. names: [{name}].") from error
    unknown = sorted(str(other) for other in named.values() if other != name)
    if unknown or not named:
        raise BadRealFrames(
            f"{path} names {', '.join(unknown) or 'no class'}; this detector learns '{name}' only: relabel or remove."
        )
    return next(iter(named))


def _read(image: Path, label: Path, class_id: int, name: str, crop_px: int, is_long: bool) -> Labelled:
    bgr = cv2.imread(str(image))
    if bgr is None:
        raise BadRealFrames(f"{image} is not a readable picture; remove it or record it again.")
    height, width = bgr.shape[:2]
    if min(height, width) < crop_px:
        raise BadRealFrames(f"{image} is {width}x{height} pixels; it must be at least {crop_px} both ways.")
    rows = list(_rows(label, class_id, name)) if label.is_file() else []
    if len(rows) > 1 and is_long:
        raise BadRealFrames(f"{label} has {len(rows)} objects; label the one {name} of the picture only.")
    mask, ends = np.zeros((height, width), np.uint8), np.full((2, 2), np.nan)
    for line, numbers in rows:
        if is_long:
            low, high, *ends_px = _box_and_ends(numbers, f"{label}, line {line}") * (width, height) - 0.5
            cv2.rectangle(mask, np.ceil(low).astype(int).tolist(), np.floor(high).astype(int).tolist(), 1, cv2.FILLED)
            ends = np.array(ends_px)
            ends = ordered_ends(ends) if np.isfinite(ends).all() else ends
        else:
            outline = _outline(numbers, f"{label}, line {line}") * (width, height) - 0.5
            cv2.fillPoly(mask, [np.round(outline * 16).astype(np.int32)], 1, shift=4)
    return Labelled(np.ascontiguousarray(bgr[..., ::-1]), mask > 0, ends if is_long else None)


def _rows(label: Path, class_id: int, name: str) -> Iterator[tuple[int, np.ndarray]]:
    """Line number and numbers after the class of every object."""
    try:
        lines = label.read_text().splitlines()
    except UnicodeDecodeError as error:
        raise BadRealFrames(f"{label} is not a text file; write it again in the YOLO format.") from error
    for line, text in enumerate(lines, start=1):
        if not text.strip():
            continue
        try:
            numbers = np.array([float(word) for word in text.split()])
        except ValueError as error:
            raise BadRealFrames(f"{label}, line {line}: not a row of numbers; write it in the YOLO format.") from error
        if numbers[0] != class_id:
            raise BadRealFrames(f"{label}, line {line}: class {text.split()[0]} is unknown; '{name}' is {class_id}.")
        if not np.isfinite(numbers).all() or np.any(numbers[1:] < 0):
            raise BadRealFrames(f"{label}, line {line}: coordinates must be shares of the picture, 0 to 1.")
        yield line, numbers[1:]


def _outline(numbers: np.ndarray, where: str) -> np.ndarray:
    """Corners, 0..1. Shape: (N, 2)"""
    if len(numbers) < 6 or len(numbers) % 2:
        raise BadRealFrames(f"{where}: an outline needs three or more pairs x y after the class.")
    if np.any(numbers > 1):
        raise BadRealFrames(f"{where}: coordinates must be shares of the picture, 0 to 1.")
    return numbers.reshape(-1, 2)


def _box_and_ends(numbers: np.ndarray, where: str) -> np.ndarray:
    """Two corners of the box, then the end points, NaN where not visible; 0..1. Shape: (4, 2)"""
    if len(numbers) != _POSE_NUMBERS - 1:
        raise BadRealFrames(f"{where}: a long object needs class, box (4) and two ends with x, y, visibility (6).")
    ends = numbers[4:].reshape(2, 3)
    if np.any(numbers[:4] > 1) or np.any(ends[:, :2] > 1):
        raise BadRealFrames(f"{where}: coordinates must be shares of the picture, 0 to 1.")
    centre, half = numbers[:2], numbers[2:4] / 2
    return np.concatenate([[centre - half, centre + half], np.where(ends[:, 2:] > 0, ends[:, :2], np.nan)])
