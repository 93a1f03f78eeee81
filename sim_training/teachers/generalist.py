"""A generalist as a teacher: it looks at the cell from the cameras it was trained with and says where the tool goes."""

from __future__ import annotations

import torch
from torch import Tensor

from contract.generalist import Generalist
from contract.task_spec import TaskSpec
from sim_training.generalist.driving import pictures_of
from sim_training.pictures import Painter
from sim_training.teachers.evaluate import INCREMENTS
from sim_training.teachers.teacher import Answer, Question


class GeneralistTeacher:
    """Answers for as many ticks as a teacher's answer is meant for; its own are meant for fewer."""

    needs_images = False

    def __init__(self, model: Generalist, painter: Painter, spec: TaskSpec, instruction: str, name: str) -> None:
        """instruction: what it is asked to do, whatever the task is called. Raises UnknownInstruction."""
        model.check(instruction)
        self.name = name
        self._model, self._painter, self._instruction = model, painter, instruction
        self._stretch = INCREMENTS * model.card.rate_hz / spec.rate_hz

    def begin(self, rows: Tensor) -> None:
        """It remembers nothing."""

    def state(self) -> dict[str, Tensor]:
        """Nothing."""
        return {}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Nothing to go on from."""

    def ask(self, question: Question, deadline_s: float) -> Answer:
        """What it would do, from pictures drawn now; always in time, since nobody else is waited for."""
        seen = pictures_of(question.cell, self._painter, question.rows)
        answer = torch.from_numpy(self._model.act(seen, self._instruction)).float()
        delta = torch.cat([answer[:, :6] * self._stretch, 2 * answer[:, 6:] - 1], -1)
        device = question.rows.device
        return Answer(delta.to(device), torch.ones(len(delta), dtype=torch.bool, device=device))
