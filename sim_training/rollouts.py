"""Episodes in the simulator at the rate of a dataset: what a policy, a person's stand-in or a generalist did there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from contract.poses import Pose, rotation_between
from contract.task_spec import Range
from contract.tasks import task
from sim_training.backends import forget_contacts
from sim_training.envs import make_task
from sim_training.pictures import Look, Shown
from sim_training.stage import Rgb

RATE_HZ = 10.0
"""Of a dataset's steps, and of a generalist's decisions (RLDG, section IV)."""

Act = Callable[[Any, Tensor, Tensor], Tensor]
"""What drives: task, observation (N, n) and which episodes are still running (N,) bool -> normalised action (N, 7)."""


@dataclass(frozen=True)
class Variant:
    """One object that the task can be done with."""

    name: str
    rgb: Rgb
    half_size_m: float

    @property
    def look(self) -> Look:
        """Of the cell with it."""
        return Look(object_rgb=self.rgb)


VARIANTS = {
    each.name: each
    for each in (
        Variant("red_cube", (0.80, 0.12, 0.10), 0.020),
        Variant("orange_cube", (0.90, 0.40, 0.10), 0.019),
        Variant("magenta_cube", (0.80, 0.10, 0.40), 0.021),
    )
}
"""The mock cell's (robot_runtime/mock_cell/variants.py); sizes are within what the task cards randomise."""

SEEN, UNSEEN = ("red_cube", "orange_cube"), "magenta_cube"
"""Which of them generalists are trained with, and which one they then meet for the first time."""


@dataclass(frozen=True)
class Track:
    """One episode, without pictures.

    columns: of an episode on disk (`robot_runtime/collection/episode.py`) those that a simulator has, (T, ...).
    end_command: where the tool was commanded to when the last step ended, x y z and wxyz (7,); end_closed: what the
    gripper had then been told. shown: what stood where at each step, as it truly was.
    """

    columns: dict[str, np.ndarray]
    end_command: np.ndarray
    end_closed: bool
    shown: list[Shown]
    success: bool
    seed: int

    def __len__(self) -> int:
        return len(self.shown)

    @property
    def duration_s(self) -> float:
        """From the first step's beginning to the last one's end."""
        return len(self) / RATE_HZ


def make(task_name: str, variant: Variant, count: int, randomise: bool = True, body_seed: int = 0) -> Any:
    """`count` environments with that object. Nobody knocks it: a dataset is collected in peace.

    body_seed: of its mass and friction in each environment, if they are randomised.
    """
    card = task(task_name)
    size = Range(variant.half_size_m, variant.half_size_m)
    ranges = replace(card.randomisation, cube_half_size_m=size, push_impulse_ns=None)
    card = replace(card, randomisation=ranges)
    return make_task(task_name, count, card=card, randomise=randomise, body_seed=body_seed)


@torch.no_grad()
def roll(env: Any, act: Act, seed: int, horizon_factor: float = 1.0) -> list[Track]:
    """One episode in every environment, each until it succeeded or its time was over; the same seed, the same episodes.

    horizon_factor: how much longer than a policy it may take.
    """
    task_env = env.unwrapped
    count = task_env.num_envs
    forget_contacts(env)
    torch.manual_seed(seed)
    observation, _ = env.reset(seed=[seed + i for i in range(count)])
    ticks_a_step = round(task_env.card.rate_hz / RATE_HZ)
    steps = round(task_env.card.horizon * horizon_factor) // ticks_a_step
    records = [_record(task_env, task_env.tcp)]
    running, succeeded = torch.ones(2, count, dtype=torch.bool)
    succeeded = ~succeeded
    lengths = torch.full((count,), steps)
    for step in range(steps):
        for _ in range(ticks_a_step):
            before = task_env.tcp
            observation, _, _, _, info = env.step(act(task_env, observation, running))
            succeeded |= info["success"].cpu() & running
        records.append(_record(task_env, before))
        lengths[running & succeeded] = step + 1
        running &= ~succeeded
        if not running.any():
            break
    return [_track(task_env, records, row, int(lengths[row]), bool(succeeded[row]), seed) for row in range(count)]


def _record(task_env: Any, tcp_before: Pose) -> dict[str, np.ndarray]:
    """Everything at one instant. tcp_before: a tick earlier. Shapes: (N, ...)"""
    controller, belief = task_env.controller, task_env.estimate
    tcp, rate = task_env.tcp, task_env.card.rate_hz
    turned = rotation_between(tcp_before.quaternion, tcp.quaternion)
    known = {
        "q": controller.qpos[:, :7],
        "dq": controller.qvel[:, :7],
        "pose_base_tcp": _rows(tcp),
        "v_base_tcp": rate * torch.cat([tcp.position - tcp_before.position, turned], -1),
        "wrench_base": torch.zeros(len(turned), 6),
        "gripper_width": controller.gripper_width,
        "gripper_closed": controller.closed,
        "command_base_tcp": _rows(controller.command),
        "pose_base_object": _rows(belief.pose),
        "object_sigma": belief.sigma,
        "object_age": belief.age,
        "object_held": belief.held,
        "qpos": controller.qpos,
        "true_object": _rows(task_env.object),
    }
    return {name: values.double().cpu().numpy() for name, values in known.items()}


def _rows(pose: Pose) -> Tensor:
    """In doubles, with quaternions that are unit to them. Shape: (N, 7)"""
    quaternion = pose.quaternion.double()
    return torch.cat([pose.position.double(), quaternion / quaternion.norm(dim=-1, keepdim=True)], -1)


def _track(
    task_env: Any, records: list[dict[str, np.ndarray]], row: int, length: int, success: bool, seed: int
) -> Track:
    columns = {name: np.stack([one[name][row] for one in records[: length + 1]]) for name in records[0]}
    x, y, z = (float(side) for side in task_env.half_size[row])
    truth = zip(columns.pop("qpos"), columns["pose_base_tcp"], columns.pop("true_object"), strict=True)
    shown = [Shown(qpos, _pose(tool), _pose(thing), (x, y, z)) for qpos, tool, thing in truth]
    last = {name: values[length] for name, values in columns.items()}
    columns = {name: values[:length] for name, values in columns.items()}
    columns["stamp"] = np.arange(length) / RATE_HZ
    closed = bool(last["gripper_closed"])
    return Track(columns, last["command_base_tcp"], closed, shown[:length], success, seed + row)


def _pose(row: np.ndarray) -> Pose:
    return Pose(row[:3], row[3:])


def successes(
    task_name: str,
    variant: Variant,
    act: Act,
    count: int,
    seed: int,
    batch: int = 32,
    horizon_factor: float = 1.0,
    randomise: bool = True,
) -> Iterator[Track]:
    """Successful episodes, `count` of them; failures are left out. Raises NeverSucceeds."""
    env = make(task_name, variant, batch, randomise)
    found, tried = 0, 0
    while found < count:
        if tried > _PATIENCE * count + 3 * batch:
            raise NeverSucceeds(
                f"Only {found} of {tried} episodes succeeded: a better policy is needed to collect with."
            )
        for track in roll(env, act, seed + tried, horizon_factor):
            if track.success and found < count:
                found += 1
                yield track
        tried += batch
    env.close()


_PATIENCE = 10
"""So many tries for each episode that is to succeed."""


class NeverSucceeds(RuntimeError):
    """What drives hardly ever does the task."""
