"""A generalist drives episodes in the simulator: it is shown pictures at its own rate and nothing else."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from contract.generalist import Generalist, Gripper
from contract.poses import Pose
from contract.task_spec import TaskSpec
from sim_training.pictures import Painter, Shown


def pictures_of(task: Any, painter: Painter, rows: Tensor) -> dict[str, np.ndarray]:
    """What each camera sees in some environments. rows: (n,) indices. Shape of each: (n, SIDE_PX, SIDE_PX, 3) uint8"""
    drawn = [painter.draw(shown_in(task, int(row))) for row in rows]
    return {name: np.stack([one[name] for one in drawn]) for name in painter.views}


def shown_in(task: Any, row: int) -> Shown:
    """What stands where in one environment now."""
    tool, thing = (
        Pose(pose.position[row].double().cpu().numpy(), pose.quaternion[row].double().cpu().numpy())
        for pose in (task.tcp, task.object)
    )
    x, y, z = (float(side) for side in task.half_size[row])
    return Shown(task.controller.qpos[row].double().cpu().numpy(), tool, thing, (x, y, z))


def as_motions(spec: TaskSpec, deltas: Tensor, ticks: int) -> Tensor:
    """Each of the ticks' equal parts of physical motions as a normalised one. Shape: (n, 6)"""
    scale = torch.tensor([spec.translation_scale_m] * 3 + [s or torch.inf for s in spec.rotation_scale_rad])
    return (deltas / scale / ticks).clip(-1.0, 1.0)


class Driver:
    """Asks every 1 / rate_hz seconds and spreads each answer evenly over the task's ticks until the next."""

    def __init__(self, spec: TaskSpec, model: Generalist, painter: Painter, instruction: str) -> None:
        """Raises contract.generalist.UnknownInstruction."""
        model.check(instruction)
        self._spec, self._model, self._painter, self._instruction = spec, model, painter, instruction
        self._ticks = round(spec.rate_hz / model.card.rate_hz)

    def __call__(self, task: Any, observation: Tensor, running: Tensor) -> Tensor:
        """Normalised actions; episodes that are over are not looked at and stay. Shape: (N, 7)"""
        tick = int(task._elapsed_steps.max())
        if tick == 0:
            self._gripper = Gripper(self._model.card.rate_hz, len(running))
        if tick % self._ticks == 0:
            rows = running.nonzero()[:, 0]
            answer = self._model.act(pictures_of(task, self._painter, rows), self._instruction)
            grip = self._gripper.tell(answer[:, 6], rows.numpy())
            self._action = torch.zeros(len(running), 7)
            self._action[rows, :6] = as_motions(self._spec, torch.from_numpy(answer[:, :6]).float(), self._ticks)
            self._action[rows, 6] = torch.from_numpy(grip).float()
        return self._action
