"""Whether the files of a folder are whole, agree with each other, and say what the arm was told."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np

from contract.poses import rotation_between
from robot_runtime.collection import actions
from robot_runtime.collection.episode import SIDE_PX, Episode, EpisodeBroken, read
from robot_runtime.collection.folders import DatasetError, Entry, check_alike, check_judged

STAMP_TOLERANCE_S = 0.045
"""How far a step may be from 1 / rate after the one before: a tick of a 20 Hz policy that was left out is found."""
CHAIN_TOLERANCE_M = 1e-6
CHAIN_TOLERANCE_RAD = 1e-6
"""How near the executed action must lead to the next recorded command: they are the same numbers, told twice."""


def check(paths: Iterable[Path]) -> Iterator[str]:
    """One sentence for each thing that is wrong with a file, then with the files together. Reads them whole."""
    whole = []
    for path in paths:
        try:
            episode = read(path)
        except EpisodeBroken as error:
            yield str(error)
            continue
        whole.append(Entry(path, episode.about, episode.steps, tuple(sorted(episode.images))))
        yield from (f"{path}: {problem}" for problem in problems(episode))
    yield from disagreements(whole)


def problems(episode: Episode) -> Iterator[str]:
    """What is wrong with one episode that has all its columns."""
    for camera, pictures in episode.images.items():
        bad = [k for k, file in enumerate(pictures) if _side(file) != SIDE_PX]
        if bad:
            yield f"Picture {bad[0]} of camera '{camera}' cannot be decoded or is not {SIDE_PX} pixels wide and high."
        if (np.diff(episode.image_stamps[camera]) < 0.0).any():
            yield f"Pictures of camera '{camera}' are not in the order of their stamps."
    gaps = np.abs(np.diff(episode.steps["stamp"]) - 1.0 / episode.about.rate_hz)
    if (gaps > STAMP_TOLERANCE_S).any():
        k = int(gaps.argmax())
        yield f"Steps {k} and {k + 1} are {gaps[k]:.3f} s off the {episode.about.rate_hz:g} Hz they are said to have."
    yield from _broken_chain(episode)


def disagreements(entries: Sequence[Entry]) -> Iterator[str]:
    """What keeps whole episodes from being one dataset."""
    for rule in (check_alike, check_judged) if entries else ():
        try:
            rule(entries)
        except DatasetError as error:
            yield str(error)


def _side(file: bytes) -> int:
    picture = cv2.imdecode(np.frombuffer(file, np.uint8), cv2.IMREAD_COLOR) if file else None
    return -1 if picture is None or picture.shape[0] != picture.shape[1] else picture.shape[0]


def _broken_chain(episode: Episode) -> Iterator[str]:
    """Executed actions, one after the other, must lead from each command to the next; in both frames."""
    kept = "demonstrated" if "demonstrated_base" in episode.steps else "executed"
    commands = [actions.pose_of(row) for row in episode.steps["command_base_tcp"]]
    for frame in ("base", "wrist"):
        for k, row in enumerate(episode.steps[f"{kept}_{frame}"][:-1]):
            base = row if frame == "base" else actions.from_wrist(row, commands[k])
            reached = actions.applied(base, commands[k])
            off_m = float(np.linalg.norm(reached.position - commands[k + 1].position))
            off_rad = float(np.linalg.norm(rotation_between(reached.quaternion, commands[k + 1].quaternion)))
            if off_m > CHAIN_TOLERANCE_M or off_rad > CHAIN_TOLERANCE_RAD:
                yield (
                    f"What was executed in step {k} ({frame} frame) misses the next command by"
                    f" {1e3 * off_m:.3f} mm and {off_rad:.4f} rad."
                )
                break
