"""Teachers: who is asked which way the tool should go, and is never obeyed blindly."""

from __future__ import annotations

import torch
from torch import Tensor

from contract.tasks import TaskSpec
from sim_training.teachers.scripted import ScriptedLiftTeacher
from sim_training.teachers.teacher import Answer, Question, Teacher


def make_teacher(name: str, spec: TaskSpec) -> Teacher:
    """The teacher of that name for a task."""
    return _Lift()


class _Lift:
    name = "scripted (synthetic)"
    needs_images = False

    def __init__(self) -> None:
        self._expert = ScriptedLiftTeacher()

    def begin(self, rows: Tensor) -> None:
        """No memory."""

    def state(self) -> dict[str, Tensor]:
        """No memory."""
        return {}

    def restore(self, state: dict[str, Tensor]) -> None:
        """No memory."""

    def ask(self, question: Question, deadline_s: float) -> Answer:
        """At once."""
        truth = question.truth
        delta = self._expert.delta(truth.tcp, truth.cube, truth.grasped)[question.rows]
        return Answer(delta, torch.ones(len(delta), dtype=torch.bool, device=delta.device))
