#!/usr/bin/env python3
"""Train an object detector from pictures of both renderers and of real frames, and ship it with its card."""

import _environment

_environment.enter()

import json
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import tyro
from tqdm import tqdm

import _reports
from contract.task_spec import TaskSpec
from contract.tasks import LIFT_CUBE, PEG_UPRIGHT
from perception import detector, real_frames, synthetic_data, train_detector
from perception.real_frames import BadRealFrames
from perception.synthetic_data import Labelled
from robot_runtime.mock_cell import arrangements, renders, scene
from robot_runtime.mock_cell.rendering import NoOffscreenRendering
from sim_training.vulkan import NoVulkanDevice

ROOT = Path(__file__).resolve().parent.parent
THINGS = {"cube": LIFT_CUBE, "peg": PEG_UPRIGHT}
VALIDATION_SEED_OFFSET = 1_000_000
EXPECTED = (_reports.CannotWrite, NoOffscreenRendering, NoVulkanDevice, BadRealFrames)
Renderer = Literal["mujoco", "sapien"]


@dataclass(frozen=True)
class Arguments:
    """What to find, how much data, how long, where to."""

    thing: Literal["cube", "peg"] = "cube"
    """A cube is found by its outline, a peg by its ends."""
    samples: int = 1300
    """Pictures to train on, in equal parts from each renderer; each gives two crops."""
    validation_samples: int = 150
    """Pictures, of other seeds, to validate on."""
    renderers: tuple[Renderer, ...] = ("mujoco", "sapien")
    """Who draws them."""
    empty_share: float = 0.08
    """Of pictures that show everything but the object."""
    real: Path | None = None
    """Folder of hand-labelled frames in the YOLO format to mix in; a tenth is kept to validate on."""
    epochs: int = 10
    """Passes over the data."""
    seed: int = 0
    """Of pictures, crops and training."""
    crop_px: int = 160
    """Side of a training crop."""
    width: int = 8
    """Channels of the network's first layer."""
    out: Path | None = None
    """Folder to ship to; None for where the runtime looks."""
    work: Path | None = None
    """Folder for data and training runs; None for one under runs/."""
    report: Path | None = None
    """Also write the card here."""


class Pictures:
    """Draws labelled pictures with each renderer, and notes how fast."""

    def __init__(self, spec: TaskSpec, empty_share: float) -> None:
        self._spec, self._empty_share = spec, empty_share
        self.count: dict[str, int] = {}
        self.wall_s: dict[str, float] = {}

    def draw(self, renderer: Renderer, count: int, seed: int, what: str) -> Iterator[Labelled]:
        """Raises NoOffscreenRendering, NoVulkanDevice."""
        long = arrangements.is_long(self._spec)
        drawn = {"mujoco": self._mujoco, "sapien": self._sapien}[renderer](count, seed)
        began = time.monotonic()
        for sample in tqdm(drawn, desc=f"{renderer}: {what} pictures", total=count, mininterval=2.0):
            self.wall_s[renderer] = self.wall_s.get(renderer, 0.0) + time.monotonic() - began
            self.count[renderer] = self.count.get(renderer, 0) + 1
            yield synthetic_data.labelled(sample, self._spec.half_size_m[0] if long else None)
            began = time.monotonic()

    def _mujoco(self, count: int, seed: int) -> Iterable[Any]:
        return renders.render_samples(count, seed, spec=self._spec, empty_share=self._empty_share)

    def _sapien(self, count: int, seed: int) -> Iterable[Any]:
        import sim_training.renders

        # Other scenes than MuJoCo's of the same seed.
        shown = arrangements.arrangements(count, seed + VALIDATION_SEED_OFFSET // 2, self._spec, self._empty_share)
        size = scene.CAMERA_WIDTH, scene.CAMERA_HEIGHT
        return sim_training.renders.render_samples(shown, self._spec.half_size_m, seed, *size)


def _shares(total: int, parts: int) -> list[int]:
    return [total // parts + (i < total % parts) for i in range(parts)]


def _commit() -> str:
    found = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    return found.stdout.strip() or "unknown"


def _command(arguments: Arguments) -> str:
    """What was asked for, less the folders, which are of the machine."""
    words = ["launch/train_detector.py"]
    for name, value in asdict(arguments).items():
        if name not in ("out", "work", "report", "real"):
            words += [f"--{name.replace('_', '-')}", *(map(str, value) if isinstance(value, tuple) else [str(value)])]
    return " ".join([*words, *(["--real", "DIR"] if arguments.real else [])])


def main(arguments: Arguments) -> None:
    """Renders, trains, validates, exports. Raises one of EXPECTED."""
    _reports.check(arguments.report)
    started, commit = time.monotonic(), _commit()
    spec = THINGS[arguments.thing]
    out = arguments.out or detector.weights_folder(spec.name)
    work = arguments.work or ROOT / "runs" / "train_detector" / arguments.thing
    long = arrangements.is_long(spec)
    real_train: list[Labelled] = []
    real_kept: list[Labelled] = []
    if arguments.real is not None:
        frames = real_frames.read_frames(arguments.real, spec.object_name, arguments.crop_px, long)
        real_train, real_kept = real_frames.split(frames)
    pictures = Pictures(spec, arguments.empty_share)

    def part(total: int, seed: int, what: str, real: list[Labelled]) -> Iterable[Labelled]:
        shares = _shares(total, len(arguments.renderers))
        drawn = (pictures.draw(r, n, seed, what) for r, n in zip(arguments.renderers, shares, strict=True) if n)
        return chain(real, chain.from_iterable(drawn))

    train_count, validation_count = synthetic_data.write_dataset(
        work / "data",
        part(arguments.samples, arguments.seed, "training", real_train),
        part(arguments.validation_samples, arguments.seed + VALIDATION_SEED_OFFSET, "validation", real_kept),
        spec.object_name, arguments.crop_px, arguments.seed,
    )  # fmt: skip
    classes = train_detector.train(
        work / "data" / "data.yaml", out, work, (scene.CAMERA_HEIGHT, scene.CAMERA_WIDTH), epochs=arguments.epochs,
        seed=arguments.seed, crop_px=arguments.crop_px, width=arguments.width, is_long=long,
    )  # fmt: skip
    card = {
        "task": spec.name,
        "finds": "ends" if long else "outline",
        "command": _command(arguments),
        "commit": commit,
        "seed": arguments.seed,
        "pictures": pictures.count | {"real": len(real_train) + len(real_kept)},
        "pictures_per_s": {name: round(n / pictures.wall_s[name], 1) for name, n in pictures.count.items()},
        "training_crops": train_count,
        "validation_pictures": validation_count,
        "picture_px": [scene.CAMERA_WIDTH, scene.CAMERA_HEIGHT],
        "wall_s": round(time.monotonic() - started),
        "license": "Weights trained with ultralytics (AGPL-3.0); running them needs ONNX Runtime only.",
        "classes": classes,
    }
    for path in (out / "card.json", arguments.report):
        _reports.write(path, card)
    print(json.dumps(card, indent=2))


if __name__ == "__main__":
    try:
        main(tyro.cli(Arguments, description=__doc__))
    except EXPECTED as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit("Stopped; the shipped weights are unchanged.")
