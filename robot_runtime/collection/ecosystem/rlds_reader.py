# /// script
# requires-python = "==3.11.*"
# dependencies = ["tensorflow-cpu", "tensorflow-datasets", "h5py", "scipy", "opencv-python-headless", "tqdm"]
# ///
"""Reads an exported RLDS dataset with tensorflow-datasets and compares it with its source; see `verifying.py`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from robot_runtime.collection.rlds_features import STATISTICS, VERSION, camera_of, is_image
from robot_runtime.collection.verifying import Seen, compare


def seen(builder: Any) -> Iterator[Seen]:
    """Episodes of both splits as tensorflow-datasets hands them out, its pictures decoded by TensorFlow."""
    for split in ("train", "val"):
        for episode in tfds.as_numpy(builder.as_dataset(split=split)):
            steps = list(episode["steps"])
            images = [key for key in steps[0]["observation"] if is_image(key)]
            yield Seen(
                episode["episode_metadata"]["file_path"].decode(),
                actions=np.stack([step["action"] for step in steps]),
                states=np.stack([step["observation"]["state"] for step in steps]),
                images={camera_of(key): np.stack([step["observation"][key] for step in steps]) for key in images},
                instruction=steps[-1]["language_instruction"].decode(),
                marks_ends=[bool(step["is_first"]) for step in steps] == [True] + [False] * (len(steps) - 1)
                and [bool(step["is_last"]) for step in steps] == [False] * (len(steps) - 1) + [True],
            )


def main(folder: Path, sources: list[Path]) -> dict[str, Any]:
    """What the comparison found."""
    builder = tfds.builder_from_directory(str(folder / VERSION))
    statistics = json.loads((folder / STATISTICS).read_text())[builder.name]["action"]
    return compare(folder, sources, seen(builder), statistics)


if __name__ == "__main__":
    report, folder, *sources = map(Path, sys.argv[1:])
    report.write_text(json.dumps(main(folder, sources)))
