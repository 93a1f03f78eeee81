"""Synthetic stand-ins for a VLA: they know the truth and point roughly the right way, with named faults."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from contract.arrays import limit_norm
from contract.task_spec import TaskSpec
from sim_training.envs.truth import Truth
from sim_training.teachers.experts import EXPERTS
from sim_training.teachers.experts.phase import current
from sim_training.teachers.teacher import Answer, Question


@dataclass(frozen=True)
class Faults:
    """What is wrong with a scripted expert, so that it succeeds about as often as a VLA does.

    noise: of every direction, as a share of its length. bias_m: standard deviation of where it takes things to be,
    horizontally, one error an episode. wrong_phase: chance that in an episode it is always a phase ahead.
    dropped_grasp: chance, at each question, that it lets go of what it holds.
    """

    noise: float = 0.3
    bias_m: float = 0.009
    wrong_phase: float = 0.1
    dropped_grasp: float = 0.01


NO_FAULTS = Faults(0.0, 0.0, 0.0, 0.0)
FAULTS: dict[str, Faults] = {
    "pick_cube": Faults(bias_m=0.007),
    "push_cube": Faults(bias_m=0.018, wrong_phase=0.2),
    "push_cube_v2": Faults(bias_m=0.018, wrong_phase=0.2),
    "pull_cube": Faults(bias_m=0.018, wrong_phase=0.2),
    "peg_upright": Faults(bias_m=0.007),
    "stack_cube": Faults(bias_m=0.006, wrong_phase=0.55),
    "roll_ball": Faults(bias_m=0.006, wrong_phase=0.5),
    "poke_cube": Faults(bias_m=0.006, wrong_phase=0.5),
    "pull_cube_tool": Faults(bias_m=0.006, wrong_phase=0.4),
    "peg_insertion": Faults(bias_m=0.006),
}
"""Where the default is not it; tuned with `launch/eval_teacher.py` to about 40 % success, see docs/tasks.md."""

MOVE_M, TURN_RAD = 0.055, 0.28
"""Longest answer: what five ticks at full scale cover."""


class ScriptedTeacher:
    """The task's expert behind the interface that every teacher implements; remembers each episode's faults."""

    name = "scripted (synthetic)"
    needs_images = False

    def __init__(self, spec: TaskSpec, faults: Faults | None = None):
        self._expert = EXPERTS[spec.name]
        self._faults = faults or FAULTS.get(spec.name, Faults())
        self._bias, self._ahead = torch.zeros(0, 3), torch.zeros(0, dtype=torch.bool)

    def begin(self, rows: Tensor) -> None:
        """New episodes, new faults. Shape: (b,) indices"""
        if len(self._ahead):
            self._bias[rows] = torch.randn(len(rows), 3, device=rows.device) * self._faults.bias_m
            self._bias[rows, 2] = 0.0
            self._ahead[rows] = torch.rand(len(rows), device=rows.device) < self._faults.wrong_phase

    def state(self) -> dict[str, Tensor]:
        """The running episodes' faults."""
        return {"bias": self._bias, "ahead": self._ahead}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Go on from `state()`."""
        self._bias, self._ahead = state["bias"], state["ahead"]

    def ask(self, question: Question, deadline_s: float) -> Answer:
        """At once, and always."""
        truth: Truth = question.truth
        count, device = len(truth.grasped), truth.grasped.device
        if len(self._ahead) != count:
            self._bias = torch.zeros(count, 3, device=device)
            self._ahead = torch.zeros(count, dtype=torch.bool, device=device)
            self.begin(torch.arange(count, device=device))
        delta = self._delta(truth)[question.rows]
        return Answer(delta, torch.ones(len(delta), dtype=torch.bool, device=device))

    def _delta(self, truth: Truth) -> Tensor:
        """For the whole batch: m, rotation vector rad, gripper. Shape: (N, 7)"""
        phase = current(self._expert(truth), self._ahead.long())
        bias = torch.where(truth.grasped[:, None], 0.0, self._bias)
        move = limit_norm(phase.target + bias - truth.tcp.position, MOVE_M)
        turn = limit_norm(phase.turn, TURN_RAD)
        dropped = truth.grasped & (torch.rand(len(move), device=move.device) < self._faults.dropped_grasp)
        grip = torch.where(phase.closed & ~dropped, -1.0, 1.0)
        return torch.cat([self._noisy(move), self._noisy(turn), grip[:, None]], -1)

    def _noisy(self, vector: Tensor) -> Tensor:
        length = vector.norm(dim=-1, keepdim=True)
        return vector + self._faults.noise * length * torch.randn_like(vector) / math.sqrt(3)
