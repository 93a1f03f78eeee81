"""Exports: what other people's training programs read, whole or not there."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from robot_runtime.collection import card, rlds, verifying
from robot_runtime.collection.convention import Frame
from robot_runtime.collection.folders import DatasetError, Entry, check_alike, check_judged, new_folder

Format = Literal["rlds", "lerobot", "lerobot21"]

LEROBOT = {"lerobot": "lerobot==0.4.4", "lerobot21": "lerobot==0.3.3"}
"""Which LeRobot writes v3.0, and which v2.1, that openpi still reads."""

ECOSYSTEM = Path(__file__).parent / "ecosystem"

Runner = Callable[[Path, Sequence[str], Sequence[str], str], None]
"""Runs a script in its own environment: which, extra requirements, arguments, standard input."""


def export(out: Path, kind: Format, entries: Sequence[Entry], frame: Frame, seed: int, run: Runner) -> None:
    """A new folder with the dataset, its card and its manifest. Raises DatasetError, EpisodeBroken, and `run`'s."""
    check_exportable(entries)
    with new_folder(out) as staging:
        if kind == "rlds":
            rlds.write(staging, out.name, entries, frame, seed)
        else:
            _write_lerobot(staging, out.name, kind, entries, frame, run)
        verifying.write_manifest(staging, kind, out.name, frame, [entry.source for entry in entries])
        card.write(staging, out.name, entries, {"format": kind, "actions": f"executed, in the frame of the {frame}"})


def check_exportable(entries: Sequence[Entry]) -> None:
    """Raises DatasetError where they are not one dataset of successes, or two of them have one name."""
    check_alike(entries)
    check_judged(entries)
    failed = [entry for entry in entries if not entry.about.success]
    if failed:
        raise DatasetError(
            f"{len(failed)} of {len(entries)} episodes failed, the first is {failed[0].source}: leave failures out with"
            " `launch/dataset.py mix`, and export what it made."
        )
    if len({entry.source for entry in entries}) < len(entries):
        raise DatasetError("Two of the folders have one name: mix them into one, or rename one of them.")


def _write_lerobot(staging: Path, name: str, kind: Format, entries: Sequence[Entry], frame: Frame, run: Runner) -> None:
    """LeRobot makes its own folder, whose content then moves up."""
    inside = staging / "lerobot"
    job = {"root": str(inside), "name": name, "frame": frame, "episodes": [str(e.path.resolve()) for e in entries]}
    run(ECOSYSTEM / "lerobot_writer.py", [LEROBOT[kind]], [], json.dumps(job))
    for made in inside.iterdir():
        made.rename(staging / made.name)
    inside.rmdir()


def verify(folder: Path, sources: Sequence[Path], report: Path, run: Runner) -> None:
    """Lets the ecosystem's own reader compare an export with its source. Raises DatasetError, and `run`'s."""
    kind = verifying.manifest(folder)["format"]
    script = ECOSYSTEM / ("rlds_reader.py" if kind == "rlds" else "lerobot_reader.py")
    paths = [str(path.resolve()) for path in (report, folder, *sources)]
    run(script, [] if kind == "rlds" else [LEROBOT[kind]], paths, "")
