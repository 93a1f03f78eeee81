"""A flight record in words: what happened, in order."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterable
from itertools import groupby
from typing import Any

import numpy as np

from robot_runtime.flight_recorder import Decision
from robot_runtime.replay import FlightRecord, verdict_on_replay

EVENTS_SHOWN = 20


def summary(record: FlightRecord) -> list[str]:
    """Lines for a terminal: the fault, what the setpoints met, how the loop ran, the last events, the replay."""
    fault, stamps = record.fault, record.turns["stamp"][:, 0]
    covered_s = float(stamps[-1] - stamps[0]) if len(stamps) else 0.0
    return [
        f"fault    {fault.name} at robot time {fault.stamp:.3f} s: {fault.cause}",
        f"record   cell '{record.header['cell']}' ({record.header['robot']}), {record.header['written'][:19]} UTC,"
        f" {covered_s:.1f} s in {len(stamps)} turns",
        f"setpoint {_setpoints(record.decisions)}",
        f"sight    {_sight(record)}",
        f"loop     {_loop(record)}",
        f"replay   {verdict_on_replay(record)}",
        "",
        *_last_events(record),
    ]


def _setpoints(decisions: list[Decision]) -> str:
    clipped = [d for d in decisions if d.verdict.clipped]
    refused = Counter(d.verdict.refusal.name for d in decisions if d.verdict.refusal is not None)
    by = Counter(note.split(":")[0] for d in clipped for note in d.verdict.clipped)
    return f"{len(decisions)} judged; {_counted(len(clipped), 'clipped', by)}; " + _counted(
        sum(refused.values()), "refused", refused
    )


def _counted(count: int, what: str, by: Counter[str]) -> str:
    parts = ", ".join(f"{name} {n}" for name, n in by.most_common())
    return f"{count} {what}" + (f" ({parts})" if parts else "")


def _sight(record: FlightRecord) -> str:
    """Where the policy last believed the object to be before the fault."""
    before = [e for e in record.events if e.kind == "seen" and e.stamp <= record.fault.stamp]
    if not before:
        return "no object was seen, or no policy ran"
    seen = before[-1].detail
    where = ", ".join(f"{x:.3f}" for x in seen["pose"][:3])
    age_s = before[-1].stamp - seen["stamp"]
    return f"{seen['name']} at {where} m{', held' if seen['held'] else ''}, {age_s:.2f} s old when last used"


def _loop(record: FlightRecord) -> str:
    """How long turns took by the wall clock, and worked."""
    wall, busy = record.turns["wall_s"][:, 0], record.turns["busy_s"][:, 0]
    if len(wall) < 2:
        return "no turns"
    turns, works = 1e3 * np.percentile(np.diff(wall), [50, 99, 100]), 1e3 * np.percentile(busy, [50, 99, 100])
    return (
        f"a turn took {turns[0]:.1f} ms (99 %: {turns[1]:.1f}, longest {turns[2]:.1f}),"
        f" its work {works[0]:.1f} ms ({works[1]:.1f}, {works[2]:.1f})"
    )


def _last_events(record: FlightRecord) -> list[str]:
    """One line for each, or for each run of the same; times count from the fault."""
    happened = sorted([*_told(record), *_judged(record.decisions)], key=lambda row: row[0])
    lines = []
    for kind, group in groupby(happened, key=lambda row: row[1]):
        rows = list(group)
        times = f"{len(rows)} ×, until {rows[-1][0] - record.fault.stamp:+.3f} s" if len(rows) > 1 else ""
        words = "; ".join(filter(None, [rows[0][2], times]))
        lines.append(f"  {rows[0][0] - record.fault.stamp:+9.3f} s  {kind:<12} {words}")
    more = len(lines) - EVENTS_SHOWN
    return ([f"  {more} earlier lines left out"] if more > 0 else []) + lines[-EVENTS_SHOWN:]


def _told(record: FlightRecord) -> Iterable[tuple[float, str, str]]:
    believed = ""
    for event in record.events:
        if event.kind == "seen":
            before, believed = believed, f"{event.detail['name']}{', held' if event.detail['held'] else ''}"
            if believed != before:
                yield event.stamp, "seen", believed
        elif event.kind == "fault":
            yield event.stamp, "fault", f"{event.detail['name']}: {event.detail['cause']}"
        elif event.kind == "mode":
            yield event.stamp, f"→ {event.detail}", ""
        else:
            yield event.stamp, event.kind, _plain(event.detail)


def _plain(detail: Any) -> str:
    if isinstance(detail, dict):
        return ", ".join(f"{key} {value}" for key, value in detail.items())
    return "" if detail is None else str(detail)


def _judged(decisions: list[Decision]) -> Iterable[tuple[float, str, str]]:
    for decision in decisions:
        if decision.verdict.refusal is not None:
            yield decision.now, "refused", decision.verdict.refusal.cause
        elif decision.verdict.clipped:
            yield decision.now, "clipped", textwrap.shorten("; ".join(decision.verdict.clipped), 90)
