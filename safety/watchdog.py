"""What silence means: hold after a short one, stop after a longer one, counted in robot time."""

from __future__ import annotations

from typing import Literal

Judgement = Literal["fresh", "hold", "stop"]


def judge_silence(now: float, last_setpoint: float, hold_after_s: float, stop_after_s: float) -> Judgement:
    """What to do at robot time `now`, the last accepted setpoint being stamped `last_setpoint` (seconds)."""
    silence_s = now - last_setpoint
    if silence_s >= stop_after_s:
        return "stop"
    return "hold" if silence_s >= hold_after_s else "fresh"
