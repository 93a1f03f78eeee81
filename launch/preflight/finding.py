"""One line of the preflight's table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Verdict = Literal["good", "bad", "not needed"]


@dataclass(frozen=True)
class Finding:
    """What was checked, how that went, what was found, and, where it is bad, what to do."""

    what: str
    verdict: Verdict
    found: str
    do: str = ""


def good(what: str, found: str) -> Finding:
    """A green line."""
    return Finding(what, "good", found)


def bad(what: str, found: str, do: str) -> Finding:
    """A red line."""
    return Finding(what, "bad", found, do)


def not_needed(what: str, found: str) -> Finding:
    """A grey line: it could not be, or need not be, checked here."""
    return Finding(what, "not needed", found)


def failed(what: str, error: Exception) -> Finding:
    """A red line from an error of ours, whose sentence says both what was found and what to do."""
    for mark in ("; ", ": "):
        found, _, do = str(error).rpartition(mark)
        if found:
            return bad(what, f"{found}.", do[0].upper() + do[1:])
    return bad(what, str(error), "")
