"""What a user of launch/train_detector.py is told."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_labels_of_an_unknown_class_end_it_with_one_sentence_before_anything_is_rendered(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.png").write_bytes(b"")
    (tmp_path / "data.yaml").write_text("names: [cup]\n")
    done = subprocess.run(
        [sys.executable, "launch/train_detector.py", "--thing", "peg", "--real", str(tmp_path)],
        cwd=ROOT, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.strip().endswith("names cup; this detector learns 'peg' only: relabel or remove.")
    assert len(done.stderr.strip().splitlines()) == 1
    assert not done.stdout
