"""Watches the ticks of one trial and makes an episode of them: nothing is encoded or written while the arm moves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from contract.object_motion import position_sigma
from contract.poses import Pose
from perception.camera import CameraStalled, Frame
from robot_runtime.collection import actions
from robot_runtime.collection.episode import COLUMNS, RATE_HZ, About, Episode, encode, square
from robot_runtime.loop import Tick

SILENT_S = 3.0
"""Wall time without a picture after which the camera is lost, and the trial with it."""
OLDEST_S = 1.0
"""Robot time, to the same end."""


class Newest(Protocol):
    """The part of a camera that the recorder uses."""

    def read_latest(self, max_age_s: float) -> Frame: ...


@dataclass(frozen=True)
class Eye:
    """One camera and how robot time is told of its pictures. period_s: between two of them."""

    camera: Newest
    stamp_of: Callable[[Frame], float | None]
    period_s: float


@dataclass
class Seen:
    """What one camera gave to the steps: pictures, their robot times, and how many steps have none of their own."""

    rgb: list[np.ndarray] = field(default_factory=list)
    stamps: list[float] = field(default_factory=list)
    dropped: int = 0

    def add(self, frame: Frame, stamp: float, now: float, oldest_s: float) -> None:
        """The newest picture at a step of robot time `now`."""
        self.dropped += stamp in self.stamps[-1:] or now - stamp > oldest_s
        self.rgb.append(frame.rgb)
        self.stamps.append(stamp)


class Recorder:
    """Records one trial: show it every tick, then ask for the episode. Memory holds all until then."""

    def __init__(self, eyes: dict[str, Eye], rate_hz: float, keep_frames: bool = False) -> None:
        """eyes: `wrist`, and others. rate_hz: of the ticks, a multiple of the episode's. keep_frames: whole, too."""
        self._eyes, self._keep_frames = eyes, keep_frames
        self._ticks_per_step = round(rate_hz / RATE_HZ)
        self._ticks: list[Tick] = []
        self._seen = {name: Seen() for name in eyes}

    @property
    def steps(self) -> int:
        """Whole ones so far."""
        return len(self._ticks) // self._ticks_per_step

    def watch(self, tick: Tick) -> None:
        """Note one tick; every so many begin a step. Raises CameraStalled."""
        if len(self._ticks) % self._ticks_per_step == 0:
            for name, eye in self._eyes.items():
                frame, now = eye.camera.read_latest(SILENT_S), tick.state.stamp
                stamp = eye.stamp_of(frame)
                if stamp is None or now - stamp > OLDEST_S:
                    raise CameraStalled(
                        f"The {name} camera has sent no picture for {OLDEST_S:g} s, the running episode is not kept:"
                        " re-plug it and start the same command again."
                    )
                self._seen[name].add(frame, stamp, now, 1.0 / RATE_HZ + eye.period_s)
        self._ticks.append(tick)

    def pictures(self, camera: str) -> np.ndarray:
        """Of the steps so far, as the dataset has them. Shape: (N, SIDE_PX, SIDE_PX, 3) uint8 RGB"""
        return np.stack([square(rgb) for rgb in self._seen[camera].rgb[: self.steps]])

    @property
    def dropped(self) -> dict[str, int]:
        """By camera: steps that had no picture of their own, or an old one."""
        return {name: seen.dropped for name, seen in self._seen.items()}

    def ages_ms(self) -> dict[str, list[float]]:
        """By camera: how old the picture of each step was."""
        begins = [tick.state.stamp for tick in self._ticks[:: self._ticks_per_step]]
        return {
            name: [1e3 * (now - stamp) for now, stamp in zip(begins, seen.stamps, strict=True)]
            for name, seen in self._seen.items()
        }

    def episode(self, about: About) -> Episode:
        """All whole steps."""
        count = self.steps
        images = {name: [encode(square(rgb)) for rgb in seen.rgb[:count]] for name, seen in self._seen.items()}
        frames = {name: [encode(rgb) for rgb in seen.rgb[:count]] for name, seen in self._seen.items()}
        return Episode(
            about=about,
            steps=steps_of(self._ticks[: count * self._ticks_per_step], self._ticks_per_step),
            images=images,
            image_stamps={name: np.array(seen.stamps[:count]) for name, seen in self._seen.items()},
            ticks=_table([_tick_row(tick) for tick in self._ticks]),
            frames=frames if self._keep_frames else {},
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
