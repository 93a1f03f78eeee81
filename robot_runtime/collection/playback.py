"""An episode's actions once more, open loop: what the arm does when it is only told what it was told then."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.spatial import KDTree

from contract.messages import GripperCommand, Setpoint
from contract.poses import Pose
from contract.task_spec import TaskSpec
from robot_runtime.bridge_client import BridgeClient
from robot_runtime.collection import actions
from robot_runtime.collection.episode import RATE_HZ, Episode
from robot_runtime.motions import Mover, stay, towards

TO_START_TICKS, REST_TICKS = 20, 10
HALF_AFTER_S = 0.5 / RATE_HZ
"""The bridge wants a setpoint every half step: half of each action is asked for first, and the whole after this."""
_PER_TICK = 50
"""Points between two positions of the tool, which is then less than a millimetre further."""


@dataclass(frozen=True)
class Told:
    """From `since_s` after the start on, the tool is told to go to `pose_base_tcp`, the gripper to close or open."""

    since_s: float
    pose_base_tcp: Pose
    closed: bool


@dataclass(frozen=True)
class Played:
    """What the arm did. times_s: since the start, (M,). positions_m: of the tool, (M, 3). clipped: setpoints."""

    times_s: np.ndarray
    positions_m: np.ndarray
    clipped: int


def told(made: Episode) -> Iterator[Told]:
    """Twice per step: half of the action, then all of it, each from where the actions before it lead."""
    steps, closed = made.steps, False
    here = actions.pose_of(steps["command_base_tcp"][0])
    for stamp, action in zip(steps["stamp"] - steps["stamp"][0], steps["executed_base"], strict=True):
        half = np.concatenate([0.5 * action[:6], action[6:]])
        yield Told(float(stamp), actions.applied(half, here), closed)
        here, closed = actions.applied(action, here), action[6] < 0.5
        yield Told(float(stamp) + HALF_AFTER_S, here, bool(closed))


def told_raw(made: Episode) -> Iterator[Told]:
    """Every setpoint that the bridge let pass, one for each tick."""
    ticks = made.ticks
    since_s = ticks["stamp"] - ticks["stamp"][0]
    for at_s, pose, closed in zip(since_s, ticks["executed_base_tcp"], ticks["closed"], strict=True):
        yield Told(float(at_s), actions.pose_of(pose), bool(closed))


def play(client: BridgeClient, spec: TaskSpec, made: Episode, raw: bool = False) -> Played:
    """Go to where the episode began, from nearby, and send what it executed. Begins and ends disarmed and at rest.

    raw: its setpoints of every tick, not the dataset's actions.

    Raises BridgeRefused, BridgeFaulted, BridgeLost.
    """
    client.arm()
    begin = actions.pose_of(made.steps["command_base_tcp"][0])
    move = Mover(client)
    move(towards(begin.position, begin.quaternion), TO_START_TICKS)
    move(stay, REST_TICKS)
    script, sequence, closed = deque(told_raw(made) if raw else told(made)), TO_START_TICKS + REST_TICKS, False
    lasts_s = script[-1].since_s + spec.period_s
    times_s, positions_m, clipped = [], [], 0
    due = began = client.latest().stamp + spec.period_s
    while (now := client.wait_until(due)).stamp < began + lasts_s:
        times_s.append(now.stamp - began)
        positions_m.append(now.pose_base_tcp.position)
        while len(script) > 1 and script[1].since_s < times_s[-1] + spec.period_s / 2:  # the nearest tick
            script.popleft()
        sequence += 1
        answer = client.send(Setpoint(now.stamp + spec.period_s, sequence, script[0].pose_base_tcp, np.zeros(6)))
        clipped += bool(answer.clipped)
        if script[0].closed != closed:
            closed = script[0].closed
            client.gripper(GripperCommand(closed, spec.gripper_force_n))
        client.check()
        due = max(due + spec.period_s, now.stamp + 0.8 * spec.period_s)
    client.stop()
    return Played(np.array(times_s), np.array(positions_m), clipped)


def off_path_mm(made: Episode, played: Played) -> np.ndarray:
    """From where the tool was at every step to the nearest of where it came now, whenever that was. Shape: (N,)"""
    ticks = np.arange(len(played.times_s))
    between = np.linspace(0, ticks[-1], _PER_TICK * ticks[-1] + 1)
    way = np.stack([np.interp(between, ticks, axis) for axis in played.positions_m.T], axis=1)
    return 1e3 * np.asarray(KDTree(way).query(made.steps["pose_base_tcp"][:, :3])[0])


def distances_mm(made: Episode, played: Played) -> np.ndarray:
    """Between the tool then and now, at every step, by robot time since the start. Shape: (N,)"""
    times_s = made.steps["stamp"] - made.steps["stamp"][0]
    now = np.stack([np.interp(times_s, played.times_s, axis) for axis in played.positions_m.T], axis=1)
    return 1e3 * np.asarray(np.linalg.norm(now - made.steps["pose_base_tcp"][:, :3], axis=1))
