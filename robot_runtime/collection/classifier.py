"""Whether pictures show the task done. It labels episodes and ends them; nobody's safety may depend on it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from robot_runtime.collection.episode import SIDE_PX, Episode
from robot_runtime.trials import wilson_interval

WEIGHTS, CARD = "classifier.onnx", "card.json"
INPUT, OUTPUT = "pictures", "done"
BATCH = 32


class ClassifierUnusable(ValueError):
    """The folder holds no whole classifier, or one for something else. Train it with launch/train_classifier.py."""


class CameraNotThere(ValueError):
    """The classifier looks through a camera that was not recorded. Train one for the cameras that were."""


@dataclass(frozen=True)
class Card:
    """What a classifier is. cameras: whose pictures it sees side by side, in that order.

    threshold: a picture counts as done from this probability on; consecutive: so many in a row are needed.
    weights_sha256: of its ONNX file. figures: precision, recall and counts of every split. provenance: how it was made.
    """

    task: str
    cameras: tuple[str, ...]
    threshold: float
    consecutive: int
    weights_sha256: str
    figures: dict[str, Any] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)

    def as_json(self) -> str:
        """The card's file."""
        return json.dumps(asdict(self), indent=2) + "\n"


def beside(pictures: Mapping[str, np.ndarray], cameras: tuple[str, ...]) -> np.ndarray:
    """The cameras' pictures side by side. Shape: each (N, SIDE_PX, SIDE_PX, 3) -> (N, SIDE_PX, cameras * SIDE_PX, 3)"""
    return np.concatenate([pictures[camera] for camera in cameras], axis=2)


def of_episode(episode: Episode, cameras: tuple[str, ...]) -> np.ndarray:
    """Its pictures as the classifier sees them, as `beside`. Raises CameraNotThere."""
    for camera in cameras:
        if camera not in episode.images:
            there = ", ".join(sorted(episode.images))
            raise CameraNotThere(f"has no pictures of camera '{camera}', only of {there}.")
    return beside({camera: episode.pictures(camera) for camera in cameras}, cameras)


def as_input(pictures: np.ndarray) -> np.ndarray:
    """What the network takes: colours from −1 to 1. Shape: (N, H, W, 3) uint8 -> (N, 3, H, W) float32"""
    return np.ascontiguousarray(pictures.transpose(0, 3, 1, 2), np.float32) / 127.5 - 1.0


def in_a_row(done: np.ndarray, consecutive: int) -> np.ndarray:
    """Where the last `consecutive` have all been true. Shape: (N,) bool"""
    counts = np.cumsum(done)
    before = np.concatenate([np.zeros(consecutive, counts.dtype), counts])[: len(counts)]
    return np.asarray(counts - before == consecutive)


def precision_recall(said: np.ndarray, true: np.ndarray) -> dict[str, Any]:
    """How much of what was said is true, and the other way round; None of nothing. Shapes: (N,) bool"""
    right, claimed, real = int((said & true).sum()), int(said.sum()), int(true.sum())
    return {
        "count": len(true), "true": real, "said": claimed, "right": right,
        "precision": right / claimed if claimed else None, "precision_interval": wilson_interval(right, claimed),
        "recall": right / real if real else None, "recall_interval": wilson_interval(right, real),
    }  # fmt: skip


class SuccessClassifier:
    """A trained classifier, run by ONNX Runtime."""

    def __init__(self, folder: Path, task: str | None = None, threads: int = 1) -> None:
        """task: which it must be for, if given. Raises ClassifierUnusable."""
        import onnxruntime

        self.card = read_card(folder)
        if task not in (None, self.card.task):
            raise ClassifierUnusable(f"{folder} judges '{self.card.task}', not '{task}': train one for that task.")
        weights = folder / WEIGHTS
        if not weights.is_file():
            raise ClassifierUnusable(f"{folder} has no {WEIGHTS}: train it again with launch/train_classifier.py.")
        if hashlib.sha256(weights.read_bytes()).hexdigest() != self.card.weights_sha256:
            raise ClassifierUnusable(f"{weights} is not the file its card was written for: copy or train it again.")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(weights, options, providers=["CPUExecutionProvider"])

    @property
    def name(self) -> str:
        """Tells classifiers apart."""
        return f"weights {self.card.weights_sha256[:12]}"

    def probabilities(self, pictures: np.ndarray) -> np.ndarray:
        """That the task is done. pictures: as `beside`. Shape: (N,)"""
        parts = [pictures[k : k + BATCH] for k in range(0, len(pictures), BATCH)]
        return np.concatenate([self._session.run([OUTPUT], {INPUT: as_input(part)})[0][:, 0] for part in parts])

    def done(self, pictures: np.ndarray) -> np.ndarray:
        """Where it has been done for long enough. Shape: (N,) bool"""
        return in_a_row(self.probabilities(pictures) >= self.card.threshold, self.card.consecutive)

    def succeeded(self, episode: Episode) -> bool:
        """Whether the task was done at any time. Raises CameraNotThere."""
        return bool(self.done(of_episode(episode, self.card.cameras)).any())


class StopSignal:
    """Of one episode: fed with pictures at the dataset's rate, says when the task has been done for long enough.

    Only pictures at rest count: a single one does not show whether what is high is also still. It takes twice as many
    as a label does: an end cannot be taken back.
    """

    def __init__(self, classifier: SuccessClassifier) -> None:
        self._classifier, self._run = classifier, 0

    def __call__(self, pictures: Mapping[str, np.ndarray], still: bool) -> bool:
        """pictures: camera to the newest, each (SIDE_PX, SIDE_PX, 3) uint8. still: the arm. Raises CameraNotThere."""
        card = self._classifier.card
        for camera in card.cameras:
            if camera not in pictures or pictures[camera].shape != (SIDE_PX, SIDE_PX, 3):
                raise CameraNotThere(f"The classifier needs a {SIDE_PX} x {SIDE_PX} picture of camera '{camera}'.")
        seen = beside({camera: pictures[camera][None] for camera in card.cameras}, card.cameras)
        done = still and self._classifier.probabilities(seen)[0] >= card.threshold
        self._run = self._run + 1 if done else 0
        return self._run >= 2 * card.consecutive


def read_card(folder: Path) -> Card:
    """Raises ClassifierUnusable."""
    try:
        plain = json.loads((folder / CARD).read_text())
        return Card(**plain | {"cameras": tuple(plain["cameras"])})
    except FileNotFoundError:
        raise ClassifierUnusable(f"{folder} holds no classifier: train one with launch/train_classifier.py.") from None
    except (KeyError, TypeError, ValueError) as error:
        raise ClassifierUnusable(f"{folder / CARD} is damaged: copy or train the classifier again.") from error
