"""Whether an export, as the ecosystem's own reader hands it out, is its source."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from robot_runtime.collection.convention import Frame, exported_actions, exported_states, statistics
from robot_runtime.collection.episode import Episode, read
from robot_runtime.collection.folders import DatasetError, episode_files, source_of

MANIFEST = "export.json"
NUMBER_TOLERANCE = 1e-6
"""For actions and states, in metres, radians and shares."""
STATISTICS_TOLERANCE = 1e-5
"""float32 sums in another order."""
IMAGE_TOLERANCE = {"rlds": 2.0, "lerobot": 12.0, "lerobot21": 12.0}
"""Mean absolute difference of a picture, in levels of 255. RLDS: TensorFlow decodes JPEG by a
faster, coarser transform; LeRobot: AV1 at its default CRF of 30, which drops noise and
halves the resolution of colours. That no picture has slipped by a step is checked apart."""

SLIP_MARGIN = 0.5
"""Levels of 255, by which another step's pictures must fit better before they are said to: of still scenes all do."""


@dataclass(frozen=True)
class Seen:
    """One episode as a reader has it; shapes as in `rlds.RldsEpisode`. marks_ends: first and last step say so."""

    source: str
    actions: np.ndarray
    states: np.ndarray
    images: dict[str, np.ndarray]
    instruction: str
    marks_ends: bool = True


def write_manifest(folder: Path, kind: str, name: str, frame: Frame, episodes: Sequence[str]) -> None:
    """What the export is, and the source of each of its episodes in order."""
    content = {"format": kind, "name": name, "frame": frame, "episodes": list(episodes)}
    (folder / MANIFEST).write_text(json.dumps(content, indent=1) + "\n")


def manifest(folder: Path) -> dict[str, Any]:
    """Raises DatasetError."""
    try:
        content: dict[str, Any] = json.loads((folder / MANIFEST).read_text())
    except (OSError, ValueError):
        raise DatasetError(f"{folder} is no export of launch/dataset.py: it has no readable {MANIFEST}.") from None
    return content


def compare(
    folder: Path, sources: Sequence[Path], seen: Iterable[Seen], told: Mapping[str, Sequence[float]]
) -> dict[str, Any]:
    """Figures, and one sentence for each thing that differs. sources: folders. told: statistics of actions.

    Raises DatasetError, EpisodeBroken.
    """
    exported = manifest(folder)
    paths = {source_of(path): path for source in sources for path in episode_files(source)}
    worst, problems, actions = _Worst(), [], []
    for episode in seen:
        actions.append(episode.actions)
        if episode.source not in paths:
            problems.append(f"{episode.source} is not in the source, or comes twice.")
            continue
        problems += worst.add(episode, read(paths.pop(episode.source)), exported["frame"])
    problems += [f"{source} is missing in the export." for source in paths]
    own = statistics(np.concatenate(actions)) if actions else {}
    off = [np.abs(np.asarray(told[key]) - own[key]).max() for key in ("mean", "std", "min", "max") if key in own]
    limit = IMAGE_TOLERANCE[exported["format"]]
    figures = {
        "format": exported["format"],
        "frame": exported["frame"],
        "episodes": len(actions),
        "steps": sum(map(len, actions)),
        "cameras": sorted(worst.picture),
        "action_max_difference": worst.action,
        "state_max_difference": worst.state,
        "picture_mean_difference": {camera: sum(each) / len(each) for camera, each in worst.picture.items()},
        "picture_worst_difference": {camera: max(each) for camera, each in worst.picture.items()},
        "picture_tolerance": limit,
        "statistics_max_difference": float(max(off, default=np.inf)),
    }
    number = max(worst.action, worst.state)
    if number > NUMBER_TOLERANCE:
        problems.append(f"Actions or states are off by up to {number:.1e}; {NUMBER_TOLERANCE} is allowed.")
    problems += [
        f"A picture of camera '{camera}' is off by {max(each):.1f} levels on average; {limit} are allowed."
        for camera, each in worst.picture.items()
        if max(each) > limit
    ]
    if figures["statistics_max_difference"] > STATISTICS_TOLERANCE:
        problems.append(f"The statistics of the actions are off by {figures['statistics_max_difference']:.1e}.")
    return figures | {"problems": problems}


class _Worst:
    """The largest differences so far. picture: camera to the mean absolute difference of each picture."""

    def __init__(self) -> None:
        self.action = self.state = 0.0
        self.picture: dict[str, list[float]] = {}

    def add(self, seen: Seen, source: Episode, frame: Frame) -> list[str]:
        """One sentence for each shape or word that differs."""
        actions, states = exported_actions(source.steps, frame), exported_states(source.steps)
        if seen.actions.shape != actions.shape or seen.states.shape != states.shape:
            return [f"{seen.source} has actions of shape {seen.actions.shape}, not {actions.shape}."]
        self.action = max(self.action, float(np.abs(seen.actions - actions).max()))
        self.state = max(self.state, float(np.abs(seen.states - states).max()))
        problems = []
        if seen.instruction != source.about.instruction or not seen.marks_ends:
            problems.append(f"{seen.source} has another instruction, or its first and last step are not marked.")
        if sorted(seen.images) != sorted(source.images):
            return [*problems, f"{seen.source} has cameras {sorted(seen.images)}, not {sorted(source.images)}."]
        for camera, pictures in seen.images.items():
            own = source.pictures(camera)
            if pictures.shape != own.shape:
                problems.append(f"{seen.source} has pictures of shape {pictures.shape}, not {own.shape}.")
                continue
            off = _difference(pictures, own)
            self.picture.setdefault(camera, []).extend(off.tolist())
            if _slipped(pictures, own):
                problems.append(f"{seen.source}: pictures of camera '{camera}' fit the step before or after better.")
        return problems


def _difference(pictures: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Mean absolute, in levels of 255. Shape: (N, height, width, 3) twice -> (N,)"""
    off: np.ndarray = np.abs(pictures.astype(np.int16) - others).mean((1, 2, 3))
    return off


def _slipped(pictures: np.ndarray, own: np.ndarray) -> bool:
    """Whether they are nearer to the source's pictures of one step earlier or later than to their own."""
    if len(own) < 2:
        return False
    later, earlier = _difference(pictures[1:], own[:-1]).mean(), _difference(pictures[:-1], own[1:]).mean()
    return bool(_difference(pictures, own).mean() > min(later, earlier) + SLIP_MARGIN)
