"""Which rows of whose questions go through the model together, and when."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any

import numpy as np

from sim_training.teachers.images import row_count, rows_of
from sim_training.teachers.protocol import Ask, ProtocolError


@dataclass(frozen=True, eq=False)
class Piece:
    """Consecutive rows of one question, no more than the model takes at once.

    client, ask: whose question, and which of them. start: of its first row there. images: packed.
    tcp: tool poses, base frame. Shape: (n, 7). arrived_s, expires_s: on the server's monotonic clock.
    """

    client: bytes
    ask: int
    start: int
    instructions: list[str]
    images: dict[str, Any]
    tcp: np.ndarray
    arrived_s: float
    expires_s: float

    @property
    def rows(self) -> int:
        """How many."""
        return len(self.instructions)


def cut(client: bytes, ask: Ask, now_s: float, largest: int) -> list[Piece]:
    """A question in pieces of at most `largest` rows. Raises ProtocolError if its images are not packed right."""
    if row_count(ask.images) != len(ask.instructions):
        raise ProtocolError("There must be as many images as instructions.")
    pieces = []
    for start in range(0, len(ask.instructions), largest):
        stop = min(start + largest, len(ask.instructions))
        pieces.append(
            Piece(
                client=client,
                ask=ask.id,
                start=start,
                instructions=ask.instructions[start:stop],
                images=rows_of(ask.images, start, stop),
                tcp=ask.tcp[start:stop],
                arrived_s=now_s,
                expires_s=now_s + ask.deadline_s,
            )
        )
    return pieces


class Backlog:
    """Pieces that wait for the model, first come, first served."""

    def __init__(self, largest_batch: int, latency_budget_s: float):
        """A batch goes when it is `largest_batch` rows or when its first piece has waited `latency_budget_s`."""
        self._largest, self._budget_s = largest_batch, latency_budget_s
        self._waiting: deque[Piece] = deque()

    @property
    def rows(self) -> int:
        """How many rows wait."""
        return sum(piece.rows for piece in self._waiting)

    def add(self, pieces: list[Piece]) -> None:
        """Let a question wait."""
        self._waiting.extend(pieces)

    def forget(self, client: bytes) -> int:
        """Drop what this client still waits for, and say how many rows that was."""
        return self._keep([piece for piece in self._waiting if piece.client != client])

    def drop_expired(self, now_s: float) -> int:
        """Drop what nobody waits for any more, and say how many rows that was."""
        return self._keep([piece for piece in self._waiting if piece.expires_s > now_s])

    def due_in_s(self, now_s: float) -> float | None:
        """Seconds until a batch should go, 0 if now, None if nothing waits."""
        if not self._waiting:
            return None
        if self.rows >= self._largest:
            return 0.0
        return max(0.0, self._waiting[0].arrived_s + self._budget_s - now_s)

    def take(self) -> list[Piece]:
        """The next batch: as many whole pieces as fit."""
        batch: list[Piece] = []
        room = self._largest
        while self._waiting and self._waiting[0].rows <= room:
            batch.append(self._waiting.popleft())
            room -= batch[-1].rows
        return batch

    def _keep(self, pieces: list[Piece]) -> int:
        before = self.rows
        self._waiting = deque(pieces)
        return before - self.rows
