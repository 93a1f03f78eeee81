"""Trains a success classifier from the pictures of episodes, and chooses its threshold for precision."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torchvision
from torch import nn

from contract.task_spec import TaskSpec
from robot_runtime.collection import episode as episodes
from robot_runtime.collection.classifier import (
    CARD,
    INPUT,
    OUTPUT,
    WEIGHTS,
    CameraNotThere,
    Card,
    as_input,
    in_a_row,
    of_episode,
    precision_recall,
)
from robot_runtime.collection.episode import SIDE_PX, EpisodeBroken
from robot_runtime.collection.success_steps import DONE, NOT_DONE, CannotJudge, verdicts

Backbone = Literal["shufflenet_v2_x0_5", "mobilenet_v3_small", "resnet18"]
_SIXTEENTH: dict[Backbone, int] = {"shufflenet_v2_x0_5": 4, "mobilenet_v3_small": 9, "resnet18": 7}
"""So many of its layers lead to features a sixteenth as fine as the picture."""
LEAST_THRESHOLD = 0.5
"""Where a lower one would do on few calibration episodes, it would still be wrong."""


class UnusableData(ValueError):
    """The episodes do not show both success and failure of one task. Collect, or leave out, as the sentence says."""


@dataclass(frozen=True)
class Shown:
    """One episode as the classifier sees it. pictures: (N, SIDE_PX, W, 3) uint8. verdicts: (N,); success: of all."""

    path: Path
    success: bool
    pictures: np.ndarray
    verdicts: np.ndarray


Scored = tuple[Shown, np.ndarray]
"""With the probability, for each of its pictures, that the task is done. Shape: (N,)"""


@dataclass(frozen=True)
class Split:
    """Episodes apart: to learn from, to choose the threshold with, and to report on."""

    training: list[Shown]
    calibration: list[Shown]
    held_out: list[Shown]


def show(path: Path, spec: TaskSpec, cameras: tuple[str, ...]) -> Shown:
    """Reads one episode. Raises UnusableData, or EpisodeBroken."""
    read = episodes.read(path)
    if read.about.task != spec.name:
        raise UnusableData(f"{path} is an episode of '{read.about.task}', not of '{spec.name}': leave it out.")
    try:
        found = verdicts(read, spec)
        success = bool((found == DONE).any()) if read.about.success is None else read.about.success
        return Shown(path, success, of_episode(read, cameras), found)
    except (CannotJudge, CameraNotThere) as error:
        raise UnusableData(f"{path} {error}") from error
    except EpisodeBroken as error:
        raise EpisodeBroken(f"{path}: {error}") from error


def split(shown: Sequence[Shown], seed: int) -> Split:
    """Three fifths, a fifth, a fifth, whole episodes, of successes and of failures alike. Raises UnusableData."""
    random = np.random.default_rng(seed)
    parts: tuple[list[Shown], ...] = ([], [], [])
    for success, word in ((True, "successful"), (False, "failed")):
        some = [one for one in shown if one.success == success]
        if len(some) < len(parts):
            raise UnusableData(
                f"There are {len(some)} {word} episodes; at least {len(parts)} are needed: collect more of them."
            )
        for place, index in enumerate(random.permutation(len(some))):
            parts[(0, 0, 0, 1, 2)[place % 5] if len(some) >= 5 else place % 3].append(some[index])
    for part in parts:
        steps = np.concatenate([one.verdicts for one in part])
        for verdict, word in ((DONE, "done"), (NOT_DONE, "not done")):
            if not (steps == verdict).any():
                raise UnusableData(
                    f"No step of {len(part)} episodes shows the task {word}: collect more, or mark them."
                )
    return Split(*parts)


def network(backbone: Backbone, weights: Path | None, width: int, seed: int) -> nn.Module:
    """One output: the logit that the task is done. width: of the pictures, all cameras side by side.

    weights: a state dict of the backbone as torchvision has it. What it sees a sixteenth as fine is not averaged over
    the picture but kept in its place, since where things are is what tells high from low. Raises UnusableData.
    """
    torch.manual_seed(seed)
    whole: nn.Module = getattr(torchvision.models, backbone)(weights=None)
    if weights is not None:
        try:
            whole.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
        except Exception as error:  # whatever torch thinks of another file
            raise UnusableData(f"{weights} does not hold the weights of {backbone}: leave --weights out.") from error
    layers = list(whole.features if backbone == "mobilenet_v3_small" else whole.children())
    seen = nn.Sequential(*layers[: _SIXTEENTH[backbone]])
    with torch.inference_mode():
        channels = seen.eval()(torch.zeros(1, 3, SIDE_PX, width)).shape[1]
    places = (SIDE_PX // 16) * (width // 16)
    return nn.Sequential(
        seen, nn.Conv2d(channels, 16, 1), nn.BatchNorm2d(16), nn.ReLU(), nn.Flatten(),
        nn.Dropout(0.3), nn.Linear(16 * places, 64), nn.ReLU(), nn.Linear(64, 1),
    )  # fmt: skip


def train(
    model: nn.Module, shown: Sequence[Shown], steps: int, batch: int, seed: int, told: Callable[[float], None]
) -> None:
    """Learns from as many done as not done pictures, changed at random. told: the running loss after every step."""
    generator = torch.Generator().manual_seed(seed)
    random = np.random.default_rng(seed)
    places = {
        verdict: [(one.pictures, k) for one in shown for k in np.flatnonzero(one.verdicts == verdict)]
        for verdict in (DONE, NOT_DONE)
    }
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=3e-3, total_steps=steps)
    wanted = torch.arange(batch, dtype=torch.float32) % 2
    model.train()
    running = np.log(2.0)
    for _ in range(steps):
        chosen = [places[int(done)][random.integers(len(places[int(done)]))] for done in wanted]
        pixels = torch.from_numpy(as_input(np.stack([pictures[k] for pictures, k in chosen])))
        logits = model(changed(pixels, generator))[:, 0]
        loss = nn.functional.binary_cross_entropy_with_logits(logits, wanted * 0.98 + 0.01)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        running = 0.95 * running + 0.05 * float(loss.detach())
        told(running)
    model.eval()


def changed(pixels: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Other light, colours and contrast, each camera's picture shifted a little. Shape: (B, 3, SIDE_PX, W)"""
    count = len(pixels)

    def drawn(spread: float, *shape: int) -> torch.Tensor:
        return 1.0 + spread * (2.0 * torch.rand(count, *shape, generator=generator) - 1.0)

    mean = pixels.mean((2, 3), keepdim=True)
    jittered = (pixels - mean) * drawn(0.3, 1, 1, 1) + mean * drawn(0.3, 1, 1, 1) + drawn(0.15, 3, 1, 1) - 1.0
    moved = jittered.clone()
    for index in range(count):
        for left in range(0, pixels.shape[3], SIDE_PX):
            aside = torch.randint(-3, 4, (2,), generator=generator).tolist()
            part = jittered[index, :, :, left : left + SIDE_PX]
            moved[index, :, :, left : left + SIDE_PX] = part.roll(aside, (1, 2))
    return moved.clamp(-1.0, 1.0)


