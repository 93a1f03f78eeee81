"""What people see and press: a table of checks, one live line, questions, and a key that stops the arm."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import termios
import threading
from collections.abc import Iterator
from types import TracebackType

from robot_runtime.teleoperation.keyboard import TerminalKeys

GREEN, RED, GREY, BOLD, PLAIN = "\033[32m", "\033[31m", "\033[90m", "\033[1m", "\033[0m"
_LIVE = sys.stdout.isatty()


def paint(text: str, colour: str) -> str:
    """`text` in a colour where the output is a terminal."""
    return f"{colour}{text}{PLAIN}" if _LIVE else text


def checked(what: str, detail: str) -> None:
    """One line of the table of checks that passed."""
    print(f"  {paint('✓', GREEN)} {what:<10} {detail}", flush=True)


def live(line: str) -> None:
    """Replace the current line; silent where the output is a file."""
    if _LIVE:
        print(f"\r\033[K{line}", end="", flush=True)


def say(line: str) -> None:
    """Print a line that stays, above the live one."""
    print(f"\r\033[K{line}" if _LIVE else line, flush=True)


def ask(question: str) -> str:
    """The operator's answer, lower case and stripped; what was pressed before the question is none."""
    with StopKey.aside():
        if sys.stdin.isatty():
            termios.tcflush(sys.stdin, termios.TCIFLUSH)
        try:
            return input(f"\n{paint(question, BOLD)} ").strip().lower()
        except EOFError:
            raise KeyboardInterrupt from None


class StopKey:
    """While the block runs, Enter or space asks for a stop (Ctrl-C does so anyway), p for a pause after it."""

    _running: StopKey | None = None

    def __init__(self, interrupts: bool = False) -> None:
        """interrupts: a stop is what Ctrl-C is, for motions that nobody else ends."""
        self._interrupts = interrupts
        self._pressed, self._pause = threading.Event(), threading.Event()
        self._leaving = threading.Event()
        self._keys = TerminalKeys()

    def __call__(self) -> bool:
        """Whether a stop was asked for."""
        return self._pressed.is_set()

    @staticmethod
    @contextlib.contextmanager
    def aside() -> Iterator[None]:
        """While the block runs, keys are answers to a question."""
        running = StopKey._running
        if running is not None:
            running.__exit__(None, None, None)
        try:
            yield
        finally:
            if running is not None:
                running.__enter__()

    @property
    def pause(self) -> bool:
        """Whether a pause was asked for."""
        return self._pause.is_set()

    def __enter__(self) -> StopKey:
        self._pressed.clear()
        self._pause.clear()
        self._leaving.clear()
        self._keys.__enter__()
        self._thread = threading.Thread(target=self._watch, name="stop-key", daemon=True)
        self._thread.start()
        StopKey._running = self
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        StopKey._running = None
        self._leaving.set()
        self._thread.join()
        self._keys.__exit__(kind, value, trace)

    def _watch(self) -> None:
        while not self._leaving.is_set():
            keys = set(self._keys.pressed(wait_s=0.05))
            for meant, asked in (("\n\r ", self._pressed), ("pP", self._pause)):
                if keys & set(meant):
                    asked.set()
            if self._interrupts and self._pressed.is_set():
                os.kill(os.getpid(), signal.SIGINT)
                return
