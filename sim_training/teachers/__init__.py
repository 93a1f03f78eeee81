"""Teachers: who is asked which way the tool should go, and is never obeyed blindly.

Importing this package loads no torch: a VLA's own environment runs the teacher server from it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from contract.tasks import TaskSpec

if TYPE_CHECKING:
    from torch import Tensor

    from sim_training.teachers.teacher import Answer, Question, Teacher


def make_teacher(name: str, spec: TaskSpec) -> Teacher:
    """The teacher of that name for a task, or the one served at that address (`tcp://`, `ipc://`)."""
    if "://" in name:
        from sim_training.teachers.remote import RemoteTeacher

        return RemoteTeacher(name)
    if spec.name == "lift_cube":
        return _Lift()
    from sim_training.teachers.scripted import ScriptedTeacher

    return ScriptedTeacher(spec)


class _Lift:
    """The funnel that guided the shipped lift_cube policy."""

    name = "scripted (synthetic)"
    needs_images = False

    def __init__(self) -> None:
        from sim_training.teachers.scripted import ScriptedLiftTeacher

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
        import torch

        from sim_training.teachers.teacher import Answer

        truth = question.truth
        delta = self._expert.delta(truth.tcp, truth.object, truth.grasped)[question.rows]
        return Answer(delta, torch.ones(len(delta), dtype=torch.bool, device=delta.device))
