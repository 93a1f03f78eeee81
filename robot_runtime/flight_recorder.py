"""A ring of what happened, written out whenever a fault latches. `robot_runtime.replay` reads it; nothing is pickled.

One record is one .npz, which `numpy.load` opens too: `header` (JSON), one array per column of COLUMNS, `events` (JSON
lines), `limits` and `decisions` (msgpack, see `exact`), `digest` (SHA-256 of all that).

Nothing here stalls control. What is kept is encoded when it comes, a few microseconds each; rows fill blocks that are
never written to again; so a dump only hands references to a thread, which does the rest where Python's lock is free.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import sys
import time
import typing
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgpack
import numpy as np

import contract
import safety
from contract.messages import RobotState, Setpoint
from contract.poses import Pose
from robot_runtime.cell import Cell
from robot_runtime.exact import pack
from robot_runtime.reference import Reference
from safety.faults import LatchedFault, Mode
from safety.guard import GuardLimits, Measured, Trail, Verdict

FORMAT = 2
SUFFIX = ".npz"
BLOCK_ROWS = 500
BLOCKS_KEPT = 16
"""About 40 s at the bridge's rate."""
DECISIONS_KEPT = 2000
"""40 s of the fastest setpoints that a bridge takes."""
EVENTS_KEPT = 4000
YIELD_S = 0.0005
"""So soon the writing thread lets control go on; Python's 5 ms are a whole turn of the bridge's loop."""
MODES: tuple[str, ...] = typing.get_args(Mode)

COLUMNS = {
    "stamp": 1,  # robot time, s
    "wall_s": 1,  # the host's monotonic time of that turn
    "busy_s": 1,  # how long the work of the turn before took
    "mode": 1,  # index into MODES
    "q": 7,
    "dq": 7,
    "pose_base_tcp": 7,
    "v_base_tcp": 6,
    "wrench_base": 6,
    "reference_base_tcp": 7,
    "reference_twist_base_tcp": 6,
    "command_base_tcp": 7,  # the last executed setpoint
    "gripper_width": 1,
    "gripper_closed": 1,
}
"""What one turn of the bridge's loop adds, and how many numbers each is."""


@dataclasses.dataclass(frozen=True)
class Decision:
    """One judgement of the guard: everything that it was given, and what it said."""

    limits: GuardLimits
    asked: Setpoint
    trail: Trail
    measured: Measured
    now: float
    verdict: Verdict


