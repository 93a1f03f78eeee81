"""What a generalist learns from, read from an RLDS export or from a folder of episodes."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation
from tqdm import tqdm

from robot_runtime.collection import episode as disk
from robot_runtime.collection import rlds, verifying
from robot_runtime.collection.rlds_features import VERSION
from sim_training.generalist.train import Demonstration, NothingToLearn


def read(folder: Path, limit: int | None = None) -> Iterator[Demonstration]:
    """The first `limit` episodes that succeeded. Raises NothingToLearn, DatasetError, EpisodeBroken."""
    if not folder.is_dir():
        raise NothingToLearn(f"There is no folder {folder}: collect episodes, or export a dataset, there first.")
    if limit is not None and limit < 1:
        raise NothingToLearn("At least one episode has to be asked for.")
    found = islice(_exported(folder) if (folder / VERSION).is_dir() else _native(folder), limit)
    empty = True
    for each in tqdm(found, desc="reading", unit="episode", mininterval=2.0):
        empty = False
        yield each
    if empty:
        raise NothingToLearn(f"Of {folder} there are no episodes to learn from: none there has succeeded.")


def _exported(folder: Path) -> Iterator[Demonstration]:
    """Of an export's train split; its turns are roll, pitch and yaw about the base's axes."""
    if verifying.manifest(folder)["frame"] != "base":
        raise NothingToLearn(f"The actions in {folder} are in the wrist's frame: export them again with --frame base.")
    for each in rlds.read(folder, "train"):
        turn = Rotation.from_euler("xyz", each.actions[:, 3:6]).as_rotvec()
        actions = np.concatenate([each.actions[:, :3], turn, each.actions[:, 6:]], 1)
        yield Demonstration(each.images, actions, each.instruction)


def _native(folder: Path) -> Iterator[Demonstration]:
    """Of episodes as they were recorded: what was executed; those that failed, or that nobody judged, are left out."""
    return of_files([path for path in disk.files(folder) if disk.read_about(path).success])


def of_files(paths: list[Path]) -> Iterator[Demonstration]:
    """Of episodes on disk. Raises EpisodeBroken."""
    for path in paths:
        each = disk.read(path)
        images = {camera: each.pictures(camera) for camera in each.images}
        yield Demonstration(images, each.steps["executed_base"], each.about.instruction)
