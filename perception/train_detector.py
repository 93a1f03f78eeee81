"""Trains the detector and exports it to ONNX: the only ultralytics code."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from perception.detector import border


def _architecture(width: int, is_long: bool) -> dict[str, Any]:
    """YOLO26 blocks, sized for one kind of object of some 20 to 70 pixels and for training on a CPU.

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
        [[10], 1, "Pose26", ["nc", "kpt_shape"]] if is_long else [[10], 1, "Segment26", ["nc", 16, c3]],
    ]
    ends = {"kpt_shape": [2, 3]} if is_long else {}
    return {"nc": 1, "end2end": True, "reg_max": 1, **ends, "backbone": backbone, "head": head}


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
    is_long: bool,
) -> dict[str, dict[str, float]]:
    """Trains from scratch without a network connection, exports to `folder`, returns validation figures per class.

    data_yaml: crops of crop_px to train on, whole padded pictures to validate on. work: where runs are written.
    picture_shape: height and width of the camera's pictures. width: channels of the first layer. is_long: the object
    is found by its two end points rather than its outline.
    """
    os.environ.update(YOLO_OFFLINE="1", YOLO_AUTOINSTALL="false")
    import torch
    import yaml
    from ultralytics import YOLO

    # Two threads on two busy cores were measured to need 8 times the processor time of one.
    torch.set_num_threads(1)
    work.mkdir(parents=True, exist_ok=True)
    architecture = work / "architecture.yaml"
    architecture.write_text(yaml.safe_dump(_architecture(width, is_long)))
    model = YOLO(str(architecture), task="pose" if is_long else "segment")
    # Turned or mirrored, a peg may have its ends in the other order.
    turns: dict[str, Any] = {"degrees": 0.0, "fliplr": 0.0} if is_long else {"degrees": 8.0, "fliplr": 0.5}
    model.train(
        data=str(data_yaml), imgsz=crop_px, epochs=epochs, seed=seed,
        batch=16, nbs=16, optimizer="AdamW", lr0=2e-3, lrf=0.02, cos_lr=True, warmup_epochs=0.5,
        pretrained=False, amp=False, device="cpu", workers=0, cache="ram", val=False, plots=False,
        mosaic=0.0, scale=0.15, translate=0.05, hsv_h=0.01, hsv_s=0.4, hsv_v=0.3, **turns,
        project=str(work.resolve()), name="train", exist_ok=True, verbose=False,
    )  # fmt: skip
    weights = work / "train" / "weights" / "last.pt"
    trained = YOLO(str(weights))
    padded = [side + sum(border(side)) for side in picture_shape]
    found = trained.val(
        data=str(data_yaml), imgsz=max(padded), rect=True, batch=8, workers=0, device="cpu", plots=False,
        project=str(work.resolve()), name="val", exist_ok=True, verbose=False,
    )  # fmt: skip
    exported = trained.export(format="onnx", imgsz=padded, nms=False, simplify=False, device="cpu")
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(exported, folder / "detector.onnx")
    shutil.copy(weights, folder / "detector.pt")
    forget_places(folder)
    return _figures(found, "pose" if is_long else "seg")


def _figures(found: Any, kind: str) -> dict[str, dict[str, float]]:
    """Per class: precision and recall at the best threshold, mean average precision of boxes and of `kind`."""
    kinds = {"box": found.box, {"seg": "mask", "pose": "ends"}[kind]: getattr(found, kind)}
    figures = {}
    for row, class_id in enumerate(found.box.ap_class_index):
        one: dict[str, float] = {}
        for name, metric in kinds.items():
            precision, recall, map50, map50_95 = metric.class_result(row)
            one |= {f"{name}_precision": precision, f"{name}_recall": recall}
            one |= {f"{name}_map50": map50, f"{name}_map50_95": map50_95}
        figures[str(found.names[int(class_id)])] = {name: round(float(value), 4) for name, value in one.items()}
    return figures


def forget_places(folder: Path) -> None:
    """Makes the folders that ultralytics noted in `detector.pt` and `detector.onnx` relative to this repository."""
    import onnx
    import torch

    root = str(Path(__file__).resolve().parent.parent)

    def relative(value: Any) -> Any:
        return value.replace(f"{root}/", "").replace(root, ".") if isinstance(value, str) else value

    kept = torch.load(folder / "detector.pt", map_location="cpu", weights_only=False)
    kept["git"] = {}  # of a worktree, it names another folder; the card has the commit
    for notes in (kept["train_args"], kept["model"].args, kept["model"].yaml):
        notes.update({key: relative(value) for key, value in notes.items()})
    torch.save(kept, folder / "detector.pt")
    graph = onnx.load(folder / "detector.onnx")
    for note in graph.metadata_props:
        note.value = relative(note.value)
    onnx.save(graph, folder / "detector.onnx")
