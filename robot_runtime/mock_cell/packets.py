"""The link as the robot counts it: answers that came, answers lost on the way, and what travels slowly."""

from __future__ import annotations

from collections import deque
from typing import Generic, TypeVar

import numpy as np

MOST_LOST_IN_A_ROW = 20
"""So many lost answers in a row end a motion (FCI documentation, "Network requirements")."""

_WINDOW = 100

Packet = TypeVar("Packet")


class _SlowLine(Generic[Packet]):
    """Lets through what was put in at least so many ticks ago, in order."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[int, Packet]] = deque()

    def put(self, due_tick: int, packet: Packet) -> None:
        self._waiting.append((due_tick, packet))

    def due(self, tick: int) -> list[Packet]:
        packets = []
        while self._waiting and self._waiting[0][0] <= tick:
            packets.append(self._waiting.popleft()[1])
        return packets


class Link:
    """Between the robot and its FCI client. Only what a disturbance says is lost or slow; nothing is by itself.

    delay_ticks: that states and answers take on their way. lost_in_a_row: answers missed up to now.
    """

    def __init__(self) -> None:
        self.delay_ticks = 0
        self._lose_next, self._loss_share = 0, 0.0
        self._rng = np.random.default_rng(0)
        self.new_client()

    def new_client(self) -> None:
        """Nothing is under way any more."""
        self._states: _SlowLine[tuple[int, bytes]] = _SlowLine()
        self._answers: _SlowLine[bytes] = _SlowLine()
        self.begin_motion()

    def begin_motion(self) -> None:
        """Counts from the start."""
        self._came: deque[bool] = deque(maxlen=_WINDOW)
        self.lost_in_a_row = 0

    def lose(self, count: int) -> None:
        """The next answers."""
        self._lose_next = count

    def lose_share(self, share: float, seed: int) -> None:
        """Of all answers, at random."""
        self._loss_share, self._rng = share, np.random.default_rng(seed)

    def calm(self) -> None:
        """Loses and delays nothing."""
        self.delay_ticks, self._lose_next, self._loss_share = 0, 0, 0.0

    def send(self, tick: int, state: bytes) -> list[tuple[int, bytes]]:
        """Takes a state; returns those that arrive now, with their ticks."""
        self._states.put(tick + self.delay_ticks, (tick, state))
        return self._states.due(tick)

    def take(self, tick: int, answer: bytes) -> None:
        """An answer on its way to the robot."""
        if self._lose_next > 0:
            self._lose_next -= 1
        elif self._loss_share == 0.0 or self._rng.random() >= self._loss_share:
            self._answers.put(tick + self.delay_ticks, answer)

    def arrived(self, tick: int) -> list[bytes]:
        """Answers that reach the robot now."""
        return self._answers.due(tick)

    def count(self, came: bool) -> None:
        """Notes whether this tick of a motion had an answer."""
        self._came.append(came)
        self.lost_in_a_row = 0 if came else self.lost_in_a_row + 1

    @property
    def success_rate(self) -> float:
        """Share of the last 100 ms' answers that came; zero when none was due yet."""
        return sum(self._came) / len(self._came) if self._came else 0.0
