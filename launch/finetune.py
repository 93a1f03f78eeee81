#!/usr/bin/env python3
"""Fine-tune a generalist on collected episodes: the small one here, OpenVLA or Octo by a recipe for a GPU machine.

launch/finetune.py small --data runs/episodes --out runs/small
launch/finetune.py openvla --data exports/lift_cube --out runs/openvla
"""

import _environment

_environment.enter()

import json
import shutil
import sys
import time
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Annotated, Any

import torch
import tyro

import _demonstrations
import _recipes
import _reports
from contract import generalist
from robot_runtime.collection.episode import EpisodeBroken
from robot_runtime.collection.folders import DatasetError
from robot_runtime.collection.tfrecords import RecordsBroken
from sim_training.export import circumstances
from sim_training.generalist.train import NothingToLearn, Training, fit


class OutInUse(ValueError):
    """The folder to write to is something else."""


EXPECTED = (
    NothingToLearn,
    generalist.GeneralistUnusable,
    EpisodeBroken,
    DatasetError,
    RecordsBroken,
    OutInUse,
    _recipes.BadExport,
    OSError,
)


@dataclass(frozen=True)
class Small:
    """Train the small generalist here: a convolutional network per camera, the instruction's words, a mixture head."""

    data: tuple[Path, ...]
    """RLDS exports of launch/dataset.py in the base's frame, or folders of episodes, of one task or of several"""
    out: Path
    """folder of the generalist; one that is there is replaced once the new one is whole"""
    start: Annotated[Path | None, tyro.conf.arg(name="from")] = None
    """generalist to begin from"""
    cameras: tuple[str, ...] = ()
    """which to look at; all that the episodes have, or those of --from, if not given"""
    episodes: int | None = None
    """use only so many of each"""
    training: tyro.conf.OmitArgPrefixes[Training] = field(default_factory=Training)
    """how long and how"""
    report: Path | None = None
    """JSON file for the figures"""


@dataclass(frozen=True)
class Recipe:
    """What the recipes for large generalists have in common."""

    data: tuple[Path, ...]
    """RLDS exports of launch/dataset.py, of one task or of several: the folders with the datasets' names"""
    out: Path
    """folder for the recipe"""
    report: Path | None = None
    """JSON file for the figures"""


@dataclass(frozen=True)
class Openvla(Recipe):
    """Write the command and the registration for OpenVLA's own script: LoRA of rank 32, batch 2 x 3 (RLDG)."""

    model: str = "openvla/openvla-7b"
    """weights to begin from: a name on Hugging Face or a folder"""
    steps: int = 20_000
    """gradient steps"""


@dataclass(frozen=True)
class Octo(Recipe):
    """Write the command and the config for Octo's own script: all weights, batch 64 (RLDG)."""

    model: str = "hf://rail-berkeley/octo-base-1.5"
    """weights to begin from"""
    steps: int = 20_000
    """gradient steps"""


def small(asked: Small) -> dict[str, Any]:
    """Trains and says what on. Raises one of EXPECTED."""
    torch.set_num_threads(max(1, torch.get_num_threads()))
    holds = {each.name for each in asked.out.iterdir()} if asked.out.is_dir() else set()
    if asked.out.exists() and holds != generalist.FILES:
        raise OutInUse(f"{asked.out} exists and is no generalist, or not only that: name another folder with --out.")
    began = time.monotonic()
    made_by = {
        **circumstances(),
        "data": [folder.name for folder in asked.data],
        "from": asked.start.name if asked.start else None,
    }
    demonstrations = chain.from_iterable(_demonstrations.read(folder, asked.episodes) for folder in asked.data)
    figures = fit(demonstrations, asked.out, asked.training, asked.start, asked.cameras or None, provenance=made_by)
    return figures | {"out": str(asked.out), "wall_s": round(time.monotonic() - began, 1)}


def recipe(asked: Openvla | Octo) -> dict[str, Any]:
    """Writes the recipe whole or not at all. Raises one of EXPECTED."""
    if asked.out.exists():
        raise OutInUse(f"{asked.out} exists: name another folder with --out, or delete it.")
    exports = [_recipes.inspect(folder) for folder in asked.data]
    write = _recipes.openvla if isinstance(asked, Openvla) else _recipes.octo
    staging = asked.out.with_name(f".{asked.out.name}.part")
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    for name, text in write(exports, asked.model, asked.steps).items():
        (staging / name).write_text(text)
        if name.endswith(".sh"):
            (staging / name).chmod(0o755)
    staging.rename(asked.out)
    run_on = "a machine with a GPU and the weights; not run here"
    return {"recipe": str(asked.out), "run_on": run_on, "data": [vars(export) for export in exports]}


def main() -> int:
    """Exit code."""
    asked = tyro.extras.subcommand_cli_from_dict(
        {"small": Small, "openvla": Openvla, "octo": Octo}, description=__doc__, prog="launch/finetune.py"
    )
    try:
        _reports.check(asked.report)
        figures = small(asked) if isinstance(asked, Small) else recipe(asked)
        _reports.write(asked.report, figures)
    except EXPECTED as error:
        print(f"finetune: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("finetune: Stopped; nothing was written.", file=sys.stderr)
        return 130
    print(json.dumps(figures, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
