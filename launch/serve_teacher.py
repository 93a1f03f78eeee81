#!/usr/bin/env python3
"""Serves a teacher: `launch/serve_teacher.py openvla --address tcp://127.0.0.1:5570`; `keys` is for other hosts.

An adapter with inline dependencies runs in an environment of its own, which uv makes at its first start.
"""

import _environment

_environment.enter()

import os
import sys
from pathlib import Path

import _own_environment
from sim_training.teachers import adapters
from sim_training.teachers.keys import KEYS_FOLDER, make_keys
from sim_training.teachers.names import served_families


def main() -> int:
    """Hands over to the adapter of that name; its own `--help` lists its settings."""
    folder = Path(adapters.__file__).parent
    names = served_families()
    name = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if name == "keys":
        make_keys(KEYS_FOLDER)
        print(f"Keys are in {KEYS_FOLDER}.")
        return 0
    if name not in names:
        print(f"usage: launch/serve_teacher.py {{{','.join(names)},keys}} [--help] ...", file=sys.stderr)
        return 0 if name in ("--help", "-h") else 2
    adapter = folder / f"{name}.py"
    if "# /// script" in adapter.read_text():
        _run_in_its_own_environment(adapter, sys.argv[2:])
    _environment.restart(["-m", f"sim_training.teachers.adapters.{name}", *sys.argv[2:]])
    return 0


def _run_in_its_own_environment(adapter: Path, arguments: list[str]) -> None:
    words, environment = _own_environment.command(adapter, arguments)
    sys.stdout.flush()
    os.execve(words[0], words, environment)


if __name__ == "__main__":
    sys.exit(main())
