"""The Franka Hand through franky, on threads of its own: its calls block, control must not."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from contract.messages import GripperCommand

SPEED_M_S = 0.1
"""Finger opening speed; the hand's maximum is 0.2 m/s (0.1 per finger, product manual)."""
OPEN_M = 0.08
READ_PERIOD_S = 0.02
RETRY_S = 0.5


@dataclass(frozen=True)
class GripperReading:
    """Opening between the fingers (m), the robot time it was read at (s), and whether the last command was to close."""

    width: float
    stamp: float
    closed: bool


class Gripper:
    """Newest command wins: while the hand is busy, only the latest of the commands that came meanwhile is kept.

    robot_time: gives the current robot time, to stamp readings with. `fault` is a sentence once the hand is lost.
    """

    def __init__(self, address: str, robot_time: Callable[[], float]) -> None:
        self._address = address
        self._robot_time = robot_time
        self._hand: Any = None
        self._reading = GripperReading(0.0, float("-inf"), False)
        self._wanted: GripperCommand | None = None
        self._told = False
        self._changed = threading.Condition()
        self._closing = False
        self._threads: list[threading.Thread] = []
        self.fault: str | None = None

    def connect(self) -> None:
        """Open the connection, a new one after a lost one, and start the threads. Raises GripperUnreachable."""
        import franky

        try:
            self._hand = None  # the old connection must be gone before the hand takes a new one
            self._hand = franky.Gripper(self._address)
            self._read_once()
        except (franky.NetworkException, franky.GripperException) as error:
            raise GripperUnreachable(f"The gripper at {self._address} does not answer: {error}.") from error
        self.fault = None
        for work in (self._read, self._move) if not self._threads else ():
            thread = threading.Thread(target=work, name=f"gripper-{work.__name__}", daemon=True)
            thread.start()
            self._threads.append(thread)

    @property
    def reading(self) -> GripperReading:
        """The newest reading; never blocks."""
        return self._reading

    def command(self, command: GripperCommand) -> None:
        """Tell the hand; never blocks. A command equal to the one it last got is not sent again."""
        with self._changed:
            self._told = command.closed
            self._wanted = command
            self._changed.notify()

    def close(self) -> None:
        """End the threads; a motion that is under way ends by itself."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join(timeout=3.0)
        self._hand = None

    def _read_once(self) -> None:
        self._reading = GripperReading(float(self._hand.state.width), self._robot_time(), self._told)

    def _read(self) -> None:
        while not self._closing:
            try:
                self._read_once()
                self.fault = None
            except Exception as error:  # franky raises several kinds; all mean that the width is not known
                self.fault = f"The gripper at {self._address} gives no width: {error}."
                time.sleep(RETRY_S)
            time.sleep(READ_PERIOD_S)

    def _move(self) -> None:
        done: GripperCommand | None = None
        while True:
            with self._changed:
                while not self._closing and self._wanted in (None, done):
                    self._changed.wait()
                if self._closing:
                    return
                command = self._wanted
            assert command is not None
            try:
                if command.closed:
                    # Any width counts as held: what was grasped is judged from the width, not from the hand's verdict.
                    self._hand.grasp(0.0, SPEED_M_S, command.force, 0.005, OPEN_M)
                else:
                    self._hand.move(OPEN_M, SPEED_M_S)
                done = command
            except Exception as error:
                done = None  # nobody knows how far it came
                self.fault = f"The gripper at {self._address} did not obey: {error}."
                time.sleep(RETRY_S)


class GripperUnreachable(RuntimeError):
    """There is no hand at the arm's address; check that it is mounted and initialised in Desk."""
