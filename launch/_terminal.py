"""What people see and press: a table of checks, one live line, questions, and a key that stops the arm."""

from __future__ import annotations

import sys
import threading
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
    """The operator's answer, lower case and stripped."""
    return input(f"\n{paint(question, BOLD)} ").strip().lower()


class StopKey:
    """While the block runs, Enter or space asks for a stop (Ctrl-C does so anyway), p for a pause after it."""

    def __init__(self) -> None:
        self._pressed, self._pause = threading.Event(), threading.Event()
        self._leaving = threading.Event()
        self._keys = TerminalKeys()

    def __call__(self) -> bool:
        """Whether a stop was asked for."""
        return self._pressed.is_set()

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
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leaving.set()
        self._thread.join()
        self._keys.__exit__(kind, value, trace)

    def _watch(self) -> None:
        while not self._leaving.is_set():
            keys = set(self._keys.pressed(wait_s=0.05))
            for meant, asked in (("\n\r ", self._pressed), ("pP", self._pause)):
                if keys & set(meant):
                    asked.set()
