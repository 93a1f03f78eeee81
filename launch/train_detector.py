#!/usr/bin/env python3
"""Train the object detector from pictures of the mock cell's scene, and ship it with a card of how good it is."""

import _environment

_environment.enter()

import json
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import tyro
from tqdm import tqdm

from contract.tasks import LIFT_CUBE
from perception import detector, synthetic_data, train_detector
from robot_runtime.mock_cell import scene
from robot_runtime.mock_cell.rendering import NoOffscreenRendering
from robot_runtime.mock_cell.renders import Sample, render_samples

ROOT = Path(__file__).resolve().parent.parent
SHIPPED = detector.weights_folder(LIFT_CUBE.name)
VALIDATION_SEED_OFFSET = 1_000_000


@dataclass(frozen=True)
class Arguments:
    """How much data, how long, where to."""

    samples: int = 1200
    """Pictures to train on; each gives two crops."""
    validation_samples: int = 150
    """Pictures, of other seeds, to validate on."""
    epochs: int = 10
    """Passes over the data."""
    seed: int = 0
    """Of pictures, crops and training."""
    crop_px: int = 160
    """Side of a training crop."""
    width: int = 8
    """Channels of the network's first layer."""
    out: Path = SHIPPED
    """Folder to ship to."""
    work: Path = ROOT / "runs" / "train_detector"
    """Folder for data and training runs."""
    report: Path | None = None
    """Also write the card here."""


def _pictures(count: int, seed: int, what: str) -> Iterator[Sample]:
    pictures: Iterable[Sample] = render_samples(count, seed)
    yield from tqdm(pictures, desc=f"rendering {what}", total=count, mininterval=2.0)


def _commit() -> str:
    found = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    return found.stdout.strip() or "unknown"


def main(arguments: Arguments) -> None:
    """Renders, trains, validates, exports. Raises NoOffscreenRendering."""
    started, commit = time.monotonic(), _commit()
    places = ("out", "work", "report")
    settings = {k.replace("_", "-"): v for k, v in asdict(arguments).items() if k not in places}
    data = arguments.work / "data"
    train_count, validation_count = synthetic_data.write_dataset(
        data,
        _pictures(arguments.samples, arguments.seed, "training pictures"),
        _pictures(arguments.validation_samples, arguments.seed + VALIDATION_SEED_OFFSET, "validation pictures"),
        LIFT_CUBE.object_name, arguments.crop_px, arguments.seed,
    )  # fmt: skip
    figures = train_detector.train(
        data / "data.yaml", arguments.out, arguments.work, (scene.CAMERA_HEIGHT, scene.CAMERA_WIDTH),
        epochs=arguments.epochs, seed=arguments.seed, crop_px=arguments.crop_px, width=arguments.width,
    )  # fmt: skip
    card = {
        "object": LIFT_CUBE.object_name,
        "command": " ".join(["launch/train_detector.py", *(f"--{name} {value}" for name, value in settings.items())]),
        "commit": commit,
        "training_crops": train_count,
        "validation_pictures": validation_count,
        "picture_px": [scene.CAMERA_WIDTH, scene.CAMERA_HEIGHT],
        "wall_s": round(time.monotonic() - started),
        "license": "Weights trained with ultralytics (AGPL-3.0); running them needs ONNX Runtime only.",
        **{name: round(value, 4) for name, value in figures.items()},
    }
    for path in (arguments.out / "card.json", arguments.report):
        if path is not None:
            path.write_text(json.dumps(card, indent=2) + "\n")
    print(json.dumps(card, indent=2))


if __name__ == "__main__":
    try:
        main(tyro.cli(Arguments, description=__doc__))
    except NoOffscreenRendering as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit("Stopped; the shipped weights are unchanged.")
