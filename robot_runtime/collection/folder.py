"""A folder of episodes that are alike: one collector at a time, one task, contract and policy, and room on disk."""

from __future__ import annotations

import contextlib
import hashlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robot_runtime.collection import episode
from robot_runtime.collection.episode import About, Episode
from robot_runtime.locks import Taken, exclusive

MARGIN_BYTES = 200_000_000
"""Left free on the disk, whatever else writes there."""
GUESSED_BYTES, GUESSED_BYTES_WITH_FRAMES = 1_000_000, 6_000_000
"""Of an episode, before the first one is there."""
FAILURES_TOO = 1.5
"""So many episodes are written for one that succeeds, at a guess on the safe side."""


class OtherEpisodes(ValueError):
    """The folder holds episodes of something else. Name another folder."""


class FolderBusy(RuntimeError):
    """Another program collects into this folder. Wait for it or stop it."""


class DiskFull(RuntimeError):
    """There is no room for the episodes. Free some, or name a folder on another disk."""


@dataclass(frozen=True)
class Kind:
    """What all episodes of a folder share. policy: what acted, with its hash. cell: its name."""

    task: str
    contract_hash: str
    policy: str
    cell: str

    @staticmethod
    def of(about: About) -> Kind:
        """Of one episode."""
        return Kind(about.task, about.contract_hash, about.policy, about.cell)


class Folder:
    """Counts what is there and adds to it. Raises OtherEpisodes, EpisodeBroken, DiskFull."""

    def __init__(self, path: Path, kind: Kind) -> None:
        """Half-written files of a killed program are swept away. Only its collector may open a folder."""
        self.path = path
        try:
            path.mkdir(parents=True, exist_ok=True)
            for staging in path.glob(".episode_*.h5.*"):
                staging.unlink()
        except OSError as error:
            raise DiskFull(f"{path} cannot be written ({error.strerror}): name another folder with --out.") from error
        files = episode.files(path)
        self.abouts = [episode.read_about(file) for file in files]
        for file, about in zip(files, self.abouts, strict=True):
            _check_kind(file, about, kind)
        self.next_number = 1 + max(map(_number_of, files), default=-1)
        self.sizes = [file.stat().st_size for file in files]

    def check_room(self, missing: int, with_frames: bool) -> None:
        """Raises DiskFull if so many successful episodes may not fit."""
        guess = GUESSED_BYTES_WITH_FRAMES if with_frames else GUESSED_BYTES
        each = sum(self.sizes) / len(self.sizes) if self.sizes else guess
        needed = int(missing * each * FAILURES_TOO) + MARGIN_BYTES
        free = shutil.disk_usage(self.path).free
        if missing and free < needed:
            raise DiskFull(
                f"{self.path} has {free / 1e6:.0f} MB free and {missing} more episodes need {needed / 1e6:.0f} MB: free"
                " some, or name a folder on another disk with --out."
            )

    def add(self, number: int, made: Episode) -> Path:
        """Write one, whole or not at all. Raises DiskFull."""
        path = self.path / episode.name_of(number)
        try:
            episode.write(path, made)
        except OSError as error:
            raise DiskFull(
                f"{path} cannot be written ({error.strerror}): this episode is lost, the {len(self.sizes)} before are"
                " whole; make room and start the same command again."
            ) from error
        self.sizes.append(path.stat().st_size)
        self.abouts.append(made.about)
        self.next_number = number + 1
        return path

    def report(self) -> dict[str, Any]:
        """Figures of all episodes that are there."""
        timings = [about.timings for about in self.abouts]
        dropped = [count for each in timings for count in each.get("frames_dropped", {}).values()]
        return {
            "files": len(self.abouts),
            "steps": sum(each.get("steps", 0) for each in timings),
            "frames_dropped": sum(dropped),
            "bytes_per_episode": sum(self.sizes) / len(self.sizes) if self.sizes else 0.0,
        }


def _number_of(file: Path) -> int:
    number = file.stem.removeprefix("episode_")
    if not number.isdecimal():
        raise OtherEpisodes(f"{file} is not named as episodes are, episode_00000.h5: move it elsewhere.")
    return int(number)


def _check_kind(file: Path, about: About, kind: Kind) -> None:
    for name, wanted in vars(kind).items():
        found = getattr(about, name)
        if found != wanted:
            what = name.replace("_", " ")
            raise OtherEpisodes(
                f"{file} is of {what} '{_short(found)}', not of '{_short(wanted)}': name another folder with --out."
            )


def _short(name: str) -> str:
    return name if len(name) <= 60 else f"{name[:57]}..."


@contextlib.contextmanager
def alone_in(path: Path) -> Iterator[None]:
    """One collector at a time in a folder. Raises FolderBusy with the process that is there."""
    name = f"collect-{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:16]}"
    with contextlib.ExitStack() as held:
        try:
            held.enter_context(exclusive(name))
        except Taken as error:
            raise FolderBusy(f"Process {error.holder} collects into {path}: wait for it or stop it.") from None
        yield
