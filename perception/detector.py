"""Finds the object in a picture. Running needs ONNX Runtime alone; training is in perception/train_detector.py."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

STRIDE_PX = 32
"""Sides of the network's input are multiples of this. Wide enough a border, too, to see objects at the edge whole."""
PADDING_GREY = 114
_MASK_LOGIT = 2.0
"""Prototypes are four times coarser than the picture and swell the mask: at 0 its area came out 1.16 times too large,
at 2 1.04 times."""


class DetectorMissing(FileNotFoundError):
    """There are no detector weights here. Run launch/train_detector.py."""


class PictureSizeMismatch(ValueError):
    """The pictures have another size than the detector was exported for. Correct the cell file or train anew."""


def weights_folder(task_name: str) -> Path:
    """Where the shipped weights of a task's detector are."""
    return Path(__file__).resolve().parent / "weights" / task_name


@dataclass(frozen=True)
class Detection:
    """One object seen in a picture.

    score: 0..1. box_px: left, top, right, bottom. mask: bool, shape (H, W) of the picture.
    """

    score: float
    box_px: np.ndarray
    mask: np.ndarray


def pad_to_stride(image: np.ndarray) -> np.ndarray:
    """A border all around, never a resize: a 40 mm cube is only 20 pixels wide. Masks get False, pictures grey."""
    (top, bottom), (left, right) = (border(side) for side in image.shape[:2])
    value = False if image.dtype == bool else PADDING_GREY
    return np.pad(image, [(top, bottom), (left, right)] + [(0, 0)] * (image.ndim - 2), constant_values=value)


def border(side: int) -> tuple[int, int]:
    """Pixels `pad_to_stride` adds before and after a side of that length."""
    total = -side % STRIDE_PX
    return total // 2, total - total // 2


class Detector:
    """A YOLO segmentation network exported to ONNX end to end (no suppression step left to do)."""

    def __init__(self, folder: Path, min_score: float = 0.15, threads: int = 1) -> None:
        """Loads `folder/detector.onnx`. Raises DetectorMissing.

        min_score: low, because what is found must still pass as the object in size and place (pose_estimation).
        One thread: on a machine that also runs a robot, a second one was measured to wait more than it works.
        """
        import onnxruntime

        path = folder / "detector.onnx"
        if not path.is_file():
            raise DetectorMissing(f"There are no detector weights in {folder}; run launch/train_detector.py.")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self._min_score = min_score
        self._input_shape = tuple(self._session.get_inputs()[0].shape[2:])

    def detect(self, rgb: np.ndarray) -> list[Detection]:
        """Objects in a picture, best first. Shape: (H, W, 3) uint8 of the size the network was exported for.

        Raises PictureSizeMismatch.
        """
        padded = pad_to_stride(rgb)
        if padded.shape[:2] != self._input_shape:
            raise PictureSizeMismatch(
                f"Pictures are {rgb.shape[1]}x{rgb.shape[0]} pixels, the detector was trained for up to "
                f"{self._input_shape[1]}x{self._input_shape[0]}; correct the cell file or run launch/train_detector.py."
            )
        pixels = np.ascontiguousarray(padded.transpose(2, 0, 1)[None], np.float32) / np.float32(255)
        # rows (1, n, 6 + m): box in padded pixels, score, class, mask coefficients. prototypes: (1, m, H/4, W/4).
        rows, prototypes = self._session.run(None, {"images": pixels})
        rows = rows[0][rows[0, :, 4] >= self._min_score]
        rows = rows[np.argsort(-rows[:, 4])]
        return [self._detection(row, prototypes[0], rgb.shape[:2], padded.shape[:2]) for row in rows]

    def _detection(
        self, row: np.ndarray, prototypes: np.ndarray, shape: tuple[int, int], padded: tuple[int, int]
    ) -> Detection:
        logits = cv2.resize(np.tensordot(row[6:], prototypes, 1), padded[::-1], interpolation=cv2.INTER_LINEAR)
        (top, _), (left, _) = border(shape[0]), border(shape[1])
        logits = logits[top : top + shape[0], left : left + shape[1]]
        box = row[:4] - np.array([left, top, left, top], np.float32)
        low = np.floor(np.clip(box[:2], 0, None)).astype(int)
        high = np.ceil(np.clip(box[2:], 0, None)).astype(int)
        mask = np.zeros(shape, bool)
        window = np.s_[low[1] : high[1], low[0] : high[0]]
        mask[window] = logits[window] > _MASK_LOGIT
        return Detection(float(row[4]), box, mask)
