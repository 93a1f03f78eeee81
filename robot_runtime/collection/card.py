"""A dataset's card: what it holds, where it comes from, and a sheet of its pictures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from robot_runtime.collection.catalogue import table
from robot_runtime.collection.episode import encode, read
from robot_runtime.collection.folders import Entry

CARD = "README.md"
SHEET = "contact_sheet.jpg"
SHEET_EPISODES = 6
SHEET_MOMENTS = 8


def write(folder: Path, name: str, entries: Sequence[Entry], facts: Mapping[str, str]) -> None:
    """Puts card and contact sheet into the folder. Raises EpisodeBroken."""
    (folder / SHEET).write_bytes(encode(contact_sheet(entries)))
    lines = "\n".join(f"- {what}: {words}" for what, words in (provenance(entries) | dict(facts)).items())
    (folder / CARD).write_text(
        f"# Dataset `{name}`\n\n“{'”, “'.join(sorted({entry.about.instruction for entry in entries}))}”\n\n"
        f"{table(entries)}\n\n{lines}\n\n"
        "Some episodes from beginning to end, one line for each camera, the wrist's first.\n\n"
        f"![Moments of some episodes]({SHEET})\n"
    )


def provenance(entries: Sequence[Entry]) -> dict[str, str]:
    """Where they were recorded, under what, and who judged them; each with its number of episodes."""
    abouts = [entry.about for entry in entries]
    return {
        "source folders": _counted([_origin(entry) for entry in entries]),
        "cells": _counted([about.cell for about in abouts]),
        "calibration": _counted([about.calibration for about in abouts]),
        "judged by": _counted([str(about.success_by) for about in abouts]),
        "contract": _counted([about.contract_hash for about in abouts]),
        "cameras": _counted([", ".join(entry.cameras) for entry in entries]),
        "recorded": f"{min(about.began for about in abouts)} to {max(about.began for about in abouts)}",
        "steps a person acted in": str(int(sum(entry.steps["human"].sum() for entry in entries))),
    }


def contact_sheet(entries: Sequence[Entry]) -> np.ndarray:
    """Moments of some episodes, evenly chosen, one line for each camera. Shape: (height, width, 3) uint8 RGB"""
    shown = np.linspace(0, len(entries) - 1, min(SHEET_EPISODES, len(entries))).round().astype(int)
    return np.concatenate([_lines(entries[index]) for index in shown])


def _lines(entry: Entry) -> np.ndarray:
    """One for each camera, the wrist's first."""
    moments = np.linspace(0, len(entry) - 1, SHEET_MOMENTS).round().astype(int)
    episode = read(entry.path)
    cameras = sorted(entry.cameras, key=lambda camera: (camera != "wrist", camera))
    return np.concatenate([np.concatenate(episode.pictures(camera)[moments], axis=1) for camera in cameras])


def _origin(entry: Entry) -> str:
    """Name of the folder that it was recorded into, as far as it says so."""
    came_from = entry.about.notes.get("from", {"episode": entry.source})
    while "from" in came_from:
        came_from = came_from["from"]
    return str(came_from["episode"]).partition("/")[0]


def _counted(names: Sequence[str]) -> str:
    return ", ".join(f"{name} ({count})" for name, count in sorted(Counter(names).items()))
