"""RLDS as OpenVLA and Octo read it, written and read without TensorFlow.

One folder NAME holds 1.0.0/, which `tfds.builder_from_directory` opens, as does `tfds.builder(NAME, data_dir=parent)`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from robot_runtime.collection import rlds_features
from robot_runtime.collection.convention import Frame, dataset_statistics, exported_actions, exported_states
from robot_runtime.collection.episode import Episode, decode
from robot_runtime.collection.episode import read as read_episode
from robot_runtime.collection.folders import DatasetError, Entry, origin_of
from robot_runtime.collection.tfrecords import decode_example, encode_example, read_records, write_record

VAL_SHARE = 0.1
"""Of the episodes; at least one. Octo and OpenVLA want a split of this name."""
_OBSERVATION = "steps/observation/"
SHARD_EPISODES = 64
"""Some tens of MB: readers shuffle and read whole shards side by side."""


@dataclass(frozen=True)
class RldsEpisode:
    """What was exported of one episode.

    images: camera to (N, height, width, 3) uint8 RGB. actions: (N, 7). states: (N, 8), see `convention.py`.
    source: folder and file it came from.
    """

    images: dict[str, np.ndarray]
    actions: np.ndarray
    states: np.ndarray
    instruction: str
    variant: str
    success: bool
    source: str


def write(folder: Path, name: str, entries: Sequence[Entry], frame: Frame, seed: int = 0) -> None:
    """Fills `folder` with the dataset `name`. Raises DatasetError, EpisodeBroken."""
    if re.fullmatch(r"[a-z][a-z0-9_]*", name) is None:
        raise DatasetError(f"'{name}' is no name of an RLDS dataset: small letters, digits and _ only.")
    inside = folder / rlds_features.VERSION
    inside.mkdir()
    splits = []
    with tqdm(total=len(entries), desc="RLDS", unit="episode", mininterval=2.0) as bar:
        for split, members in split_episodes(entries, seed).items():
            shards = [members[at : at + SHARD_EPISODES] for at in range(0, len(members), SHARD_EPISODES)]
            sizes = [
                _write_shard(inside / _shard_name(name, split, number, len(shards)), shard, frame, bar)
                for number, shard in enumerate(shards)
            ]
            splits.append(rlds_features.split(split, [len(shard) for shard in shards], sum(sizes)))
    actions = [exported_actions(entry.steps, frame) for entry in entries]
    states = [exported_states(entry.steps) for entry in entries]
    _write_json(inside / "features.json", rlds_features.features(entries[0].cameras))
    _write_json(inside / "dataset_info.json", rlds_features.info(name, _describe(entries, frame), splits))
    _write_json(folder / rlds_features.STATISTICS, dataset_statistics(name, actions, states))


def _write_shard(path: Path, entries: Sequence[Entry], frame: Frame, bar: tqdm) -> int:
    """One record for each episode. Returns their bytes."""
    total = 0
    with path.open("wb") as file:
        for entry in entries:
            record = _encode(read_episode(entry.path), entry.source, frame)
            write_record(file, record)
            total += len(record)
            bar.update()
    return total


def read(folder: Path, split: str) -> Iterator[RldsEpisode]:
    """Episodes of what `write` made, in order. split: train or val. Raises DatasetError, RecordsBroken."""
    inside = folder / rlds_features.VERSION
    try:
        info = json.loads((inside / "dataset_info.json").read_text())
        shards = next(each for each in info["splits"] if each["name"] == split)["shardLengths"]
    except FileNotFoundError:
        raise DatasetError(f"{folder} is no RLDS dataset of launch/dataset.py export.") from None
    except (ValueError, KeyError, StopIteration):
        raise DatasetError(f"{inside}/dataset_info.json has no split '{split}'.") from None
    for number, length in enumerate(shards):
        path = inside / _shard_name(info["name"], split, number, len(shards))
        records = list(read_records(path))
        if len(records) != int(length):
            raise DatasetError(f"{path} holds {len(records)} of {length} episodes: export the dataset again.")
        yield from map(_decode, records)


def split_episodes(entries: Sequence[Entry], seed: int) -> dict[str, list[Entry]]:
    """A tenth of the recordings, drawn by `seed`, is kept for `val`, with all that was made of them; order stays.

    Raises DatasetError where none is left to train on.
    """
    origins = [origin_of(entry.about, entry.source) for entry in entries]
    recordings = list(dict.fromkeys(origins))
    if len(recordings) < 2:
        raise DatasetError("An RLDS dataset needs two recordings at least: one for each of train and val.")
    count = max(1, round(VAL_SHARE * len(recordings)))
    kept = {recordings[index] for index in np.random.default_rng(seed).permutation(len(recordings))[:count]}
    return {
        "train": [entry for entry, origin in zip(entries, origins, strict=True) if origin not in kept],
        "val": [entry for entry, origin in zip(entries, origins, strict=True) if origin in kept],
    }


def _encode(episode: Episode, source: str, frame: Frame) -> bytes:
    """One record; the pictures' files pass as they are."""
    count, about = len(episode), episode.about
    first, last = np.arange(count) == 0, np.arange(count) == count - 1
    columns: dict[str, Any] = {
        "steps/action": exported_actions(episode.steps, frame),
        f"{_OBSERVATION}state": exported_states(episode.steps),
        "steps/discount": np.ones(count, np.float32),
        "steps/reward": (last * float(bool(about.success))).astype(np.float32),
        "steps/is_first": first,
        "steps/is_last": last,
        "steps/is_terminal": last,
        "steps/language_instruction": [about.instruction.encode()] * count,
        "episode_metadata/file_path": [source.encode()],
        "episode_metadata/variant": [about.variant.encode()],
        "episode_metadata/policy": [about.policy.encode()],
        "episode_metadata/success": np.array([bool(about.success)]),
    }
    for camera, pictures in episode.images.items():
        columns[_OBSERVATION + rlds_features.image_key(camera)] = pictures
    return encode_example(columns)


def _decode(record: bytes) -> RldsEpisode:
    columns = decode_example(record)
    seen = {name.removeprefix(_OBSERVATION): values for name, values in columns.items()}
    pictures = {rlds_features.camera_of(key): files for key, files in seen.items() if rlds_features.is_image(key)}

    def text(name: str) -> str:
        return bytes(columns[name][0]).decode()

    return RldsEpisode(
        images={camera: np.stack([decode(bytes(file)) for file in files]) for camera, files in pictures.items()},
        actions=np.asarray(columns["steps/action"]).reshape(-1, 7),
        states=np.asarray(seen["state"]).reshape(-1, 8),
        instruction=text("steps/language_instruction"),
        variant=text("episode_metadata/variant"),
        success=bool(columns["episode_metadata/success"][0]),
        source=text("episode_metadata/file_path"),
    )


def _describe(entries: Sequence[Entry], frame: Frame) -> str:
    about = entries[0].about
    return (
        f"Task {about.task}: {len(entries)} episodes at {about.rate_hz:g} Hz. Actions: what was executed, in metres,"
        f" roll, pitch, yaw in radians about axes of the {frame}, gripper 1 open; observation/image is the wrist's."
    )


def _shard_name(name: str, split: str, number: int, count: int) -> str:
    return f"{name}-{split}.tfrecord-{number:05d}-of-{count:05d}"


def _write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n")
