"""Reads what the flight recorder wrote, and lets the guard decide everything again."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgpack
import numpy as np

from contract.messages import Setpoint
from robot_runtime.exact import NotExact, pack, unpack
from robot_runtime.flight_recorder import COLUMNS, FORMAT, SUFFIX, Decision, digest, guard_version
from safety.faults import LatchedFault
from safety.guard import GuardLimits, Measured, Trail, Verdict, judge


class FlightRecordError(ValueError):
    """A flight record cannot be read; the sentence says why."""


class NoFlightRecords(FlightRecordError):
    """Nothing has been recorded yet."""


class NotAFlightRecord(FlightRecordError):
    """A file is something else, or was cut short."""


class FlightRecordOfAnotherVersion(FlightRecordError):
    """Another version of this program wrote the record."""


class FlightRecordChanged(FlightRecordError):
    """A record is not as it was written."""


@dataclass(frozen=True)
class Event:
    """Something that happened at robot time `stamp` (seconds): a change of mode, a fault, a sight of the object, ..."""

    stamp: float
    kind: str
    detail: Any


@dataclass(frozen=True)
class FlightRecord:
    """One record. turns: an array per column of the flight recorder's COLUMNS, one row per turn of the loop."""

    path: Path
    header: dict[str, Any]
    turns: dict[str, np.ndarray]
    events: list[Event]
    decisions: list[Decision]

    @property
    def fault(self) -> LatchedFault:
        """The fault it was written for."""
        return LatchedFault(**self.header["fault"])

    @property
    def same_guard(self) -> bool:
        """Whether the code that judged then is the code that is here now."""
        return bool(self.header["guard"] == guard_version())


def newest(folder: Path) -> Path:
    """The record written last. Raises NoFlightRecords."""
    records = sorted(folder.glob(f"*{SUFFIX}")) if folder.is_dir() else []
    if not records:
        raise NoFlightRecords(f"There are no flight records in {folder}: nothing has faulted there yet.")
    return records[-1]


def read(path: Path) -> FlightRecord:
    """The record in that file. Raises a FlightRecordError."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            parts = {name: stored[name] for name in stored.files}
    except FileNotFoundError:
        raise NotAFlightRecord(f"There is no file {path}.") from None
    except (OSError, EOFError, ValueError, TypeError, RuntimeError, zipfile.BadZipFile) as error:
        raise NotAFlightRecord(f"{path} is not a flight record, or was cut short: name another file.") from error
    header = _header(path, parts)
    if "digest" not in parts or not np.array_equal(parts.pop("digest"), digest(parts)):
        raise FlightRecordChanged(f"{path} was changed after it was written: copy it again from the robot's machine.")
    try:
        events = [Event(**json.loads(line)) for line in parts["events"].tobytes().splitlines()]
        turns = {name: parts[name] for name in COLUMNS}
        return FlightRecord(path, header, turns, events, list(_decisions(parts)))
    except (KeyError, TypeError, NotExact) as error:
        raise _another_version(path) from error


def replays(decision: Decision) -> bool:
    """Whether the guard, given the same, says the same to the last bit."""
    with np.errstate(all="ignore"):
        again = judge(decision.limits, decision.asked, decision.trail, decision.measured, decision.now)
    return pack(again) == pack(decision.verdict)


def verdict_on_replay(record: FlightRecord) -> str:
    """One sentence: how many of its decisions the guard makes again, bit for bit."""
    same = sum(replays(decision) for decision in record.decisions)
    sentence = f"{same} of {len(record.decisions)} decisions replay bit for bit."
    if same < len(record.decisions) and not record.same_guard:
        return f"{sentence} The guard's code is not the one that judged then: replay with that version."
    return sentence


def _header(path: Path, parts: dict[str, np.ndarray]) -> dict[str, Any]:
    if "header" not in parts:
        if "events" in parts and "stamp" in parts:  # the first format had none
            raise _another_version(path)
        raise NotAFlightRecord(f"{path} is not a flight record: name another file.")
    try:
        header: dict[str, Any] = json.loads(parts["header"].tobytes())
    except ValueError:
        raise FlightRecordChanged(f"{path} has a header that cannot be read: copy the record again.") from None
    if header.get("format") != FORMAT:
        raise _another_version(path)
    return header


def _another_version(path: Path) -> FlightRecordOfAnotherVersion:
    return FlightRecordOfAnotherVersion(
        f"{path} was written by another version of this program: read it with the version that runs on the robot."
    )


def _decisions(parts: dict[str, np.ndarray]) -> Iterator[Decision]:
    tables = [unpack(GuardLimits, packed) for packed in msgpack.unpackb(parts["limits"].tobytes())]
    for index, rest in msgpack.unpackb(parts["decisions"].tobytes()):
        yield Decision(tables[index], *unpack(tuple[Setpoint, Trail, Measured, float, Verdict], rest))
