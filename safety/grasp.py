"""What the fingers hold, told from their width alone: taken, carried, lost. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace

EMPTY_M = 0.003
"""Fingers this close to each other hold nothing."""
CLOSED_BY_M = 0.002
"""So far the fingers must have come before standing still means that something is between them."""
STILL_M, STILL_S = 0.0005, 0.1
LOST_M = 0.004
"""Fingers that come so much closer than they were around an object have lost it."""
CARRIED_M = 0.02
"""So far above where it was taken an object counts as carried: before that a slip is another try, not a loss."""


@dataclass(frozen=True)
class Grasp:
    """What is known after the last reading. Metres, seconds of robot time.

    opening: width when the fingers were told to close. width, since: since when the fingers stand still at that width.
    taken_height: height of the tool where the object was taken; None while nothing is held. lost: the object is gone
    that was carried, until the fingers are told to open.
    """

    opening: float | None = None
    width: float = 0.0
    since: float = 0.0
    taken_height: float | None = None
    lost: bool = False

    @property
    def holds(self) -> bool:
        """Whether something is between the fingers."""
        return self.taken_height is not None

    def after(self, stamp: float, width: float, closed: bool, height: float) -> Grasp:
        """With one more reading. closed: what the fingers were told. height: of the tool."""
        if not closed:
            return Grasp()
        if self.opening is None:
            return Grasp(width, width, stamp)
        if self.taken_height is not None:
            if width > self.width - LOST_M:
                return self
            return replace(self, taken_height=None, lost=height > self.taken_height + CARRIED_M)
        if abs(width - self.width) > STILL_M:
            return replace(self, width=width, since=stamp)
        if not self.lost and self.opening - width > CLOSED_BY_M and width > EMPTY_M and stamp - self.since > STILL_S:
            return replace(self, taken_height=height)
        return self
