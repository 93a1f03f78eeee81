"""The page about faults is what its program makes of code and report."""

from __future__ import annotations

import json
from pathlib import Path

from benches.faults import page

from safety.faults import FAULTS

DOCS = Path(__file__).resolve().parents[2] / "docs"


def test_the_page_is_of_this_code_and_of_the_report_beside_it():
    matrix = json.loads((DOCS / "results" / "fault_matrix.json").read_text())
    assert (DOCS / "faults.md").read_text() == page(matrix)
    assert all(f"| `{name}` |" in page(matrix) for name in FAULTS)
    assert all(row["worst_s"] <= row["limit_s"] for row in matrix.values())
