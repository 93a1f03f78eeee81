"""What every process of the mock cell does first: die with its parent, stop on a signal, say when it is ready."""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import sys
from collections.abc import Callable

_PR_SET_PDEATHSIG = 1


class StopFlag:
    """True once SIGTERM or SIGINT has come."""

    def __init__(self) -> None:
        self.is_set = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._set)

    def _set(self, *_: object) -> None:
        self.is_set = True


def announce_ready() -> None:
    """Tells the starter that everything is bound and loaded."""
    print("ready", flush=True)


def run(main: Callable[[StopFlag], None], expected_errors: tuple[type[Exception], ...]) -> None:
    """Runs `main` as a child process; an expected error becomes one line for the starter and exit code 1."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() == 1:
        sys.exit("The process that started this one has gone.")
    logging.basicConfig(level=logging.WARNING, format="mock cell: %(message)s")
    try:
        main(StopFlag())
    except expected_errors as error:
        print(f"error {type(error).__name__} {' '.join(str(error).split())}", flush=True)
        sys.exit(1)
