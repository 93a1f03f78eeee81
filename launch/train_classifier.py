#!/usr/bin/env python3
"""Train a success classifier from folders of episodes, choose its threshold for precision, and write its card."""

import _environment

_environment.enter()

import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import tyro
from tqdm import tqdm

import _rendered_success
import _reports
from contract.poses import Pose
from contract.tasks import UnknownTask, task
from robot_runtime.cell import CellError, load_cell
from robot_runtime.collection import classifier_training as training
from robot_runtime.collection import episode as episodes
from robot_runtime.collection.classifier import Card
from robot_runtime.collection.classifier_training import Backbone, Scored, Shown, UnusableData
from robot_runtime.collection.episode import EpisodeBroken
from robot_runtime.collection.folders import DatasetError, episode_files, origin_of, source_of
from robot_runtime.collection.success_steps import DONE, NOT_DONE, lifts
from robot_runtime.mock_cell.rendering import NoOffscreenRendering

ROOT = Path(__file__).resolve().parent.parent
EXPECTED = (CellError, UnknownTask, UnusableData, DatasetError, EpisodeBroken, NoOffscreenRendering, OSError)


@dataclass(frozen=True)
class Arguments:
    """From what, to what, and how long."""

    data: tuple[Path, ...]
    """Folders of labelled episodes, of successes and of failures."""
    out: Path
    """Folder to write: classifier.onnx and card.json."""
    task: str = "lift_cube"
    """Which task the episodes are of."""
    cameras: tuple[str, ...] = ("wrist", "front")
    """Whose pictures it sees, side by side."""
    backbone: Backbone = "shufflenet_v2_x0_5"
    """Network of torchvision."""
    weights: Path | None = None
    """State dict of the backbone to begin with; at random if not given."""
    steps: int = 300
    """Batches to learn from."""
    batch: int = 32
    """Pictures in a batch, half of them done."""
    consecutive: int = 4
    """So many pictures in a row must show the task done."""
    precision: float = 0.98
    """What the threshold must reach on the calibration episodes."""
    rendered: int = 0
    """So many synthetic pictures of the mock cell's scene, drawn without physics, to learn from besides."""
    rendered_cell: str = "mock_rldg"
    """Where the wrist camera is in these pictures: name of a mock cell under launch/cells, or its file."""
    seed: int = 0
    """Of the split, the weights, the batches and the synthetic pictures."""
    report: Path | None = None
    """Also write the card here."""


def read(arguments: Arguments) -> list[Shown]:
    """All episodes. Raises UnusableData, DatasetError, EpisodeBroken."""
    spec = task(arguments.task)
    paths = [path for folder in arguments.data for path in episode_files(folder)]
    recorded: dict[tuple[str, str], Path] = {}
    for path in paths:
        origin = origin_of(episodes.read_about(path), source_of(path))
        if (first := recorded.get(origin)) is not None:
            raise UnusableData(f"{path} and {first} are of one recording: what it is tried on would have been learnt.")
        recorded[origin] = path
    return [training.show(path, spec, arguments.cameras) for path in tqdm(paths, desc="reading episodes")]


def synthetic(arguments: Arguments) -> list[Shown]:
    """Raises NoOffscreenRendering, CellError."""
    count, wrist = arguments.rendered, load_cell(arguments.rendered_cell).wrist_camera
    mount = None if wrist is None or wrist.T_tcp_camera is None else Pose.from_matrix(wrist.T_tcp_camera_matrix)
    drawn = _rendered_success.rendered(count, arguments.seed, task(arguments.task), arguments.cameras, mount)
    return list(tqdm(drawn, desc="rendering", total=count, mininterval=1.0)) if count else []


def provenance(arguments: Arguments, shown: Sequence[Shown]) -> dict[str, Any]:
    """What a reader of the card can repeat it with; folders are of the machine, so only their names are told."""
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True).stdout.strip()
    settings = {k: v for k, v in asdict(arguments).items() if k not in ("data", "out", "report", "weights")}
    abouts = [episodes.read_about(one.path) for one in shown]
    return {
        "commit": commit or "unknown",
        **settings,
        "weights": "random" if arguments.weights is None else arguments.weights.name,
        "data": [folder.name for folder in arguments.data],
        "episodes": dict(Counter(f"{'success' if one.success else 'failure'}" for one in shown)),
        "policies": dict(Counter(about.policy for about in abouts)),
        "cells": dict(Counter(about.cell for about in abouts)),
        "labelled_by": dict(Counter(str(about.success_by) for about in abouts)),
        "torch": torch.__version__,
    }


