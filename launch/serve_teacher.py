#!/usr/bin/env python3
"""Serves a teacher: `launch/serve_teacher.py tiny --address tcp://127.0.0.1:5570`; `keys` is for other hosts."""

import _environment

_environment.enter()

import sys
from pathlib import Path

from sim_training.teachers import adapters
from sim_training.teachers.keys import KEYS_FOLDER, make_keys


def main() -> int:
    """Hands over to the adapter of that name; its own `--help` lists its settings."""
    folder = Path(adapters.__file__).parent
    names = sorted(path.stem for path in folder.glob("*.py") if path.stem != "__init__")
    name = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if name == "keys":
        make_keys(KEYS_FOLDER)
        print(f"Keys are in {KEYS_FOLDER}.")
        return 0
    if name not in names:
        print(f"usage: launch/serve_teacher.py {{{','.join(names)},keys}} [--help] ...", file=sys.stderr)
        return 0 if name in ("--help", "-h") else 2
    _environment.restart(["-m", f"sim_training.teachers.adapters.{name}", *sys.argv[2:]])
    return 0


if __name__ == "__main__":
    sys.exit(main())
