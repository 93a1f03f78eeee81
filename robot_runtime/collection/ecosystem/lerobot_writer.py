# /// script
# requires-python = "==3.11.*"
# dependencies = ["h5py", "scipy", "opencv-python-headless", "tqdm"]
# ///
"""Writes a LeRobot dataset with LeRobot itself; `launch/dataset.py export` adds the LeRobot that writes the version.

Reads a job from its standard input: root, name, frame, and the episodes' files.
"""

from __future__ import annotations

import inspect
import json
import os
import sys
from pathlib import Path
from typing import Any

os.environ["SVT_LOG"] = "1"  # else the video encoder tells its settings for every episode

from lerobot.datasets.lerobot_dataset import LeRobotDataset
from tqdm import tqdm

from robot_runtime.collection.convention import (
    ACTION_NAMES,
    CAMERA_PREFIX,
    STATE_NAMES,
    exported_actions,
    exported_states,
)
from robot_runtime.collection.episode import SIDE_PX, read


def features(cameras: list[str]) -> dict[str, Any]:
    """What a frame holds, beside what LeRobot adds by itself."""
    picture = {"dtype": "video", "shape": (SIDE_PX, SIDE_PX, 3), "names": ["height", "width", "channels"]}
    return {CAMERA_PREFIX + camera: picture for camera in cameras} | {
        "observation.state": {"dtype": "float32", "shape": (len(STATE_NAMES),), "names": list(STATE_NAMES)},
        "action": {"dtype": "float32", "shape": (len(ACTION_NAMES),), "names": list(ACTION_NAMES)},
    }


def main(job: dict[str, Any]) -> None:
    """Adds one episode after the other."""
    first = read(Path(job["episodes"][0]))
    cameras, rate_hz = list(first.images), round(first.about.rate_hz)
    dataset = LeRobotDataset.create(
        f"local/{job['name']}", rate_hz, features(cameras), root=job["root"], robot_type="panda", use_videos=True
    )
    task_is_in_the_frame = "task" not in inspect.signature(dataset.add_frame).parameters  # from LeRobot 0.4 on
    for path in tqdm(job["episodes"], desc="LeRobot", unit="episode", mininterval=2.0):
        episode = read(Path(path))
        actions, states = exported_actions(episode.steps, job["frame"]), exported_states(episode.steps)
        pictures = {CAMERA_PREFIX + camera: episode.pictures(camera) for camera in cameras}
        for k in range(len(episode)):
            frame: dict[str, Any] = {key: rgb[k] for key, rgb in pictures.items()}
            frame |= {"action": actions[k], "observation.state": states[k]}
            if task_is_in_the_frame:
                dataset.add_frame(frame | {"task": episode.about.instruction})
            else:
                dataset.add_frame(frame, episode.about.instruction)
        dataset.save_episode()
    if hasattr(dataset, "finalize"):  # writes the footers of the files of v3.0
        dataset.finalize()


if __name__ == "__main__":
    main(json.load(sys.stdin))
