"""What every teacher is asked and what it answers: images and instructions in, physical tool deltas out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from contract.arrays import limit_norm
from contract.poses import Pose
from contract.task_spec import TaskSpec
from sim_training.teachers.protocol import DELTA_SIZE


class BadAnswer(ValueError):
    """A teacher answered with something that cannot be a batch of tool deltas."""


@dataclass(frozen=True)
class Question:
    """What N environments look like at one instant.

    rows: which environments of the batch these are, (N,) indices. instructions: one for each.
    tcp: their tool poses, base frame (N, 3), (N, 4).
    images: (N, height, width, 3) uint8 RGB, only for teachers that look (`needs_images`).
    truth: the simulator's own state of the whole batch, only for synthetic teachers; its type is the task's.
    cell: the `ContractTask` itself, only for teachers that look at it with cameras of their own.
    """

    rows: Tensor
    instructions: list[str]
    tcp: Pose
    images: np.ndarray | None = None
    truth: Any = None
    cell: Any = None

    @staticmethod
    def of(task: Any, rows: Tensor, with_images: bool) -> Question:
        """About some environments of a `ContractTask`. rows: (N,) indices"""
        tcp = Pose(task.tcp.position[rows], task.tcp.quaternion[rows])
        images = task.render()[rows].cpu().numpy() if with_images else None
        return Question(rows, [task.card.instruction] * len(rows), tcp, images, task.truth, task)


@dataclass(frozen=True)
class Answer:
    """delta: (N, 7), see `DELTA_SIZE`. valid: (N,) bool, False where the teacher had nothing to say in time."""

    delta: Tensor
    valid: Tensor


class Teacher(Protocol):
    """Anything that can say where the tool should go.

    name: for ledgers and artifacts; synthetic teachers say so in it. needs_images: whether `Question.images` is wanted.
    """

    name: str
    needs_images: bool

    def begin(self, rows: Tensor) -> None:
        """New episodes begin in these environments: forget what was going on there. Shape: (b,) indices"""

    def state(self) -> dict[str, Tensor]:
        """What it remembers of running episodes, for a checkpoint; empty for a teacher without memory."""

    def restore(self, state: dict[str, Tensor]) -> None:
        """Go on from `state()`."""

    def ask(self, question: Question, deadline_s: float) -> Answer:
        """One delta per environment within `deadline_s` seconds; rows that come too late are not valid. Never hangs."""


def increment(spec: TaskSpec, delta: Tensor, increments: int) -> Tensor:
    """One of the equal parts of a physical delta, as a normalised action no faster than the task allows.

    Linear in translation; a rotation vector divided so is its SLERP. Axes that the task locks are 0. Shape: (N, 7)
    """
    scale = delta.new_tensor([spec.translation_scale_m] * 3 + [s or torch.inf for s in spec.rotation_scale_rad])
    part = delta[:, :6] / scale / increments
    return torch.cat([limit_norm(part[:, :3], 1.0), limit_norm(part[:, 3:], 1.0), delta[:, 6:].clip(-1.0, 1.0)], -1)


def checked(answer: Answer, count: int, name: str) -> Answer:
    """The answer, with rows that are not finite made invalid. Raises BadAnswer where the shape is wrong."""
    if answer.delta.shape != (count, DELTA_SIZE) or answer.valid.shape != (count,):
        raise BadAnswer(
            f"Teacher {name} answered with shape {tuple(answer.delta.shape)} and {tuple(answer.valid.shape)};"
            f" ({count}, {DELTA_SIZE}) and ({count},) were due."
        )
    finite = torch.isfinite(answer.delta).all(-1)
    return Answer(torch.where(finite[:, None], answer.delta, 0.0), answer.valid & finite)
