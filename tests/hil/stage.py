"""A stage for faults: a mock cell, its bridge, and an onlooker that times what happens."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from contract.messages import RobotState
from contract.tasks import LIFT_CUBE
from robot_runtime.bridge_client import BridgeClient, BridgeFaulted, BridgeRefused
from robot_runtime.cell import Cell
from robot_runtime.mock_cell.scoring import ScoringClient
from robot_runtime.motions import Way, follow
from robot_runtime.wire import BridgeStatus, Executed

ROOT = Path(__file__).resolve().parents[2]
HASH, PERIOD = LIFT_CUBE.contract_hash(), LIFT_CUBE.period_s
KEPT = 6_000
"""States: of the last half minute."""
_PATIENCE_S = 60.0
"""Wall time; robot time may pass much more slowly."""


@dataclass(frozen=True)
class Seen:
    """One published state: robot time, wall time of its arrival, and what the bridge said with it."""

    stamp: float
    wall_s: float
    state: RobotState
    status: BridgeStatus

    @property
    def speed_m_s(self) -> float:
        return float(np.linalg.norm(self.state.v_base_tcp[:3]))

    @property
    def fault(self) -> str | None:
        return None if self.status.fault is None else self.status.fault.name


@dataclass
class Stage:
    """What the tests act on. seen: the states that the bridge published last, in order."""

    cell: Cell
    file: Path
    bridge: subprocess.Popen[str]
    seen: deque[Seen]
    scoring: ScoringClient = field(init=False)

    def since(self, stamp: float) -> list[Seen]:
        """What was seen after that robot time."""
        rows = list(self.seen)
        first = len(rows)
        while first and rows[first - 1].stamp > stamp:
            first -= 1
        return rows[first:]

    def seconds_until(self, happened: Callable[[Seen], bool], since: float, within_s: float = 10.0) -> float:
        """Robot time from `since` until it happened, awaited for `within_s`; fails if it does not."""
        deadline = time.monotonic() + _PATIENCE_S
        while True:
            rows = self.since(since)
            found = next((row.stamp - since for row in rows if happened(row)), None)
            if found is not None:
                return found
            late = bool(rows) and rows[-1].stamp > since + within_s
            assert not late, f"not within {within_s} s of robot time; last fault: {rows[-1].status.fault}"
            assert time.monotonic() < deadline, "not within a minute"
            time.sleep(0.01)

    def await_robot_time(self, stamp: float) -> None:
        """Return when a state of that robot time has been seen."""
        deadline = time.monotonic() + _PATIENCE_S
        while self.seen[-1].stamp < stamp:
            assert time.monotonic() < deadline, "not within a minute"
            time.sleep(0.005)

    def seconds_until_fault(self, name: str, since: float, within_s: float = 10.0) -> float:
        """Robot time from `since` until that fault was reported; any other fails."""
        seconds = self.seconds_until(lambda row: row.fault is not None, since, within_s)
        assert self.seen[-1].fault == name, self.seen[-1].status.fault
        return seconds

    def wall_seconds_until_fault(self, since_s: float) -> tuple[str, float]:
        """Which fault came after that wall time, and how long after: for when robot time stands still."""
        while time.monotonic() < since_s + 10.0:
            for row in list(self.seen):
                if row.wall_s > since_s and row.fault is not None:
                    return row.fault, row.wall_s - since_s
            time.sleep(0.01)
        raise AssertionError("no fault within 10 s")

    def seconds_until_rest(self, since: float, within_s: float = 10.0) -> float:
        """Robot time from `since` until the tool stood still, for 0.2 s at least."""
        self.seconds_until(lambda row: row.stamp > since + 0.3, since, _PATIENCE_S)
        while True:
            rows = self.since(since)
            moving = [row.stamp for row in rows if row.speed_m_s > 0.02]
            last = moving[-1] if moving else since
            if rows[-1].stamp > last + 0.2:
                return last - since
            assert last < since + within_s, "the arm does not come to rest"
            time.sleep(0.02)

    def ready(self, client: BridgeClient) -> None:
        """Nothing disturbed, nothing latched, armed at the start pose."""
        self.scoring.calm()
        with contextlib.suppress(BridgeFaulted):  # of an arm that is gone, which `recover` finds again
            client.stop()
        client.recover(by_person=True)
        while np.linalg.norm(client.latest().v_base_tcp[:3]) > 0.02:  # swings back from where it was pushed to
            client.wait_until(client.latest().stamp + 0.02)
        if np.abs(client.latest().q - LIFT_CUBE.start_q_rad).max() > 0.1:
            client.move_home(LIFT_CUBE.start_q_rad)
        client.arm()

    def follow(self, client: BridgeClient, way: Way, ticks: int) -> list[Executed]:
        """As `motions.follow` from a ready arm, whole: anew where this machine, too busy, lost packets or time."""
        for _ in range(3):
            self.ready(client)
            answers = follow(client, way, ticks)
            fault = getattr(client.status().fault, "name", None)
            if answers[-1].refused is None or fault not in (None, "packets_lost", "setpoints_stopped"):
                break
            client.recover(by_person=True)
            client.move_home(LIFT_CUBE.start_q_rad)
        assert answers[-1].refused is None, f"{answers[-1].refused}; {fault}"
        return answers


def lease(client: BridgeClient) -> None:
    """Take the lease, waiting for one that a killed client left behind."""
    deadline = time.monotonic() + 10
    while True:
        try:
            return client.connect(HASH, PERIOD)
        except BridgeRefused:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def serve(file: Path, **environment: str) -> subprocess.Popen[str]:
    """A bridge process, perhaps not yet serving."""
    return subprocess.Popen(
        [sys.executable, "-m", "robot_runtime.bridge_server", "--cell", str(file)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
    )


def await_serving(bridge: subprocess.Popen[str]) -> None:
    """Return when it serves; fail if it does not."""
    assert bridge.stdout is not None
    line = bridge.stdout.readline()
    assert "serving" in line, line + bridge.stdout.read()


@contextmanager
def staged(cell: Cell, file: Path, **environment: str) -> Iterator[Stage]:
    """A bridge for a mock cell that is up, with an onlooker. environment: of the bridge."""
    assert cell.scoring is not None
    seen: deque[Seen] = deque(maxlen=KEPT)  # all of them would make garbage collection take seconds
    stage = Stage(cell, file, serve(file, **environment), seen)

    def see(state: RobotState, status: BridgeStatus) -> None:
        seen.append(Seen(state.stamp, time.monotonic(), state, status))

    try:
        await_serving(stage.bridge)
        with (
            ScoringClient(cell.scoring) as stage.scoring,
            BridgeClient(cell, "onlooker", see),
        ):
            yield stage
    finally:
        stage.bridge.terminate()  # which may be another by now
        stage.bridge.wait(15)
