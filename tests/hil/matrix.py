"""The fault matrix: what each test of a fault measured, written out at the end of the run that was asked for it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np


@dataclass
class Matrix:
    """Rows by fault. repeats: how often each test makes its fault happen."""

    repeats: int
    rows: dict[str, dict[str, object]] = field(default_factory=dict)

    def note(self, fault: str, outcome: str, limit_s: float, reactions_s: list[float], clock: str = "robot") -> None:
        """Keep what was measured, and fail if the slowest is beyond the limit. clock: whose seconds they are."""
        assert reactions_s
        assert max(reactions_s) <= limit_s, f"{fault}: {max(reactions_s):.3f} s where {limit_s:g} s are allowed"
        self.rows[fault] = {
            "outcome": outcome,
            "limit_s": limit_s,
            "median_s": round(float(np.median(reactions_s)), 4),
            "worst_s": round(float(max(reactions_s)), 4),
            "clock": clock,
            "repeats": len(reactions_s),
        }

    def write(self, path: Path) -> None:
        """All rows as JSON."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(self.rows, indent=1) + "\n")
