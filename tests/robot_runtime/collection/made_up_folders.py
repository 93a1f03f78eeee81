"""Folders of made-up episodes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from robot_runtime.collection.episode import name_of, write
from robot_runtime.collection.folders import Entry, entries
from tests.robot_runtime.collection.made_up import episode


def folder_of(folder: Path, variants: Sequence[str] = ("red",), steps: int = 8, **others: Any) -> Path:
    """One episode for each name of a variant; the k-th has k more steps and its own seed."""
    folder.mkdir(parents=True)
    for k, variant in enumerate(variants):
        made = episode(steps=steps + k, seed=1000 + k, variant=variant, **others)
        write(folder / name_of(k), made)
    return folder


def entries_of(folder: Path, variants: Sequence[str] = ("red",), steps: int = 8, **others: Any) -> list[Entry]:
    """The same, as they are listed."""
    return entries([folder_of(folder, variants, steps, **others)])
