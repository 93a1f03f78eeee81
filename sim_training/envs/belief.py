"""What the robot would know of the scene at one tick: its own tool nearly, the objects by their estimates."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from contract.observation import PolicyInput
from contract.poses import Pose
from contract.task_spec import Randomisation, Range, TaskSpec
from sim_training.envs.estimate import ObjectEstimate, TiltingEstimate
from sim_training.envs.impedance import ImpedanceController

_NEVER = Range(0.0, 0.0)
_EXACT = Randomisation(
    object_noise_m=_NEVER,
    object_bias_m=_NEVER,
    object_yaw_noise_rad=_NEVER,
    object_latency_ticks=_NEVER,
    object_dropout=_NEVER,
)
"""What is believed without randomisation: the truth."""


@dataclass
class Belief:
    """object: the one that the task takes or pushes. second: the other, None where the card has none.

    tcp_position: measured, m, base frame (N, 3). tcp_noise: standard deviation of that, an episode's own (N,).
    """

    object: ObjectEstimate
    second: ObjectEstimate | None
    tcp_position: Tensor
    tcp_noise: Tensor

    @classmethod
    def of(cls, spec: TaskSpec, randomise: bool, count: int, device: torch.device) -> Self:
        """Nothing seen yet, in `count` environments."""
        believed = spec if randomise else replace(spec, randomisation=_EXACT)
        estimate = (TiltingEstimate if spec.object_tilts else ObjectEstimate).of(believed, count, device)
        second = ObjectEstimate.of(believed, count, device) if spec.has_second else None
        return cls(estimate, second, torch.zeros(count, 3, device=device), torch.zeros(count, device=device))

    def reset(self, rows: Tensor, tool: Pose, pose: Pose, second: Pose | None) -> None:
        """Begin an episode in which all has been watched at rest. rows: (b,) indices; poses: of those rows."""
        self.tcp_position[rows] = tool.position
        self.object.reset(rows, pose)
        if self.second is not None and second is not None:
            self.second.reset(rows, second)

    def measure(
        self, pose: Pose, second: Pose | None, controller: ImpedanceController, moved: Tensor, fresh: Tensor
    ) -> None:
        """One tick. pose, second: the truth. moved, fresh: where objects and tool are to be measured (N,) bool."""
        noise = torch.randn_like(self.tcp_position) * self.tcp_noise[:, None]
        self.tcp_position = torch.where(fresh[:, None], controller.tcp.position + noise, self.tcp_position)
        tcp = Pose(self.tcp_position, controller.tcp.quaternion)
        self.object.update(pose, tcp, controller.gripper_width, controller.closed, moved)
        if self.second is not None and second is not None:
            # Whatever the fingers do, it is not the second object that they hold.
            open_ = torch.zeros_like(controller.closed)
            self.second.update(second, tcp, controller.gripper_width, open_, moved)

    def policy_input(self, controller: ImpedanceController, previous_action: Tensor, goal: Tensor) -> PolicyInput:
        """What the contract's observation is made of."""
        return PolicyInput(
            pose_base_tcp=Pose(self.tcp_position, controller.tcp.quaternion),
            command_base_tcp=controller.command,
            gripper_width=controller.gripper_width,
            gripper_closed=controller.closed.float(),
            pose_base_object=self.object.pose,
            object_age=self.object.age,
            object_sigma=self.object.sigma,
            object_held=self.object.held.float(),
            previous_action=previous_action,
            goal_position=goal,
            pose_base_second=self.second.pose if self.second else None,
            second_age=self.second.age if self.second else None,
        )
