"""RL for one segment of a task and demonstrations for the rest (RLDG, sections III-B and IV-A, FMB assembly).

The paper's dataset for it holds demonstrations of grasp and transport that end where insertion begins, and rollouts of
an expert that was trained on insertion only; the generalist sees both as episodes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from robot_runtime.collection.folders import DatasetError, Entry
from robot_runtime.collection.mixing import Piece


def segments(entry: Entry) -> dict[str, tuple[int, int]]:
    """Name to first step and the one after its last, in order.

    As the episode's notes say (`segments`: name to [first, stop]); else `reach` until the object is held, and `carry`.
    """
    noted = entry.about.notes.get("segments")
    if noted is not None:
        return {name: (int(first), int(stop)) for name, (first, stop) in noted.items()}
    held = np.flatnonzero(entry.steps["object_held"] > 0.5)
    border = int(held[0]) if len(held) else len(entry)
    both = {"reach": (0, border), "carry": (border, len(entry))}
    return {name: (first, stop) for name, (first, stop) in both.items() if stop > first}


def mixed(demonstrations: Sequence[Piece], expert: Sequence[Piece], name: str) -> list[Piece]:
    """The expert's segment of that name, and what the demonstrations have beside it. Raises DatasetError.

    A demonstration of the rest only, and an expert's rollout of the segment only, pass whole, as the paper's did.
    """
    inside = [part for piece in expert if (part := _inside(piece, name))]
    outside = [part for piece in demonstrations for part in _outside(piece, name)]
    if not inside:
        known = sorted({segment for piece in expert for segment in segments(piece.entry)})
        raise DatasetError(f"The expert's episodes have no segment '{name}'; there are {', '.join(known)}.")
    if not outside:
        raise DatasetError(f"The demonstrations hold nothing beside the segment '{name}'.")
    return outside + inside


def _inside(piece: Piece, name: str) -> Piece | None:
    first, stop = segments(piece.entry).get(name, (0, 0))
    return _clipped(piece, first, stop)


def _outside(piece: Piece, name: str) -> list[Piece]:
    first, stop = segments(piece.entry).get(name, (len(piece.entry), len(piece.entry)))
    parts = _clipped(piece, 0, first), _clipped(piece, stop, len(piece.entry))
    return [part for part in parts if part is not None]


def _clipped(piece: Piece, first: int, stop: int) -> Piece | None:
    first, stop = max(piece.start, first), min(piece.stop, stop)
    return replace(piece, start=first, stop=stop) if stop > first else None
