"""Folders of episodes: what is in them, and new ones that are there whole or not at all."""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from robot_runtime.collection.episode import About, files, read_columns


class DatasetError(ValueError):
    """Something about a dataset that one sentence can say."""


@dataclass(frozen=True, eq=False)
class Entry:
    """One episode of a folder, without its pictures. steps: its columns (N, ...). cameras: whose pictures it has."""

    path: Path
    about: About
    steps: dict[str, np.ndarray]
    cameras: tuple[str, ...]

    @property
    def source(self) -> str:
        """See `source_of`."""
        return source_of(self.path)

    def __len__(self) -> int:
        return len(self.steps["stamp"])


def source_of(path: Path) -> str:
    """Folder and file, by their names."""
    return f"{path.parent.name}/{path.name}"


def origin_of(about: About, source: str) -> tuple[str, str]:
    """The recording that an episode, perhaps a piece of a piece, was first: its file and when it began.

    source: see `source_of`.
    """
    came_from = about.notes.get("from")
    while came_from is not None:
        source, came_from = came_from["episode"], came_from.get("from")
    return source, about.began


def check_once(found: Sequence[Entry]) -> None:
    """Raises DatasetError where a step of one recording is there twice."""
    by_origin: dict[tuple[str, str], list[tuple[int, int, Entry]]] = {}
    for entry in found:
        start, came_from = 0, entry.about.notes.get("from")
        while came_from is not None:
            start, came_from = start + came_from["steps"][0], came_from.get("from")
        by_origin.setdefault(origin_of(entry.about, entry.source), []).append((start, start + len(entry), entry))
    for (origin, _), pieces in by_origin.items():
        pieces.sort(key=lambda piece: piece[:2])
        for (_, end, one), (begin, _, other) in itertools.pairwise(pieces):
            if begin < end:
                raise DatasetError(
                    f"{one.path} and {other.path} hold the same steps of {origin}: name one of their folders."
                )


def episode_files(folder: Path) -> list[Path]:
    """At least one. Raises DatasetError."""
    if not folder.is_dir():
        raise DatasetError(f"There is no folder {folder}.")
    found = files(folder)
    if not found:
        raise DatasetError(f"{folder} holds no episodes (episode_*.h5).")
    return found


def entries(folders: Sequence[Path]) -> list[Entry]:
    """All episodes of all folders, in order. Raises DatasetError, EpisodeBroken."""
    return [Entry(path, *read_columns(path)) for folder in folders for path in episode_files(folder)]


def check_alike(found: Sequence[Entry]) -> None:
    """Of one task, contract, rate and set of cameras. Raises DatasetError with two that differ."""
    first = found[0]
    for what, of in _ALIKE.items():
        other = next((entry for entry in found if of(entry) != of(first)), None)
        if other is not None:
            raise DatasetError(
                f"{first.source} and {other.source} differ in their {what} ({of(first)} and {of(other)}):"
                " make a dataset of each kind."
            )


_ALIKE = {
    "task": lambda entry: entry.about.task,
    "contract": lambda entry: entry.about.contract_hash[:12],
    "rate": lambda entry: entry.about.rate_hz,
    "cameras": lambda entry: ", ".join(entry.cameras),
}


def check_judged(found: Sequence[Entry]) -> None:
    """Raises DatasetError where nobody has said whether an episode succeeded."""
    unlabelled = [entry for entry in found if entry.about.success is None]
    if unlabelled:
        raise DatasetError(
            f"{len(unlabelled)} of {len(found)} episodes are not labelled as success or failure, the first is"
            f" {unlabelled[0].source}: label them first."
        )


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """A folder to fill, which gets its name once the block is through. Raises DatasetError where it exists."""
    if folder.exists():
        raise DatasetError(f"{folder} exists: name another folder, or delete it.")
    folder.parent.mkdir(parents=True, exist_ok=True)
    _sweep(folder)
    staging = folder.with_name(f".{folder.name}.{os.getpid()}")
    staging.mkdir()
    try:
        yield staging
        if folder.exists():
            raise DatasetError(f"{folder} has come into being meanwhile: name another folder, or delete it.")
        staging.rename(folder)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _sweep(folder: Path) -> None:
    """Removes what killed processes have left of the same folder."""
    for left in folder.parent.glob(f".{folder.name}.*"):
        owner = left.suffix[1:]
        if owner.isdigit() and not Path(f"/proc/{owner}").exists():
            shutil.rmtree(left, ignore_errors=True)