def probabilities(model: nn.Module, pictures: np.ndarray) -> np.ndarray:
    """That the task is done. Shape: (N,)"""
    with torch.inference_mode():
        parts = [torch.from_numpy(as_input(pictures[k : k + 32])) for k in range(0, len(pictures), 32)]
        return np.asarray(torch.cat([model(part)[:, 0] for part in parts]).sigmoid().numpy())


def choose_threshold(scored: Sequence[Scored], consecutive: int, least_precision: float) -> float | None:
    """At which pictures in a row, and whole episodes, are right that often; None where there is none.

    Of those that recognise the most successful episodes, the middle one: as far from either mistake as can be.
    """
    found: list[tuple[int, float]] = []
    for threshold in np.arange(LEAST_THRESHOLD, 0.9951, 0.005):
        counts = count(scored, float(threshold), consecutive)
        rates = [counts[level]["precision"] for level in ("in_a_row", "episodes")]
        if all(rate is not None and rate >= least_precision for rate in rates):
            found.append((counts["episodes"]["right"], float(threshold)))
    best = [threshold for right, threshold in found if right == max(found)[0]]
    return round(best[len(best) // 2], 3) if best else None


def count(scored: Sequence[Scored], threshold: float, consecutive: int) -> dict[str, dict[str, Any]]:
    """Precision and recall of the clear pictures one by one, of so many in a row, and of whole episodes."""
    alone, in_row, true, whole = [], [], [], []
    for shown, scores in scored:
        clear = (shown.verdicts == DONE) | (shown.verdicts == NOT_DONE)
        done = in_a_row(scores >= threshold, consecutive)
        alone.append(scores[clear] >= threshold)
        in_row.append(done[clear])
        true.append(shown.verdicts[clear] == DONE)
        whole.append(done.any())
    truth = np.concatenate(true)
    return {
        "pictures": precision_recall(np.concatenate(alone), truth),
        "in_a_row": precision_recall(np.concatenate(in_row), truth),
        "episodes": precision_recall(np.array(whole), np.array([shown.success for shown, _ in scored])),
    }


def ship(model: nn.Module, card: Card, folder: Path, width: int) -> Card:
    """Writes ONNX and card into a new folder, whole or not at all; returns the card with the file's checksum.

    width: of the pictures, all cameras side by side. Raises OSError.
    """
    staging = folder.with_name(f".{folder.name}.{os.getpid()}")
    staging.mkdir(parents=True)
    try:
        whole = nn.Sequential(model, nn.Sigmoid()).eval()
        torch.onnx.export(
            whole, (torch.zeros(1, 3, SIDE_PX, width),), staging / WEIGHTS, input_names=[INPUT], output_names=[OUTPUT],
            dynamic_axes={INPUT: {0: "n"}, OUTPUT: {0: "n"}}, dynamo=False,
        )  # fmt: skip
        card = replace(card, weights_sha256=hashlib.sha256((staging / WEIGHTS).read_bytes()).hexdigest())
        (staging / CARD).write_text(card.as_json())
        staging.rename(folder)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return card
