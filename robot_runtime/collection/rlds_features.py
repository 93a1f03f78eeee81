"""features.json and dataset_info.json as tensorflow-datasets 4.9 writes them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from robot_runtime.collection.convention import ACTION_NAMES, STATE_NAMES
from robot_runtime.collection.episode import SIDE_PX

VERSION = "1.0.0"
"""Of every export; tfds looks for a folder of this name."""
STATISTICS = "dataset_statistics.json"

_CLASSES = "tensorflow_datasets.core.features"


def features(cameras: Iterable[str]) -> dict[str, Any]:
    """What is in a record: steps as OpenVLA and Octo expect them, and where the episode comes from."""
    images = {image_key(camera): _image() for camera in cameras}
    step = _dict(
        {
            "observation": _dict(images | {"state": _tensor("float32", len(STATE_NAMES))}),
            "action": _tensor("float32", len(ACTION_NAMES)),
            "discount": _scalar("float32"),
            "reward": _scalar("float32"),
            "is_first": _scalar("bool"),
            "is_last": _scalar("bool"),
            "is_terminal": _scalar("bool"),
            "language_instruction": _text(),
        }
    )
    steps = {
        "pythonClassName": f"{_CLASSES}.dataset_feature.Dataset",
        "sequence": {"feature": step, "length": "-1"},
    }
    metadata = {"file_path": _text(), "variant": _text(), "policy": _text(), "success": _scalar("bool")}
    return _dict({"steps": steps, "episode_metadata": _dict(metadata)})


def info(name: str, description: str, splits: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What the dataset is called and where its records are."""
    return {
        "description": description,
        "fileFormat": "tfrecord",
        "name": name,
        "splits": list(splits),
        "version": VERSION,
    }


def split(name: str, lengths: Sequence[int], total_bytes: int) -> dict[str, Any]:
    """One part of the dataset. lengths: episodes in each of its files."""
    return {
        "filepathTemplate": "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
        "name": name,
        "numBytes": str(total_bytes),
        "shardLengths": [str(length) for length in lengths],
    }


def image_key(camera: str) -> str:
    """The wrist's picture is the primary one, as in RLDG."""
    return "image" if camera == "wrist" else f"image_{camera}"


def is_image(key: str) -> bool:
    """Whether that part of an observation is a camera's picture."""
    return key.startswith("image")


def camera_of(key: str) -> str:
    """Inverse of `image_key`."""
    return "wrist" if key == "image" else key.removeprefix("image_")


def _dict(inside: dict[str, Any]) -> dict[str, Any]:
    return {"featuresDict": {"features": inside}, "pythonClassName": f"{_CLASSES}.features_dict.FeaturesDict"}


def _tensor(dtype: str, size: int) -> dict[str, Any]:
    return {
        "pythonClassName": f"{_CLASSES}.tensor_feature.Tensor",
        "tensor": {"dtype": dtype, "encoding": "none", "shape": {"dimensions": [str(size)]}},
    }


def _scalar(dtype: str) -> dict[str, Any]:
    return {
        "pythonClassName": f"{_CLASSES}.scalar.Scalar",
        "tensor": {"dtype": dtype, "encoding": "none", "shape": {}},
    }


def _text() -> dict[str, Any]:
    return {"pythonClassName": f"{_CLASSES}.text_feature.Text", "text": {}}


def _image() -> dict[str, Any]:
    shape = {"dimensions": [str(SIDE_PX), str(SIDE_PX), "3"]}
    return {
        "image": {"dtype": "uint8", "encodingFormat": "jpeg", "shape": shape},
        "pythonClassName": f"{_CLASSES}.image_feature.Image",
    }
