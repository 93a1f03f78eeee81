"""Stages that several tasks reward: coming near, facing the object, closing around it, being somewhere and still."""

from __future__ import annotations

import torch
from torch import Tensor

from contract.poses import quat_rotate, yaw_of
from sim_training.envs.contract_task import ContractTask

NEAR_M = 0.03
"""Fingers that close this near to an object may be about to take it."""

LIES_M = 0.005
"""A thing whose bottom is lower than this lies on the table."""


def near(distance: Tensor, coarse: float = 4.0, fine: float = 25.0) -> Tensor:
    """1 at no distance, half of what is left lost over about 1 / `fine` metres. Shape: (N,)"""
    return 1 - 0.5 * torch.tanh(coarse * distance) - 0.5 * torch.tanh(fine * distance)


def facing(task: ContractTask) -> Tensor:
    """1 where the fingers would close on the object's sides, 0 where on its edges. Shape: (N,)"""
    if task.symmetry == 2:
        fingers = quat_rotate(
            task.tcp.quaternion, torch.tensor([0.0, 1.0, 0.0], device=task.device).expand(len(task.half_size), 3)
        )
        return 1 - (fingers * task.object_axis).sum(-1).square()
    yaw = yaw_of(task.object.quaternion) - yaw_of(task.tcp.quaternion)
    return 0.5 * (1 + torch.cos(task.symmetry * yaw))


def taking(task: ContractTask, action: Tensor, info: dict[str, Tensor]) -> Tensor:
    """Come near, face it, close around it: at most 2.3 before it is held, 1.3 once it is. Shape: (N,)"""
    distance, grasped = info["distance"], info["grasped"].float()
    faces = facing(task)
    width = task.controller.gripper_width
    opening = torch.clip((width - task.card.object_width_m) / task.card.object_width_m, 0.0, 1.0)
    around = torch.exp(-((distance / 0.015) ** 2)) * faces
    # Around the object the wish to close pays already; earlier it would save time here and hit the object on the arm.
    wish = (1 - action[:, 6].clip(-1, 1)) / 2
    closing = around * (wish + 1 - opening) / 2
    fingers = torch.where(distance > 0.02, opening - task.controller.closed.float(), 1.0 + closing)
    return near(distance) + 0.3 * faces + fingers * (1 - grasped)


def within(distance: Tensor, far: float = 0.3) -> Tensor:
    """1 at no distance, 0 from `far` metres on, evenly between. Shape: (N,)"""
    return torch.clip(1 - distance / far, 0.0, 1.0)


def empty_handed(task: ContractTask, info: dict[str, Tensor]) -> Tensor:
    """What simplified rewards take for fingers told to close where there is nothing. Shape: (N,)"""
    return 0.25 * (task.controller.closed & (info["distance"] > NEAR_M))


def put_down(task: ContractTask, distance: Tensor, placed: Tensor, info: dict[str, Tensor]) -> Tensor:
    """Simplified: off the table 1, near its place up to 2, on it 3, wanting to let go there up to 4, success 6. (N,)

    The wish is paid because nothing else speaks of the gripper: directional guidance leaves it out, and fingers that
    have learnt to stay closed do not open by chance.
    """
    lifted = (info["grasped"] & (info["height"] > LIES_M)).float()
    wish = (1 + task.previous_action[:, 6]) / 2
    stage = torch.where(placed, 3 + wish + task.settled, lifted * (1 + within(distance)))
    return stage + info["success"] - empty_handed(task, info)


def still(task: ContractTask, info: dict[str, Tensor]) -> Tensor:
    """1 for an object at rest. Shape: (N,)"""
    return torch.exp(-info["speed"] / task.card.still_speed_m_s)
