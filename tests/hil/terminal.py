"""A program as a person at a terminal starts it, reads it and types at it."""

from __future__ import annotations

import os
import pty
import select
import signal
import time


class Terminal:
    """A program on a terminal of its own, and what it has shown so far."""

    def __init__(self, *command: str) -> None:
        self.pid, self._terminal = pty.fork()
        if self.pid == 0:
            signal.signal(signal.SIGINT, signal.SIG_DFL)  # which a test started in the background does not have
            os.execv(command[0], command)
        self.shown = ""
        self._read = 0

    def shows(self, words: str, within_s: float) -> bool:
        """Whether the program shows `words`, after what was expected before; waits that long for it."""
        deadline = time.monotonic() + within_s
        while words not in self.shown[self._read :]:
            if time.monotonic() > deadline:
                return False
            if select.select([self._terminal], [], [], 0.2)[0]:
                self.shown += os.read(self._terminal, 4096).decode(errors="replace")
        self._read = self.shown.index(words, self._read) + len(words)
        return True

    def expect(self, words: str, within_s: float) -> None:
        """It must show them; a program that does not is ended, so that it keeps no robot from others."""
        if not self.shows(words, within_s):
            os.kill(self.pid, signal.SIGKILL)
            raise AssertionError(f"no '{words}' in:\n{self.shown}")

    def press(self, keys: str) -> None:
        os.write(self._terminal, keys.encode())

    def exit_code(self, within_s: float) -> int:
        """Reads to the end, so that the program never waits for its terminal."""
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline:
            done, status = os.waitpid(self.pid, os.WNOHANG)
            if done:
                return os.waitstatus_to_exitcode(status)
            if select.select([self._terminal], [], [], 0.1)[0]:
                try:
                    self.shown += os.read(self._terminal, 4096).decode(errors="replace")
                except OSError:
                    time.sleep(0.1)
        raise AssertionError(f"still running:\n{self.shown}")
