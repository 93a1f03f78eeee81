"""What a person at the terminal is asked, and what a key does: nothing pressed before a question answers it."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from tests.hil.terminal import Terminal

LAUNCH = Path(__file__).resolve().parent.parent.parent / "launch"


def started(*lines: str) -> Terminal:
    script = f"import sys, time; sys.path.insert(0, {str(LAUNCH)!r}); import _terminal\n" + "\n".join(lines)
    return Terminal(sys.executable, "-c", script)


def test_what_was_pressed_before_the_question_does_not_answer_it() -> None:
    terminal = started("print('busy', flush=True); time.sleep(1.0)", "print('got', _terminal.ask('go on?'))")
    terminal.expect("busy", within_s=20)
    terminal.press("yes\n")
    terminal.expect("go on?", within_s=20)
    assert not terminal.shows("got", within_s=1.0)
    terminal.press("no\n")
    terminal.expect("got no", within_s=20)


@pytest.mark.parametrize("key", [" ", "\n"])
def test_a_key_interrupts_a_motion_that_nobody_else_ends(key: str) -> None:
    terminal = started(
        "try:",
        "    with _terminal.StopKey(interrupts=True):",
        "        print('moving', flush=True); time.sleep(60)",
        "except KeyboardInterrupt:",
        "    print('stopped')",
    )
    terminal.expect("moving", within_s=20)
    time.sleep(0.2)
    terminal.press(key)
    terminal.expect("stopped", within_s=10)


def test_a_question_within_such_a_motion_is_answered_and_keys_stop_it_again_afterwards() -> None:
    terminal = started(
        "try:",
        "    with _terminal.StopKey(interrupts=True):",
        "        print('got', _terminal.ask('clear the fault?'), flush=True); time.sleep(60)",
        "except KeyboardInterrupt:",
        "    print('stopped')",
    )
    terminal.expect("clear the fault?", within_s=20)
    time.sleep(0.2)
    terminal.press("\n")
    terminal.expect("got", within_s=10)
    time.sleep(0.2)
    terminal.press(" ")
    terminal.expect("stopped", within_s=10)
