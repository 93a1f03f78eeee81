"""Finds the object in a picture. Training is the only ultralytics code; running needs ONNX Runtime alone."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
    (top, bottom), (left, right) = (_border(side) for side in image.shape[:2])
    value = False if image.dtype == bool else PADDING_GREY
    return np.pad(image, [(top, bottom), (left, right)] + [(0, 0)] * (image.ndim - 2), constant_values=value)


def _border(side: int) -> tuple[int, int]:
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
        (top, _), (left, _) = _border(shape[0]), _border(shape[1])
        logits = logits[top : top + shape[0], left : left + shape[1]]
        box = row[:4] - np.array([left, top, left, top], np.float32)
        low = np.floor(np.clip(box[:2], 0, None)).astype(int)
        high = np.ceil(np.clip(box[2:], 0, None)).astype(int)
        mask = np.zeros(shape, bool)
        window = np.s_[low[1] : high[1], low[0] : high[0]]
        mask[window] = logits[window] > _MASK_LOGIT
        return Detection(float(row[4]), box, mask)


def _architecture(width: int) -> dict[str, Any]:
    """YOLO26 blocks, sized for one kind of object of about 20 pixels and for training on a CPU.

    One head at stride 8; stride 16 only for context. At width 8 it trains 5 times as fast as YOLO26n.
    """
    c1, c2, c3, c4 = width, 2 * width, 4 * width, 6 * width
    backbone = [
        [-1, 1, "Conv", [c1, 3, 2]],
        [-1, 1, "Conv", [c2, 3, 2]],
        [-1, 1, "C3k2", [c2, False, 0.5]],
        [-1, 1, "Conv", [c3, 3, 2]],
        [-1, 1, "C3k2", [c3, False, 0.5]],
        [-1, 1, "Conv", [c4, 3, 2]],
        [-1, 1, "C3k2", [c4, False, 0.5]],
        [-1, 1, "SPPF", [c4, 5]],
    ]
    head = [
        [-1, 1, "nn.Upsample", [None, 2, "nearest"]],
        [[-1, 4], 1, "Concat", [1]],
        [-1, 1, "C3k2", [c3, False, 0.5]],
        [[10], 1, "Segment26", ["nc", 16, c3]],
    ]
    return {"nc": 1, "end2end": True, "reg_max": 1, "backbone": backbone, "head": head}


def train(
    data_yaml: Path,
    folder: Path,
    work: Path,
    picture_shape: tuple[int, int],
    *,
    epochs: int,
    seed: int,
    crop_px: int,
    width: int,
) -> dict[str, float]:
    """Trains from scratch without a network connection, exports to `folder`, returns validation figures.

    data_yaml: crops of crop_px to train on, whole padded pictures to validate on. work: where runs are written.
    picture_shape: height and width of the camera's pictures. width: channels of the first layer.
    """
    os.environ.update(YOLO_OFFLINE="1", YOLO_AUTOINSTALL="false")
    import torch
    import yaml
    from ultralytics import YOLO

    # Two threads on two busy cores were measured to need 8 times the processor time of one.
    torch.set_num_threads(1)
    work.mkdir(parents=True, exist_ok=True)
    architecture = work / "cube-seg.yaml"
    architecture.write_text(yaml.safe_dump(_architecture(width)))
    model = YOLO(str(architecture), task="segment")
    model.train(
        data=str(data_yaml), imgsz=crop_px, epochs=epochs, seed=seed,
        batch=16, nbs=16, optimizer="AdamW", lr0=2e-3, lrf=0.02, cos_lr=True, warmup_epochs=0.5,
        pretrained=False, amp=False, device="cpu", workers=0, cache="ram", val=False, plots=False,
        mosaic=0.0, degrees=8.0, scale=0.15, translate=0.05, hsv_h=0.01, hsv_s=0.4, hsv_v=0.3, fliplr=0.5,
        project=str(work.resolve()), name="train", exist_ok=True, verbose=False,
    )  # fmt: skip
    weights = work / "train" / "weights" / "last.pt"
    trained = YOLO(str(weights))
    padded = [side + sum(_border(side)) for side in picture_shape]
    found = trained.val(
        data=str(data_yaml), imgsz=max(padded), rect=True, batch=8, workers=0, device="cpu", plots=False,
        project=str(work.resolve()), name="val", exist_ok=True, verbose=False,
    )  # fmt: skip
    exported = trained.export(format="onnx", imgsz=padded, nms=False, simplify=False, device="cpu")
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(exported, folder / "detector.onnx")
    shutil.copy(weights, folder / "detector.pt")
    forget_places(folder)
    return {
        "box_map50": float(found.box.map50),
        "box_map50_95": float(found.box.map),
        "mask_map50": float(found.seg.map50),
        "mask_map50_95": float(found.seg.map),
    }


def forget_places(folder: Path) -> None:
    """Makes the folders that ultralytics noted in `detector.pt` and `detector.onnx` relative to this repository."""
    import onnx
    import torch

    root = str(Path(__file__).resolve().parent.parent)

    def relative(value: Any) -> Any:
        return value.replace(f"{root}/", "").replace(root, ".") if isinstance(value, str) else value

    kept = torch.load(folder / "detector.pt", map_location="cpu", weights_only=False)
    for notes in (kept["train_args"], kept["git"], kept["model"].args, kept["model"].yaml):
        notes.update({key: relative(value) for key, value in notes.items()})
    torch.save(kept, folder / "detector.pt")
    graph = onnx.load(folder / "detector.onnx")
    for note in graph.metadata_props:
        note.value = relative(note.value)
    onnx.save(graph, folder / "detector.onnx")
