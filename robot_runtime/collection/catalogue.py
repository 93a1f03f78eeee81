"""How much of what a dataset holds: by task, variant and policy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from robot_runtime.collection.folders import Entry


@dataclass(frozen=True)
class Kind:
    """Episodes of one task, variant and policy. unlabelled: those nobody has judged."""

    task: str
    variant: str
    policy: str
    episodes: int
    successes: int
    unlabelled: int
    steps: int
    seconds: float
    bytes: int


def kinds(entries: Sequence[Entry]) -> list[Kind]:
    """One of each kind, by name."""
    sorts = sorted({_sort(entry) for entry in entries})
    return [_kind(*sort, [entry for entry in entries if _sort(entry) == sort]) for sort in sorts]


def total(entries: Sequence[Entry]) -> Kind:
    """All of them together."""
    return _kind("all", "", "", entries)


def table(entries: Sequence[Entry]) -> str:
    """In Markdown, with a line for all where there is more than one kind."""
    rows = kinds(entries)
    rows = rows if len(rows) == 1 else [*rows, total(entries)]
    head = ("task", "variant", "policy", "episodes", "successes", "not labelled", "steps", "seconds", "MB")
    cells = [[*_words(row)] for row in rows]
    widths = [max(len(row[column]) for row in [head, *cells]) for column in range(len(head))]
    lines = [head, ["-" * width for width in widths], *cells]
    return "\n".join(
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in lines
    )


def figures(entries: Sequence[Entry]) -> dict[str, Any]:
    """The same for a report."""
    return {"total": vars(total(entries)), "kinds": [vars(kind) for kind in kinds(entries)]}


def _words(kind: Kind) -> tuple[str, ...]:
    numbers = (kind.episodes, kind.successes, kind.unlabelled, kind.steps)
    return (kind.task, kind.variant, kind.policy, *map(str, numbers), f"{kind.seconds:.1f}", f"{kind.bytes / 1e6:.1f}")


def _sort(entry: Entry) -> tuple[str, str, str]:
    return entry.about.task, entry.about.variant, entry.about.policy


def _kind(task: str, variant: str, policy: str, entries: Sequence[Entry]) -> Kind:
    return Kind(
        task, variant, policy, len(entries),
        successes=sum(entry.about.success is True for entry in entries),
        unlabelled=sum(entry.about.success is None for entry in entries),
        steps=sum(map(len, entries)),
        seconds=round(sum(len(entry) / entry.about.rate_hz for entry in entries), 1),
        bytes=sum(entry.path.stat().st_size for entry in entries),
    )  # fmt: skip
