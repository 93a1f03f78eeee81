"""In a process of its own: after ManiSkill's environments SAPIEN's renderer cannot be set up again."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent


def test_the_simulators_episodes_are_whole_and_true() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", str(HERE / "sim_episodes_alone.py")],
        cwd=HERE.parents[1],
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stdout[-3000:]
