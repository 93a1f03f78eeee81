"""The Panda under a controller that answers commands as the robot's Cartesian impedance loop does.

The contract turns an action into a commanded tool pose. A second-order response, fitted to the loop on the mock cell
(`launch/bench.py step_response`), turns commands into motion; joint drives follow that motion. One step of
inverse kinematics a tick, the same on every backend.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from gymnasium import spaces
from mani_skill.agents.controllers.base_controller import BaseController, ControllerConfig
from mani_skill.agents.registration import register_agent
from mani_skill.agents.robots.panda.panda import Panda
from torch import Tensor

from contract import action as contract_action
from contract.poses import Pose, quat_from_axis_angle, quat_multiply, rotation_between
from contract.task_spec import Randomisation, TaskSpec
from sim_training.envs.estimate import sample, sample_ticks
from sim_training.envs.kinematics import forward, ik_step
from sim_training.envs.response import FITTED_RESPONSE, ImpedanceResponse, Transition

ARM_JOINTS = [f"panda_joint{i}" for i in range(1, 8)]
FINGER_JOINTS = ["panda_finger_joint1", "panda_finger_joint2"]


class ImpedanceController(BaseController):
    """Seven-dimensional contract actions for arm and gripper together.

    Attributes kept per environment: `command` (Pose, what the policy asked for after every bound), `closed` (N,) bool,
    `width_target` (N,) metres. Episode parameters are set by the task through `set_episode`.
    """

    config: ImpedanceControllerConfig
    sets_target_qpos = True
    sets_target_qvel = True
    _tcp: Pose | None = None
    _beginning: Tensor | None = None

    def _initialize_action_space(self) -> None:
        size = (contract_action.ACTION_SIZE,)
        self.single_action_space = spaces.Box(-np.ones(size, np.float32), np.ones(size, np.float32), dtype=np.float32)

    def set_drive_property(self) -> None:
        """Stiff enough to follow the modelled response; forces are the joints' own limits."""
        config = self.config
        for i, joint in enumerate(self.joints):
            finger = i >= len(ARM_JOINTS)
            joint.set_drive_properties(
                config.finger_stiffness if finger else config.arm_stiffness,
                config.finger_damping if finger else config.arm_damping,
                force_limit=config.finger_force_n if finger else (87.0 if i < 4 else 12.0),
                mode="force",
            )

    def begin(self, rows: Tensor) -> None:
        """The next `reset` is for these environments only: ManiSkill calls it for all, whichever begin. Shape: (n,)"""
        if self._beginning is None:
            self._beginning = torch.zeros(self.scene.num_envs, dtype=torch.bool, device=self.device)
        self._beginning[rows] = True

    def reset(self) -> None:
        """Start every environment that begins from its measured pose, at rest, nothing pending."""
        super().reset()
        self._tcp = None
        count = self.scene.num_envs
        q, pose = self.qpos[:, :7], self.tcp
        if not hasattr(self, "q_target"):
            self._q_rest = torch.tensor(self.config.spec.start_q_rad, device=self.device).expand(count, 7)
            self.q_target = q.clone()
            self._position, self._quaternion = pose.position.clone(), pose.quaternion.clone()
            self._velocity, self._omega = torch.zeros_like(pose.position), torch.zeros_like(pose.position)
            self._asked_position = pose.position[None].repeat(3, 1, 1)
            self._asked_quaternion = pose.quaternion[None].repeat(3, 1, 1)
            self._asked_closed = torch.zeros(6, count, dtype=torch.bool, device=self.device)
            self.width_target = torch.zeros(count, device=self.device)
            at_once = torch.zeros(count, dtype=torch.long, device=self.device)
            self.set_episode(at_once == 0, self.config.response, at_once, at_once, at_once > 0)
        if self._beginning is None:
            return
        rows, self._beginning = self._beginning, None
        self.q_target[rows] = q[rows]
        self._position[rows], self._quaternion[rows] = pose.position[rows], pose.quaternion[rows]
        self._velocity[rows], self._omega[rows] = 0.0, 0.0
        self._asked_position[:, rows], self._asked_quaternion[:, rows] = pose.position[rows], pose.quaternion[rows]
        closed = self._begins_closed[rows]
        self._asked_closed[:, rows] = closed
        self.width_target[rows] = torch.where(closed, self.gripper_width[rows], self.config.spec.gripper_open_m)

    def set_episode(
        self,
        rows: Tensor,
        response: ImpedanceResponse,
        command_delay: Tensor,
        gripper_delay: Tensor,
        begins_closed: Tensor,
    ) -> None:
        """How the loop answers in these environments, and whether the gripper has already been told to close.

        rows, begins_closed: (N,) bool; delays: (N,) ticks
        """
        count = self.scene.num_envs
        if not hasattr(self, "_command_delay"):
            self._command_delay = torch.zeros(count, dtype=torch.long, device=self.device)
            self._gripper_delay = torch.zeros(count, dtype=torch.long, device=self.device)
            self._begins_closed = torch.zeros(count, dtype=torch.bool, device=self.device)
            self._linear = Transition.of(response.translation, 1 / self._control_freq, count, self.device)
            self._angular = Transition.of(response.rotation, 1 / self._control_freq, count, self.device)
        period = 1 / self._control_freq
        self._command_delay[rows], self._gripper_delay[rows] = command_delay[rows], gripper_delay[rows]
        self._begins_closed[rows] = begins_closed[rows]
        self._linear.replace(rows, Transition.of(response.translation, period, count, self.device))
        self._angular.replace(rows, Transition.of(response.rotation, period, count, self.device))

    def draw_episode(self, rows: Tensor, ranges: Randomisation, begins_closed: Tensor) -> Tensor:
        """A robot for each episode that begins; returns the scale of its response. Shapes: (n,) indices, (n,) bool"""
        count, device = len(rows), self.device
        beginning, closed = torch.zeros(2, self.scene.num_envs, dtype=torch.bool, device=device)
        command_delay, gripper_delay = torch.zeros(2, self.scene.num_envs, dtype=torch.long, device=device)
        scale = torch.ones(self.scene.num_envs, device=device)
        scale[rows] = sample(ranges.tracking_frequency_scale, count, device)
        command_delay[rows] = sample_ticks(ranges.command_delay_ticks, count, device)
        gripper_delay[rows] = sample_ticks(ranges.gripper_delay_ticks, count, device)
        beginning[rows], closed[rows] = True, begins_closed
        self.set_episode(beginning, FITTED_RESPONSE.scaled(scale), command_delay, gripper_delay, closed)
        return scale[rows]

    @property
    def command(self) -> Pose:
        """What the policy last asked for, after every bound. Shapes: (N, 3), (N, 4)"""
        return Pose(self._asked_position[-1], self._asked_quaternion[-1])

    @property
    def tcp(self) -> Pose:
        """Measured tool pose, base frame; computed once a tick. Shapes: (N, 3), (N, 4)"""
        if self._tcp is None:
            self._tcp = forward(self.qpos[:, :7])
        return self._tcp

    @property
    def closed(self) -> Tensor:
        """Whether the gripper was last told to close. Shape: (N,) bool"""
        return self._asked_closed[-1]

    @property
    def gripper_width(self) -> Tensor:
        """Measured opening between the fingers, metres. Shape: (N,)"""
        return self.qpos[:, 7:].sum(-1)

    def set_action(self, action: Tensor) -> None:
        """Apply one tick of the policy. Shape: (N, 7)"""
        action = self._preprocess_action(action)
        spec = self.config.spec
        asked = contract_action.command_pose(spec, action, self.command, self.tcp)
        self._tcp = None
        closed = contract_action.gripper_closed(spec, action, self.closed)
        self._asked_position = torch.cat([self._asked_position[1:], asked.position[None]])
        self._asked_quaternion = torch.cat([self._asked_quaternion[1:], asked.quaternion[None]])
        self._asked_closed = torch.cat([self._asked_closed[1:], closed[None]])
        self._follow(*self._delayed(2), *self._delayed(1))
        self._move_arm()
        self._move_fingers()

    def _delayed(self, ticks_ago: int) -> tuple[Tensor, Tensor]:
        """The command that reaches the loop: `ticks_ago` 1 is where this tick's ends, 2 where it starts."""
        index = len(self._asked_position) - ticks_ago - self._command_delay
        rows = torch.arange(self.scene.num_envs, device=self.device)
        return self._asked_position[index, rows], self._asked_quaternion[index, rows]

    def _follow(self, p_start: Tensor, q_start: Tensor, p_end: Tensor, q_end: Tensor) -> None:
        """Advance the modelled tool by one tick along the reference from start to end."""
        period = 1 / self._control_freq
        offset, self._velocity = self._linear.advance(
            self._position - p_start, self._velocity, (p_end - p_start) / period
        )
        self._position = p_end + offset
        behind = rotation_between(q_start, self._quaternion)
        turn = rotation_between(q_start, q_end)
        offset, self._omega = self._angular.advance(behind, self._omega, turn / period)
        self._quaternion = quat_multiply(quat_from_axis_angle(offset), q_end)
        self._quaternion = self._quaternion / self._quaternion.norm(dim=-1, keepdim=True)

    def _move_arm(self) -> None:
        # The drive is given the tick's mean position and velocity, so that following the path needs no lag of its own.
        q_next = ik_step(self.q_target, Pose(self._position, self._quaternion), self._q_rest)
        middle, velocity = (q_next + self.q_target) / 2, (q_next - self.q_target) * self._control_freq
        self.q_target = q_next
        self.articulation.set_joint_drive_targets(middle, self.joints[:7], self.active_joint_indices[:7])
        self.articulation.set_joint_drive_velocity_targets(velocity, self.joints[:7], self.active_joint_indices[:7])

    def _move_fingers(self) -> None:
        config = self.config
        rows = torch.arange(self.scene.num_envs, device=self.device)
        closed = self._asked_closed[len(self._asked_closed) - 1 - self._gripper_delay, rows]
        step = config.gripper_speed_m_s / self._control_freq
        wanted = torch.where(closed, -config.squeeze_m, config.spec.gripper_open_m)
        start = torch.where(closed, self.width_target, torch.maximum(self.width_target, self.gripper_width))
        self.width_target = start + torch.clip(wanted - start, -step, step)
        fingers = (self.width_target / 2)[:, None].repeat(1, 2)
        self.articulation.set_joint_drive_targets(fingers, self.joints[7:], self.active_joint_indices[7:])


@dataclass
class ImpedanceControllerConfig(ControllerConfig):
    """spec: task card. response: what was fitted. Drives in Nm/rad and Nms/rad; gripper speed of the width, m/s."""

    spec: TaskSpec = None  # type: ignore[assignment]
    response: ImpedanceResponse = field(default_factory=lambda: FITTED_RESPONSE)
    arm_stiffness: float = 1000.0
    arm_damping: float = 100.0
    finger_stiffness: float = 1000.0
    finger_damping: float = 100.0
    finger_force_n: float = 3.0
    gripper_speed_m_s: float = 0.1
    squeeze_m: float = 0.04
    controller_cls = ImpedanceController


@register_agent()
class ImpedancePanda(Panda):
    """ManiSkill's Panda with `ImpedanceController` as its only control mode."""

    uid = "panda_impedance"
    spec: TaskSpec

    @property
    def _controller_configs(self) -> dict[str, ControllerConfig]:
        return {"impedance": ImpedanceControllerConfig(ARM_JOINTS + FINGER_JOINTS, spec=self.spec)}

    @classmethod
    def for_task(cls, spec: TaskSpec) -> type[ImpedancePanda]:
        """An agent class bound to one task card."""
        return type(cls.__name__, (cls,), {"spec": spec})