def main(arguments: Arguments) -> None:
    """Reads, trains, chooses, reports, ships. Raises one of EXPECTED."""
    check(arguments)
    _reports.check(arguments.report)
    began_s = time.monotonic()
    shown = read(arguments)
    parts = training.split(shown, arguments.seed)
    width = shown[0].pictures.shape[2]
    model = training.network(arguments.backbone, arguments.weights, width, arguments.seed)
    taught = [*parts.training, *synthetic(arguments)]
    with tqdm(total=arguments.steps, desc="training", mininterval=1.0) as bar:

        def told(loss: float) -> None:
            bar.set_postfix(loss=f"{loss:.3f}", refresh=False)
            bar.update()

        training.train(model, taught, arguments.steps, arguments.batch, arguments.seed, told)

    def scored(part: Sequence[Shown]) -> list[Scored]:
        return [(one, training.probabilities(model, one.pictures)) for one in part]

    calibration = scored(parts.calibration)
    threshold = training.choose_threshold(calibration, arguments.consecutive, arguments.precision)
    if threshold is None:
        raise UnusableData(
            f"No threshold is right in {100 * arguments.precision:g} % of what it says on {len(calibration)} episodes"
            " kept to choose it with: collect more episodes, or train longer."
        )
    figures: dict[str, Any] = {}
    for name, rows in (
        ("training", scored(parts.training)), ("calibration", calibration), ("held_out", scored(parts.held_out))
    ):  # fmt: skip
        figures[name] = training.count(rows, threshold, arguments.consecutive) | counts_of(rows)
    card = Card(arguments.task, arguments.cameras, threshold, arguments.consecutive, "", figures)
    made = provenance(arguments, shown) | {"wall_s": round(time.monotonic() - began_s)}
    card = training.ship(model, Card(**vars(card) | {"provenance": made}), arguments.out, width)
    _reports.write(arguments.report, json.loads(card.as_json()))
    say(card)


def check(arguments: Arguments) -> None:
    """Raises UnusableData before anything is read."""
    if arguments.out.exists():
        raise UnusableData(f"{arguments.out} exists: name a new folder for the classifier.")
    if min(arguments.steps, arguments.consecutive) < 1 or arguments.batch < 2 or not 0.5 <= arguments.precision <= 1:
        raise UnusableData("--steps and --consecutive must be at least 1, --batch 2, --precision between 0.5 and 1.")
    if arguments.seed < 0:
        raise UnusableData("--seed must be 0 at least.")
    drawable = set(arguments.cameras) <= set(_rendered_success.CAMERAS) and lifts(task(arguments.task))
    if arguments.rendered and not drawable:
        raise UnusableData("--rendered draws lifting tasks for the cameras wrist and front: leave it out.")


def counts_of(rows: Sequence[Scored]) -> dict[str, Any]:
    """How much a split holds, and which of its episodes are judged wrongly or nearly so."""
    steps = [one.verdicts for one, _ in rows]
    return {
        "count": len(rows),
        "done_pictures": int(sum((found == DONE).sum() for found in steps)),
        "not_done_pictures": int(sum((found == NOT_DONE).sum() for found in steps)),
    }


def say(card: Card) -> None:
    """The figures that matter."""
    print(f"threshold {card.threshold:g}, {card.consecutive} pictures in a row")
    for split_name, part in card.figures.items():
        for level in ("pictures", "in_a_row", "episodes"):
            row = part[level]
            print(
                f"  {split_name:<12} {level:<9} {row['count']:>6}"
                f"  precision {_percent(row, 'precision'):<22} recall {_percent(row, 'recall')}"
            )


def _percent(row: dict[str, Any], rate: str) -> str:
    if row[rate] is None:
        return "of nothing"
    low, high = row[f"{rate}_interval"]
    return f"{100 * row[rate]:.1f} % ({100 * low:.0f} to {100 * high:.0f})"


if __name__ == "__main__":
    try:
        main(tyro.cli(Arguments, description=__doc__))
    except EXPECTED as error:
        sys.exit(f"train_classifier: {error}")
    except KeyboardInterrupt:
        sys.exit("Stopped; nothing was written.")
