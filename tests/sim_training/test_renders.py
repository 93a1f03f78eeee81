"""SAPIEN's pictures, in a process of their own: after ManiSkill's environments its renderer cannot be set up again."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent


def test_what_sapien_draws_is_what_was_arranged() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", str(HERE / "renders_alone.py")],
        cwd=HERE.parents[1],
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stdout[-3000:]
