"""Which episodes, and which of their steps, make a dataset; sources are read and never altered."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from robot_runtime.collection.episode import Episode, name_of, read, write
from robot_runtime.collection.folders import DatasetError, Entry

IDLE_M = 0.0005
"""A step that commands the tool less far, and turns and grips as little, is idle: 5 mm/s at 10 Hz. Choice."""
IDLE_RAD = 0.005
IDLE_WIDTH_M = 0.0005


@dataclass(frozen=True)
class Piece:
    """Steps `start` to `stop` (not included) of an episode."""

    entry: Entry
    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start


def whole(entries: Iterable[Entry]) -> list[Piece]:
    """All steps of each."""
    return [Piece(entry, 0, len(entry)) for entry in entries]


def only(entries: Sequence[Entry], what: str, wanted: Sequence[str]) -> list[Entry]:
    """Those of these variants or instructions, all where none is named. Raises DatasetError with what there is."""
    known = {getattr(entry.about, what) for entry in entries}
    for name in wanted:
        if name not in known:
            raise DatasetError(f"No episode has {what} '{name}'; there are {_list(known)}.")
    return [entry for entry in entries if not wanted or getattr(entry.about, what) in wanted]


def check_all_succeed(entries: Sequence[Entry]) -> None:
    """Raises DatasetError where a variant would be missing from equal numbers of each."""
    failed_only = {e.about.variant for e in entries} - {e.about.variant for e in entries if e.about.success}
    if failed_only:
        raise DatasetError(f"No episode of {_list(failed_only)} succeeded: name the other variants with --variants.")


def without_idle(piece: Piece, at_start: bool = False, at_end: bool = True) -> Piece:
    """Without the steps at its ends in which nothing moves; one of them stays. Empty where nothing ever moves."""
    moving = piece.start + np.flatnonzero(moves(piece.entry.steps)[piece.start : piece.stop])
    if len(moving) == 0:
        return replace(piece, stop=piece.start)
    first = max(piece.start, int(moving[0]) - 1) if at_start else piece.start
    return replace(piece, start=first, stop=min(piece.stop, int(moving[-1]) + 2) if at_end else piece.stop)


def moves(steps: dict[str, np.ndarray]) -> np.ndarray:
    """Whether the commanded tool or the gripper, as told or as measured, moves in each step. Shape: (N,) bool"""
    executed, width = steps["executed_base"], steps["gripper_width"]
    told = np.abs(executed[:, 6] - (1.0 - steps["gripper_closed"])) > 0.5
    fingers = np.abs(np.diff(width, append=width[-1])) > IDLE_WIDTH_M
    tool = np.linalg.norm(executed[:, :3], axis=1) > IDLE_M
    turns = np.linalg.norm(executed[:, 3:6], axis=1) > IDLE_RAD
    moving: np.ndarray = told | fingers | tool | turns
    return moving


def chosen(pieces: Sequence[Piece], seed: int, balanced: bool, size: int | None) -> list[Piece]:
    """Equal numbers of each variant, and `size` of them; the seed's 25 are among its 50. Raises DatasetError."""
    rng = np.random.default_rng(seed)
    variants = sorted({piece.entry.about.variant for piece in pieces})
    drawn = [_shuffled([p for p in pieces if p.entry.about.variant == name], rng) for name in variants]
    if balanced:
        ordered = [piece for turn in zip(*drawn, strict=False) for piece in turn]
    else:
        ordered = _shuffled([piece for group in drawn for piece in group], rng)
    if not ordered:
        raise DatasetError("No episode is left: all failed, were idle, or are of another variant or instruction.")
    if size is not None and size > len(ordered):
        raise DatasetError(
            f"{size} episodes were asked for and {len(ordered)} are left: collect more, or ask for less."
        )
    return ordered if size is None else ordered[:size]


def write_pieces(folder: Path, pieces: Iterable[Piece]) -> None:
    """Numbers them in order and writes them. Raises EpisodeBroken, OSError."""
    for number, piece in enumerate(pieces):
        write(folder / name_of(number), taken(piece))


def taken(piece: Piece) -> Episode:
    """The piece as an episode of its own, which says where it comes from. Raises EpisodeBroken."""
    episode = read(piece.entry.path)
    about, steps = episode.about, slice(piece.start, piece.stop)
    notes: dict[str, Any] = dict(about.notes)
    came_from = {"episode": piece.entry.source, "steps": [piece.start, piece.stop]}
    notes["from"] = came_from | ({"from": notes["from"]} if "from" in notes else {})
    if "segments" in notes:
        notes["segments"] = _shifted(notes["segments"], piece)
    if "marks" in notes:
        notes["marks"] = [[max(step - piece.start, 0), done] for step, done in notes["marks"] if step < piece.stop]
    begin, end = episode.steps["stamp"][piece.start], episode.steps["stamp"][piece.stop - 1] + 1.0 / about.rate_hz
    return Episode(
        about=replace(about, duration_s=float(end - begin), notes=notes),
        steps={name: column[steps] for name, column in episode.steps.items()},
        images={camera: pictures[steps] for camera, pictures in episode.images.items()},
        image_stamps={camera: stamps[steps] for camera, stamps in episode.image_stamps.items()},
        ticks=_between(episode.ticks, begin, end),
    )


def _between(ticks: dict[str, np.ndarray], begin: float, end: float) -> dict[str, np.ndarray]:
    """Raw signals of that time; those without stamps of their own pass."""
    stamps = ticks.get("stamp", np.zeros(0))
    inside = (stamps >= begin) & (stamps < end)
    return {name: column[inside] if len(column) == len(stamps) else column for name, column in ticks.items()}


def _shifted(segments: dict[str, list[int]], piece: Piece) -> dict[str, list[int]]:
    """Segments as steps of the piece; those outside of it are gone."""
    clipped = {
        name: [max(first, piece.start) - piece.start, min(stop, piece.stop) - piece.start]
        for name, (first, stop) in segments.items()
    }
    return {name: [first, stop] for name, (first, stop) in clipped.items() if stop > first}


def _shuffled(pieces: list[Piece], rng: np.random.Generator) -> list[Piece]:
    return [pieces[index] for index in rng.permutation(len(pieces))]


def _list(names: Iterable[str]) -> str:
    return ", ".join(f"'{name}'" for name in sorted(names))
