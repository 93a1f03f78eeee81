"""One program at a time on this machine: for a cell that is commanded, for a robot that a bridge serves."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path


class Taken(RuntimeError):
    """Another process holds it. `holder` is its number, or "unknown"."""

    def __init__(self, holder: str) -> None:
        super().__init__(f"It is held by process {holder}.")
        self.holder = holder


@contextlib.contextmanager
def exclusive(name: str) -> Iterator[None]:
    """Hold the lock of that name for this user; it ends with the process whatever happens. Raises Taken."""
    state = Path(os.environ.get("XDG_STATE_HOME", "~/.local/state")).expanduser()
    path = state / "panda-jumpstart" / "locks" / f"{name}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise Taken(file.read().strip() or "unknown") from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield
