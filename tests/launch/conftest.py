"""What the tests of launch programs share."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture
def stand_in(tmp_path: Path) -> Callable[[str, str], Path]:
    """Puts a few lines of Python in the place of launch/NAME, under a root of its own; returns that root."""

    def write(name: str, body: str) -> Path:
        program = tmp_path / "root" / "launch" / name
        program.parent.mkdir(parents=True, exist_ok=True)
        program.write_text(f"#!{sys.executable} -S\n{body}")
        program.chmod(0o755)
        return tmp_path / "root"

    return write
