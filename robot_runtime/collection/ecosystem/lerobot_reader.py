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
from lerobot.datasets.lerobot_dataset import LeRobotDataset, LeRobotDatasetMetadata
from tqdm import tqdm

from robot_runtime.collection.convention import CAMERA_PREFIX
from robot_runtime.collection.verifying import Seen, compare, manifest


def seen(dataset: LeRobotDataset, sources: list[str]) -> Iterator[Seen]:
    """Episodes as LeRobot hands them out where all their steps are asked for at once, its videos decoded."""
    first = 0
    for number, source in enumerate(sources):
        count, item = int(dataset.meta.episodes[number]["length"]), dataset[first]
        yield Seen(
            source,
            actions=item["action"][:count].numpy(),
            states=item["observation.state"][:count].numpy(),
            images={key.removeprefix(CAMERA_PREFIX): _rgb(item[key][:count]) for key in dataset.meta.camera_keys},
            instruction=item["task"],
        )
        first += count


def _rgb(pictures: Any) -> np.ndarray:
    """LeRobot's are (N, 3, height, width) from 0 to 1. Shape: (N, height, width, 3) uint8"""
    return np.asarray((255.0 * pictures).round().clip(0, 255).byte().permute(0, 2, 3, 1).numpy())


def opened(folder: Path, name: str) -> LeRobotDataset:
    """Each item has its step and the ones after it, as many as the longest episode has."""
    meta = LeRobotDatasetMetadata(f"local/{name}", root=folder)
    longest = max(int(meta.episodes[number]["length"]) for number in range(meta.total_episodes))
    ahead = [k / meta.fps for k in range(longest)]
    wanted = dict.fromkeys(("action", "observation.state", *meta.camera_keys), ahead)
    return LeRobotDataset(f"local/{name}", root=folder, delta_timestamps=wanted, video_backend="pyav")


def main(folder: Path, sources: list[Path]) -> dict[str, Any]:
    """What the comparison found."""
    exported = manifest(folder)
    dataset = opened(folder, exported["name"])
    statistics = {name: np.asarray(values).tolist() for name, values in dataset.meta.stats["action"].items()}
    episodes = tqdm(seen(dataset, exported["episodes"]), desc="LeRobot", total=dataset.num_episodes, unit="episode")
    found = compare(folder, sources, episodes, statistics)
    if dataset.num_frames != found["steps"]:
        found["problems"].append(
            f"LeRobot counts {dataset.num_frames} steps, the manifest's episodes {found['steps']}."
        )
    return found


if __name__ == "__main__":
    report, folder, *sources = map(Path, sys.argv[1:])
    report.write_text(json.dumps(main(folder, sources)))