class FlightRecorder:
    """Keeps what happened last on one cell. busy_s: how long the last turn of the loop worked, seconds.

    lost: dumps that could not be written.
    """

    def __init__(self, cell: Cell) -> None:
        self.folder = cell.flight_records_folder
        self.busy_s = 0.0
        self.lost = 0
        self._about = about(cell)
        self._block = np.empty((BLOCK_ROWS, sum(COLUMNS.values())))
        self._filled = 0
        self._blocks: deque[np.ndarray] = deque(maxlen=BLOCKS_KEPT)
        self._events: deque[bytes] = deque(maxlen=EVENTS_KEPT)
        self._decisions: deque[tuple[bytes, bytes]] = deque(maxlen=DECISIONS_KEPT)
        self._limits: tuple[GuardLimits | None, bytes] = None, b""
        # Its thread is there before it is needed, and is waited for by a bridge that ends right after a fault.
        self._writer = ThreadPoolExecutor(1, "flight-recorder")
        self._writer.submit(int)
        for left_over in self.folder.glob(f".*{SUFFIX}.part"):  # of a bridge that was killed while it wrote
            left_over.unlink(missing_ok=True)

    def turn(self, state: RobotState, reference: Reference, command: Pose, mode: Mode) -> None:
        """Add one turn of the loop: what was measured, and what the arm was told until then."""
        pose, goal = state.pose_base_tcp, reference.pose_base_tcp
        parts: list[Any] = [(state.stamp, time.monotonic(), self.busy_s, MODES.index(mode))]
        parts += [state.q, state.dq, pose.position, pose.quaternion, state.v_base_tcp, state.wrench_base]
        parts += [goal.position, goal.quaternion, reference.twist_base_tcp, command.position, command.quaternion]
        parts += [(state.gripper_width, state.gripper_closed)]
        np.concatenate(parts, out=self._block[self._filled])
        self._filled += 1
        if self._filled == BLOCK_ROWS:
            self._blocks.append(self._block)
            self._block, self._filled = np.empty_like(self._block), 0

    def event(self, stamp: float, kind: str, detail: Any) -> None:
        """Add one event at robot time `stamp`; `detail` is made of plain types, anything else becomes text."""
        self._events.append(json.dumps({"stamp": stamp, "kind": kind, "detail": detail}, default=str).encode())

    def decision(self, decision: Decision) -> None:
        """Add one judgement of the guard."""
        if decision.limits is not self._limits[0]:
            self._limits = decision.limits, pack(decision.limits)
        rest = decision.asked, decision.trail, decision.measured, decision.now, decision.verdict
        self._decisions.append((self._limits[1], pack(rest)))

    def dump(self, fault: LatchedFault) -> Future[None]:
        """Begin to write everything kept to a new file; when that is done, say where it is, or why it is not."""
        rows = [*self._blocks, self._block[: self._filled].copy()]
        return self._writer.submit(self._dump, fault, rows, list(self._events), list(self._decisions))

    def _dump(
        self, fault: LatchedFault, rows: list[np.ndarray], events: list[bytes], decisions: list[tuple[bytes, bytes]]
    ) -> None:
        now = datetime.now(UTC)
        path = self.folder / f"{now:%Y%m%dT%H%M%S.%fZ}-{fault.name}{SUFFIX}"
        header = {**self._about, "written": now.isoformat(), "fault": vars(fault)}
        usual_s = sys.getswitchinterval()
        sys.setswitchinterval(YIELD_S)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            write(path, members(header, np.concatenate(rows), events, decisions))
        except Exception as error:  # nobody asks the thread how it went: whatever it is must be said here
            self.lost += 1
            reason = error.strerror if isinstance(error, OSError) else repr(error)
            why = f"Not recorded: {reason} in {self.folder}; make room there."
            print(f"fault: {fault.cause} {why}", flush=True)
        else:
            print(f"fault: {fault.cause} Recorded in {path}.", flush=True)
        finally:
            sys.setswitchinterval(usual_s)


def about(cell: Cell) -> dict[str, Any]:
    """What a record's header says besides the fault: place, limits, and by which code the guard judged."""
    return {
        "format": FORMAT,
        "cell": cell.name,
        "robot": cell.robot.model,
        "limits": dataclasses.asdict(cell.limits),
        "modes": MODES,
        "guard": guard_version(),
    }


def guard_version() -> str:
    """Digest of all that decides what the guard says: its code, the contract's, and numpy's version."""
    digest = hashlib.sha256(np.__version__.encode())
    for package in (contract, safety):
        for file in sorted(Path(package.__path__[0]).glob("*.py")):
            digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def members(
    header: dict[str, Any], rows: np.ndarray, events: list[bytes], decisions: list[tuple[bytes, bytes]]
) -> dict[str, np.ndarray]:
    """The arrays of a record. rows: one per turn, columns as in COLUMNS."""
    tables = list(dict.fromkeys(limits for limits, _ in decisions))
    blobs = {
        "header": json.dumps(header).encode(),
        "events": b"\n".join(events),
        "limits": msgpack.packb(tables),
        "decisions": msgpack.packb([(tables.index(limits), rest) for limits, rest in decisions]),
    }
    ends = np.cumsum(list(COLUMNS.values()))
    columns = dict(zip(COLUMNS, np.split(rows, ends[:-1], axis=1), strict=True))
    parts = {name: np.frombuffer(blob, np.uint8) for name, blob in blobs.items()}
    parts |= {name: np.ascontiguousarray(column) for name, column in columns.items()}
    return parts | {"digest": digest(parts)}


def digest(parts: dict[str, np.ndarray]) -> np.ndarray:
    """SHA-256 over names and contents of a record's other arrays. Shape: (32,)"""
    whole = hashlib.sha256()
    for name in sorted(parts):
        whole.update(name.encode())
        whole.update(np.ascontiguousarray(parts[name]).data)
    return np.frombuffer(whole.digest(), np.uint8)


def write(path: Path, parts: dict[str, np.ndarray]) -> None:
    """Write a record whole or not at all; the power may be cut right after. Raises OSError."""
    part = path.with_name(f".{path.name}.part")
    try:
        with part.open("wb") as file:
            np.savez(file, allow_pickle=False, **parts)
            file.flush()
            os.fsync(file.fileno())
        part.rename(path)
    finally:
        part.unlink(missing_ok=True)
