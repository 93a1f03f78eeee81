"""Scripts with inline dependencies, run by uv in environments of their own."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

import _environment


class ScriptFailed(RuntimeError):
    """A script that runs in its own environment ended badly; it has said why."""


def command(
    script: Path, arguments: Sequence[str], requirements: Sequence[str] = ()
) -> tuple[list[str], dict[str, str]]:
    """How uv is called, and in which environment. requirements: beside those that the script names."""
    # Our packages are found by path; the script's own folder is kept off it, or lerobot.py would hide lerobot.
    environment = os.environ | {"PYTHONPATH": str(_environment.ROOT), "PYTHONSAFEPATH": "1"}
    uv = str(_environment.VENV / "bin" / "uv")
    extra = [word for requirement in requirements for word in ("--with", requirement)]
    return [uv, "run", *extra, "--script", str(script), *arguments], environment


def run(script: Path, requirements: Sequence[str], arguments: Sequence[str], stdin: str) -> None:
    """Waits until it is done. Raises ScriptFailed."""
    words, environment = command(script, arguments, requirements)
    done = subprocess.run(words, input=stdin, text=True, env=environment)
    if done.returncode != 0:
        raise ScriptFailed(f"{script.name} ended with code {done.returncode}; see above why.")
