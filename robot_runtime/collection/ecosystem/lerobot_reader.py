# /// script
# requires-python = "==3.11.*"
# dependencies = ["h5py", "scipy", "opencv-python-headless", "tqdm"]
# ///
"""Reads an exported LeRobot dataset with LeRobot and compares it with its source; see `verifying.py`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from lerobot.datasets.lerobot_dataset import LeRobotDataset

from robot_runtime.collection.convention import CAMERA_PREFIX
from robot_runtime.collection.verifying import Seen, compare


def seen(dataset: LeRobotDataset, sources: list[str]) -> Iterator[Seen]:
    """Episodes as LeRobot hands them out, frame by frame, its videos decoded."""
    count, at = 0, 0
    while at < len(dataset):
        frames: list[dict[str, Any]] = []
        while at < len(dataset) and (not frames or int(dataset.hf_dataset[at]["episode_index"]) == count):
            frames.append(dataset[at])
            at += 1
        cameras = [key for key in frames[0] if key.startswith(CAMERA_PREFIX)]
        yield Seen(
            sources[count],
            actions=np.stack([frame["action"].numpy() for frame in frames]),
            states=np.stack([frame["observation.state"].numpy() for frame in frames]),
            images={key.removeprefix(CAMERA_PREFIX): np.stack([_rgb(f[key]) for f in frames]) for key in cameras},
            instruction=frames[0]["task"],
        )
        count += 1


def _rgb(picture: Any) -> np.ndarray:
    """LeRobot's pictures are (3, height, width) from 0 to 1. Shape: (height, width, 3) uint8"""
    return np.asarray((255.0 * picture).round().clip(0, 255).byte().permute(1, 2, 0).numpy())


def main(folder: Path, sources: list[Path]) -> dict[str, Any]:
    """What the comparison found."""
    exported = json.loads((folder / "export.json").read_text())
    dataset = LeRobotDataset(f"local/{exported['name']}", root=folder, video_backend="pyav")
    statistics = {name: np.asarray(values).tolist() for name, values in dataset.meta.stats["action"].items()}
    return compare(folder, sources, seen(dataset, exported["episodes"]), statistics)


if __name__ == "__main__":
    report, folder, *sources = map(Path, sys.argv[1:])
    report.write_text(json.dumps(main(folder, sources)))
