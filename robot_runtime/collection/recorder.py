"""Watches the ticks of one trial and makes an episode of them: nothing is encoded or written while the arm moves."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from contract.object_motion import position_sigma
from contract.poses import Pose
from robot_runtime.collection import actions
from robot_runtime.collection.episode import COLUMNS, RATE_HZ, About, Episode, encode, square
from robot_runtime.collection.film import Eye, Film
from robot_runtime.loop import Tick


@dataclass(frozen=True)
class Shots:
    """What one camera gave to the steps: (N) pictures, their robot times, and how many steps have none of their own."""

    rgb: list[np.ndarray]
    stamps: np.ndarray
    dropped: int


class Recorder:
    """Records one trial inside its block: show it every tick, then ask for the episode. Memory holds all until then."""

    def __init__(self, eyes: Iterable[Eye], rate_hz: float, keep_frames: bool = False) -> None:
        """eyes: `wrist`, and others. rate_hz: of the ticks, a multiple of the episode's. keep_frames: whole, too."""
        self._films = {eye.name: Film(eye) for eye in eyes}
        self._keep_frames = keep_frames
        self._ticks_per_step = round(rate_hz / RATE_HZ)
        self._ticks: list[Tick] = []
        self._delays_s: dict[str, list[float]] = {name: [] for name in self._films}
        self._running = contextlib.ExitStack()

    def __enter__(self) -> Recorder:
        for film in self._films.values():
            self._running.enter_context(film)
        return self

    def __exit__(self, *_: object) -> None:
        self._running.close()

    @property
    def steps(self) -> int:
        """Whole ones so far."""
        return len(self._ticks) // self._ticks_per_step

    def watch(self, tick: Tick) -> None:
        """Note one tick; every so many begin a step. Raises CameraStalled."""
        if len(self._ticks) % self._ticks_per_step == 0:
            for name, film in self._films.items():
                self._delays_s[name].append(tick.state.stamp - film.newest_stamp(tick.state.stamp))
        self._ticks.append(tick)

    @property
    def begins(self) -> bool:
        """Whether the last tick began a step."""
        return len(self._ticks) % self._ticks_per_step == 1 % self._ticks_per_step

    def newest(self) -> dict[str, np.ndarray]:
        """By camera, what had arrived at the last tick. Shape: (SIDE_PX, SIDE_PX, 3)"""
        return {name: square(film.at(self._ticks[-1].state.stamp)[0]) for name, film in self._films.items()}

    def shots(self, camera: str) -> Shots:
        """One for each whole step: what was taken last when it began."""
        begins = [tick.state.stamp for tick in self._ticks[: self.steps * self._ticks_per_step : self._ticks_per_step]]
        found = [self._films[camera].at(stamp) for stamp in begins]
        stamps = np.array([stamp for _, stamp, _ in found])
        return Shots([rgb for rgb, _, _ in found], stamps, sum(not in_time for _, _, in_time in found))

    def timings(self) -> dict[str, Any]:
        """Of the cameras, by name. frames_dropped: steps without a picture of their own.

        picture_delay_ms: how old the newest picture was that had arrived when a step began, which is what a policy that
        looks at pictures would have got: older than what the episode holds.
        """
        delays_ms = {name: [1e3 * delay for delay in delays] for name, delays in self._delays_s.items()}
        return {
            "frames_dropped": {name: self.shots(name).dropped for name in self._films},
            "picture_delay_ms": {
                name: {"median": round(float(np.median(delays)), 1), "max": round(max(delays), 1)}
                for name, delays in delays_ms.items()
            },
        }

    def episode(self, about: About) -> Episode:
        """All whole steps."""
        shots = {name: self.shots(name) for name in self._films}
        kept = shots if self._keep_frames else {}
        return Episode(
            about=about,
            steps=steps_of(self._ticks[: self.steps * self._ticks_per_step], self._ticks_per_step),
            images={name: [encode(square(rgb)) for rgb in each.rgb] for name, each in shots.items()},
            image_stamps={name: each.stamps for name, each in shots.items()},
            ticks=_table([_tick_row(tick) for tick in self._ticks]),
            frames={name: [encode(rgb) for rgb in each.rgb] for name, each in kept.items()},
        )


def steps_of(ticks: list[Tick], ticks_per_step: int) -> dict[str, np.ndarray]:
    """The columns of COLUMNS. The first command is where the arm was armed, as the policy takes it to be."""
    rows, command = [], ticks[0].state.pose_base_tcp
    for first in range(0, len(ticks), ticks_per_step):
        during = ticks[first : first + ticks_per_step]
        rows.append(_step_row(during, command))
        command = during[-1].executed.pose_base_tcp
    return _table(rows)


def _step_row(during: list[Tick], command: Pose) -> dict[str, Any]:
    begin, end = during[0], during[-1]
    closed = end.decision.closed
    asked = actions.in_base(command, _asked_end(during, command), closed)
    executed = actions.in_base(command, end.executed.pose_base_tcp, closed)
    row = {
        **_measured(begin),
        "command_base_tcp": actions.row_of(command),
        "asked_base": asked,
        "asked_wrist": actions.in_wrist(asked, command),
        "executed_base": executed,
        "executed_wrist": actions.in_wrist(executed, command),
        "human": float(any(tick.decision.human for tick in during)),
    }
    assert row.keys() == COLUMNS.keys()
    return row


def _asked_end(during: list[Tick], command: Pose) -> Pose:
    """Where the ticks of a step would have led had each been let pass: what they asked for, one after the other."""
    there = here = command
    for tick in during:
        there = actions.applied(actions.in_base(here, tick.decision.setpoint.pose_base_tcp, False), there)
        here = tick.executed.pose_base_tcp
    return there


def _measured(tick: Tick) -> dict[str, Any]:
    state, seen = tick.state, tick.seen
    return {
        "stamp": state.stamp,
        "q": state.q,
        "dq": state.dq,
        "pose_base_tcp": actions.row_of(state.pose_base_tcp),
        "v_base_tcp": state.v_base_tcp,
        "wrench_base": state.wrench_base,
        "gripper_width": state.gripper_width,
        "gripper_closed": float(state.gripper_closed),
        "pose_base_object": actions.row_of(seen.pose_base_object),
        "object_sigma": position_sigma(seen.covariance),
        "object_age": max(0.0, state.stamp - seen.stamp),
        "object_held": float(seen.held),
    }


def _tick_row(tick: Tick) -> dict[str, Any]:
    return _measured(tick) | {
        "gripper_stamp": tick.state.gripper_stamp,
        "asked_base_tcp": actions.row_of(tick.decision.setpoint.pose_base_tcp),
        "executed_base_tcp": actions.row_of(tick.executed.pose_base_tcp),
        "closed": float(tick.decision.closed),
        "clipped": float(bool(tick.executed.clipped)),
        "action": tick.decision.action,
        "observation": tick.decision.observation,
    }


def _table(rows: list[dict[str, Any]]) -> dict[str, np.ndarray]:
    return {name: np.array([row[name] for row in rows], float) for name in rows[0]}
