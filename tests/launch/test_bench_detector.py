"""What is said about the detector's speed is what its bench wrote down."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import numpy as np
import pytest
from benches import detector as bench

from perception.detector import DEFAULT_RUNTIME

REPORT = Path(__file__).resolve().parents[2] / "docs" / "results" / "detector.json"


def test_the_default_runtime_is_the_fastest_that_was_measured_on_two_threads() -> None:
    rows = json.loads(REPORT.read_text())["frame_ms"]
    on_two = {name: row["median"] for name, row in rows.items() if name.endswith("2 threads")}
    assert len(on_two) == 3
    assert min(on_two, key=lambda name: on_two[name]).startswith(DEFAULT_RUNTIME)


def test_no_tick_was_skipped_with_a_detector_beside_the_loop() -> None:
    rows = json.loads(REPORT.read_text())["loop"]
    assert bench.ALONE in rows
    assert len(rows) == 7
    assert all(row["skipped"] == 0 for row in rows.values())


def test_the_figures_of_a_loop_are_of_its_ticks() -> None:
    held = bench.Held([0.001] * 90 + [0.010] * 10, [0.002] * 100, skipped=1, frames=30, robot_s=5.0)
    figures = bench.loop_figures(held)
    assert figures["late_median_ms"] == 1.0
    assert figures["late_p95_ms"] == figures["late_max_ms"] == 10.0
    assert figures["frames_per_s"] == 6.0
    assert (figures["ticks"], figures["skipped"]) == (100, 1)


def test_ratios_are_taken_within_a_round(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both are slower in a busy round; how they compare is not."""
    seconds = iter([0.0, 0.0, 0.004, 0.002, 0.008, 0.004, 0.004, 0.002, 0.004, 0.002, 0.004, 0.002])
    monkeypatch.setattr(bench, "one_frame", lambda detector, sample: next(seconds))
    monkeypatch.setattr(bench, "undisturbed", contextlib.nullcontext)  # other tests' threads are none of its business
    rows = bench.frame_times({("torch", 1): Blind(), ("onnxruntime", 1): Blind()}, [Blind()], 1)  # type: ignore
    torch = rows["torch, 1 thread"]
    assert np.allclose([torch["ratio_lowest"], torch["ratio_median"], torch["ratio_highest"]], 2.0)
    assert (torch["lowest"], torch["highest"]) == (4.0, 8.0)


class Blind:
    """Neither detector nor picture."""

    rgb = None

    def detect(self, rgb: object) -> None:
        """Sees nothing."""
