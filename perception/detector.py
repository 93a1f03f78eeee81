"""Finds objects in a picture. Running needs no torch; training is in perception/train_detector.py."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from perception.detector_runtimes import Runtime, load_network

STRIDE_PX = 32
"""Sides of the network's input are multiples of this. Wide enough a border, too, to see objects at the edge whole."""
PADDING_GREY = 114
_MASK_LOGIT = 2.0
"""Prototypes are four times coarser than the picture and swell the mask: at 0 its area came out 1.16 times too large,
at 2 1.04 times."""
DEFAULT_RUNTIME: Runtime = "openvino"


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


@dataclass(frozen=True)
class KeypointDetection:
    """One long object seen in a picture, by points on it.

    score: 0..1. box_px: left, top, right, bottom. keypoints_px: x, y. Shape: (k, 2)
    keypoint_scores: 0..1, how surely each is seen. Shape: (k,)
    """

    score: float
    box_px: np.ndarray
    keypoints_px: np.ndarray
    keypoint_scores: np.ndarray


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
    """A YOLO network exported end to end (no suppression step left to do): of masks, or of keypoints."""

    def __init__(
        self, folder: Path, min_score: float = 0.3, threads: int = 2, runtime: Runtime = DEFAULT_RUNTIME
    ) -> None:
        """Loads the weights of `folder`. Raises DetectorMissing or RuntimeMissing.

        min_score: low, because what is found must still pass as the object in size and place (pose_estimation).
        Two threads of OpenVINO are the fastest (docs/results/detector.json, from `bench.py detector`). Where the robot
        needs every core: one of ONNX Runtime takes as long, and the least processor time. A second thread of ONNX
        Runtime was measured to wait more than it works.
        """
        try:
            self._network = load_network(folder, runtime, threads)
        except FileNotFoundError as error:
            raise DetectorMissing(f"There are no detector weights {error}; run launch/train_detector.py.") from error
        self._folder, self._min_score = folder, min_score

    def detect(self, rgb: np.ndarray) -> list[Detection] | list[KeypointDetection]:
        """Objects in a picture, best first, as the network finds them: by masks or by keypoints.

        rgb: uint8 of the size the network was exported for, shape (H, W, 3). Raises PictureSizeMismatch.
        """
        outputs, padded = self._run(rgb)
        sure = self._sure(outputs[0])
        if len(outputs) == 1:
            return [self._keypoints(row, _corner(rgb.shape[:2])) for row in sure]
        return [self._detection(row, outputs[1][0], rgb.shape[:2], padded) for row in sure]

    def _run(self, rgb: np.ndarray) -> tuple[list[np.ndarray], tuple[int, int]]:
        """The network's outputs, and height and width of the padded picture they are of."""
        padded = pad_to_stride(rgb)
        shape = padded.shape[0], padded.shape[1]
        wanted = self._network.input_shape
        if wanted is not None and shape != wanted:
            raise PictureSizeMismatch(
                f"Pictures are {rgb.shape[1]}x{rgb.shape[0]} pixels, the detector was trained for up to "
                f"{wanted[1]}x{wanted[0]}; correct the cell file or run launch/train_detector.py."
            )
        pixels = np.ascontiguousarray(padded.transpose(2, 0, 1)[None], np.float32) / np.float32(255)
        return self._network(pixels), shape

    def _sure(self, rows: np.ndarray) -> np.ndarray:
        """Rows good enough, best first: box in padded pixels, score, class, and mask coefficients or keypoints."""
        kept = rows[0][rows[0, :, 4] >= self._min_score]
        return kept[np.argsort(-kept[:, 4])]

    @staticmethod
    def _keypoints(row: np.ndarray, corner: np.ndarray) -> KeypointDetection:
        points = row[6:].reshape(-1, 3)
        box = row[:4] - np.tile(corner, 2)
        return KeypointDetection(float(row[4]), box, points[:, :2] - corner, points[:, 2].copy())

    def _detection(
        self, row: np.ndarray, prototypes: np.ndarray, shape: tuple[int, int], padded: tuple[int, int]
    ) -> Detection:
        logits = cv2.resize(np.tensordot(row[6:], prototypes, 1), padded[::-1], interpolation=cv2.INTER_LINEAR)
        left, top = _corner(shape)
        logits = logits[top : top + shape[0], left : left + shape[1]]
        box = row[:4] - np.array([left, top, left, top], np.float32)
        low = np.floor(np.clip(box[:2], 0, None)).astype(int)
        high = np.ceil(np.clip(box[2:], 0, None)).astype(int)
        mask = np.zeros(shape, bool)
        window = np.s_[low[1] : high[1], low[0] : high[0]]
        mask[window] = logits[window] > _MASK_LOGIT
        return Detection(float(row[4]), box, mask)


def _corner(shape: tuple[int, int]) -> np.ndarray:
    """x and y, in the padded picture, of the picture's own corner."""
    return np.array([border(shape[1])[0], border(shape[0])[0]])
