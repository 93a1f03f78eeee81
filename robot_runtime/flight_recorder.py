"""A ring of what happened, written out whenever a fault latches. Read it with `numpy.load`; nothing is pickled."""

from __future__ import annotations

import json
import time
from collections import deque
from pathlib import Path
from typing import Any

import numpy as np

from contract.messages import RobotState
from contract.poses import Pose

STATES_KEPT = 8000
"""About 30 s at the bridge's rate."""
EVENTS_KEPT = 2000
_COLUMNS = {
    "stamp": 1,
    "q": 7,
    "dq": 7,
    "pose_base_tcp": 7,
    "v_base_tcp": 6,
    "wrench_base": 6,
    "reference_base_tcp": 7,
    "gripper_width": 1,
}


class FlightRecorder:
    """Keeps the last states and events. One `dump` is one .npz: an array per column, `events` as JSON lines."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._rows: deque[np.ndarray] = deque(maxlen=STATES_KEPT)
        self._events: deque[tuple[float, str, Any]] = deque(maxlen=EVENTS_KEPT)

    def state(self, state: RobotState, reference: Pose) -> None:
        """Add one state and the reference at that instant."""
        pose = state.pose_base_tcp
        parts = [
            [state.stamp],
            state.q,
            state.dq,
            pose.position,
            pose.quaternion,
            state.v_base_tcp,
            state.wrench_base,
            reference.position,
            reference.quaternion,
            [state.gripper_width],
        ]
        self._rows.append(np.concatenate(parts))

    def event(self, stamp: float, kind: str, detail: Any) -> None:
        """Add one event at robot time `stamp`; `detail` is made of plain types."""
        self._events.append((stamp, kind, detail))

    def dump(self, name: str) -> Path:
        """Write everything kept to a new file in the folder and return its path."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"{time.strftime('%Y%m%d-%H%M%S')}-{time.monotonic_ns() % 10**6:06d}-{name}.npz"
        rows = np.array(self._rows) if self._rows else np.zeros((0, sum(_COLUMNS.values())))
        ends = np.cumsum(list(_COLUMNS.values()))
        columns = dict(zip(_COLUMNS, np.split(rows, ends[:-1], axis=1), strict=True))
        events = [json.dumps({"stamp": stamp, "kind": kind, "detail": detail}) for stamp, kind, detail in self._events]
        np.savez(path, events=np.array(events, dtype=str), allow_pickle=False, **columns)
        return path
