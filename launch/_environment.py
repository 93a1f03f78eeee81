#!/usr/bin/env python3
"""Every launch program starts with `enter()`: the environment is set up if need be, and the program restarts inside it.

Stdlib only, and old-Python friendly: it runs before there is any environment. As a program, for shell scripts:
`launch/_environment.py -m some.module --its arguments` runs the environment's Python with those arguments.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import TracebackType

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
_MARK = "PANDA_JUMPSTART_ENVIRONMENT"

DEFAULTS = {
    "YOLO_OFFLINE": "1",
    "YOLO_AUTOINSTALL": "false",
    "YOLO_CONFIG_DIR": str(VENV / "settings"),  # otherwise ultralytics writes into the user's home
    "MUJOCO_GL": "egl",
    "MS_SKIP_ASSET_DOWNLOAD_PROMPT": "1",
    "PYTHONWARNINGS": "ignore:pkg_resources is deprecated",  # ManiSkill's dependencies; nothing the user can do
}
"""Set unless the user has set them."""


def enter() -> None:
    """Returns only inside the environment; outside it, sets it up and restarts this program there."""
    if os.environ.get(_MARK) == str(VENV) and Path(sys.prefix).resolve() == VENV.resolve():
        sys.excepthook = _say_interrupted
        return
    restart([sys.argv[0], *sys.argv[1:]])


def _say_interrupted(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Ctrl-C while a program still loads is no bug of ours: a word instead of a traceback."""
    if issubclass(kind, KeyboardInterrupt):
        print("Interrupted.", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, trace)


def restart(arguments: list[str]) -> None:
    """Replaces this process by the environment's Python with `arguments`."""
    try:
        code = subprocess.run([str(ROOT / "launch" / "setup.sh")]).returncode
    except KeyboardInterrupt:
        code = 130
    if code != 0:
        sys.exit(code)
    for name, value in DEFAULTS.items():
        os.environ.setdefault(name, value)
    os.environ[_MARK] = str(VENV)
    sys.stdout.flush()
    python = str(VENV / "bin" / "python")
    os.execv(python, [python, *arguments])


if __name__ == "__main__":
    restart(sys.argv[1:])
