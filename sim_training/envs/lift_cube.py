"""lift_cube: a 40 mm cube anywhere on a 30 x 40 cm area, to be lifted 10 cm and held still for half a second."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import sapien
import torch
from mani_skill.envs.sapien_env import BaseEnv
from mani_skill.sensors.camera import CameraConfig
from mani_skill.utils import sapien_utils
from mani_skill.utils.registration import register_env
from mani_skill.utils.scene_builder.table import TableSceneBuilder
from mani_skill.utils.structs.actor import Actor
from mani_skill.utils.structs.pose import Pose as SapienPose
from torch import Tensor

from contract.grasp import is_holding
from contract.observation import PolicyInput, observation_size, observe
from contract.poses import Pose, quat_from_yaw, yaw_of
from contract.tasks import LIFT_CUBE, TaskSpec
from sim_training.envs.estimate import ObjectEstimate, sample, sample_ticks
from sim_training.envs.impedance import ImpedanceController, ImpedancePanda
from sim_training.envs.kinematics import ik, turn_about_z
from sim_training.envs.response import FITTED_RESPONSE

BASE_IN_WORLD = (-0.615, 0.0, 0.0)
"""Where ManiSkill's table scene puts the robot; every number of the contract is relative to it."""

_ABOVE_UP_TO_M, _HELD_UP_TO_M = 0.08, 0.2
"""How high above its rest episodes that begin further on start: the tool over the cube, and the cube in the tool."""


@dataclass(frozen=True)
class Truth:
    """tcp, cube: poses in the base frame (N, ...). grasped: (N,) bool."""

    tcp: Pose
    cube: Pose
    grasped: Tensor


@register_env("LiftCube-v1", max_episode_steps=LIFT_CUBE.horizon)
class LiftCubeEnv(BaseEnv):
    """State observations: first the contract's vector, then what only a critic may see (`privileged_size` numbers)."""

    SUPPORTED_REWARD_MODES = ["dense", "normalized_dense", "none"]
    card: TaskSpec = LIFT_CUBE
    privileged_size = 16

    def __init__(self, *args: Any, randomise: bool = True, near_starts: float = 0.0, **kwargs: Any):
        self.randomise, self.near_starts = randomise, near_starts
        super().__init__(*args, robot_uids=ImpedancePanda.for_task(self.card), **kwargs)

    @property
    def policy_size(self) -> int:
        """Length of the deployable part of the observation."""
        return observation_size(self.card)

    @property
    def _default_sensor_configs(self) -> list[CameraConfig]:
        return []

    @property
    def _default_human_render_camera_configs(self) -> CameraConfig:
        pose = sapien_utils.look_at(eye=[0.55, 0.75, 0.6], target=[-0.1, 0.0, 0.15])
        return CameraConfig("render_camera", pose, 512, 512, 1, 0.01, 100)

    def _load_agent(self, options: dict[str, Any]) -> None:
        super()._load_agent(options, sapien.Pose(p=BASE_IN_WORLD))

    def _load_scene(self, options: dict[str, Any]) -> None:
        self._table = TableSceneBuilder(self)
        self._table.build()
        ranges, rng = self.card.randomisation, self._batched_episode_rng
        count = self.num_envs
        self._half_size = torch.full((count,), self.card.object_width_m / 2, device=self.device)
        cubes = []
        for i in range(count):
            half, mass, friction = self.card.object_width_m / 2, 0.06, 1.0
            if self.randomise:
                half = rng[i].uniform(ranges.cube_half_size_m.low, ranges.cube_half_size_m.high)
                mass = rng[i].uniform(ranges.cube_mass_kg.low, ranges.cube_mass_kg.high)
                friction = rng[i].uniform(ranges.friction.low, ranges.friction.high)
            self._half_size[i] = half
            cubes.append(self._build_cube(i, half, mass, friction))
        self.cube = Actor.merge(cubes, name="cube")

    def _build_cube(self, index: int, half: float, mass: float, friction: float) -> Actor:
        builder = self.scene.create_actor_builder()
        material = sapien.physx.PhysxMaterial(friction, friction, 0.0)
        builder.add_box_collision(half_size=[half] * 3, material=material, density=mass / (2 * half) ** 3)
        colour = sapien.render.RenderMaterial(base_color=[0.8, 0.1, 0.1, 1.0])
        builder.add_box_visual(half_size=[half] * 3, material=colour)
        builder.initial_pose = sapien.Pose(p=[0.0, 0.0, half])
        builder.set_scene_idxs([index])
        return builder.build(name=f"cube-{index}")

    def _after_reconfigure(self, options: dict[str, Any]) -> None:
        count, device = self.num_envs, self.device
        self._ticks_held = torch.zeros(count, dtype=torch.long, device=device)
        self._measured_at = torch.zeros(count, dtype=torch.long, device=device)
        self._previous_action = torch.zeros(count, 7, device=device)
        self._tcp_noise = torch.zeros(count, device=device)
        self._tcp_seen = torch.zeros(count, 3, device=device)
        self._response_scale = torch.ones(count, device=device)
        self._cube_before = torch.zeros(count, 3, device=device)
        self._cube_speed = torch.zeros(count, device=device)
        self._base = torch.tensor(BASE_IN_WORLD, device=device)
        self.estimate = ObjectEstimate.of(self.card, count, device)

    def _initialize_episode(self, env_idx: Tensor, options: dict[str, Any]) -> None:
        with torch.device(self.device):
            count, spec = len(env_idx), self.card
            tool, cube, held = self._sample_start(self._sample_cube(env_idx))
            self.cube.set_pose(SapienPose.create_from_pq(cube.position + self._base, cube.quaternion))
            self.agent.robot.set_pose(sapien.Pose(p=BASE_IN_WORLD))
            q = ik(torch.tensor(spec.start_q_rad).repeat(count, 1), tool)
            finger = torch.where(held, self._half_size[env_idx], spec.gripper_open_m / 2)
            self.agent.robot.set_qpos(torch.cat([q, finger[:, None].repeat(1, 2)], -1))
            self.agent.robot.set_qvel(torch.zeros(count, 9))
            self._ticks_held[env_idx] = 0
            self._cube_before[env_idx], self._cube_speed[env_idx] = cube.position, 0.0
            self._measured_at[env_idx] = 0
            self._previous_action[env_idx] = 0.0
            self._previous_action[env_idx, 6] = -held.float()
            self.estimate.reset(env_idx, cube)
            self._sample_episode(env_idx, held)
            self._tcp_seen[env_idx] = tool.position

    def _sample_cube(self, env_idx: Tensor) -> Pose:
        low, high = torch.tensor(self.card.object_low_m), torch.tensor(self.card.object_high_m)
        xy = low + (high - low) * torch.rand(len(env_idx), 2)
        yaw = (2 * torch.rand(len(env_idx)) - 1) * np.pi
        return Pose(torch.cat([xy, self._half_size[env_idx, None]], -1), quat_from_yaw(yaw))

    def _sample_start(self, cube: Pose) -> tuple[Pose, Pose, Tensor]:
        """Tool and cube at the start: apart as on the robot, or for a share of episodes further on in the task.

        Half of those begin with the tool above the cube, half with the cube already held somewhere on its way up.
        Shapes: poses (count, ...), whether it is held (count,) bool
        """
        spec, ranges, count = self.card, self.card.randomisation, len(cube.position)
        quaternion = torch.tensor(spec.start_quaternion).repeat(count, 1)
        position = torch.tensor(spec.start_position_m).repeat(count, 1)
        if not self.randomise:
            return Pose(position, quaternion), cube, torch.zeros(count) > 0
        offset = torch.stack([sample(ranges.start_position_m, count, self.device) for _ in range(3)], -1)
        quaternion = turn_about_z(quaternion, sample(ranges.start_yaw_rad, count, self.device))
        chance, up = torch.rand(count, 1), torch.tensor([0.0, 0.0, 1.0])
        held, above = chance < self.near_starts / 2, chance > 1 - self.near_starts / 2
        raised = cube.position + _HELD_UP_TO_M * torch.rand(count, 1) * up
        over = cube.position + offset * (1 - up) + _ABOVE_UP_TO_M * torch.rand(count, 1) * up
        tool = Pose(torch.where(held, raised, torch.where(above, over, position + offset)), quaternion)
        cube = Pose(
            torch.where(held, raised, cube.position),
            torch.where(held, quat_from_yaw(yaw_of(quaternion)), cube.quaternion),
        )
        return tool, cube, held[:, 0]

    def _sample_episode(self, env_idx: Tensor, held: Tensor) -> None:
        if not self.randomise:
            return
        ranges, count, device = self.card.randomisation, len(env_idx), self.device
        rows = torch.zeros(self.num_envs, dtype=torch.bool, device=device)
        rows[env_idx] = True
        self._tcp_noise[env_idx] = sample(ranges.tcp_noise_m, count, device)
        self._response_scale[env_idx] = sample(ranges.tracking_frequency_scale, count, device)
        command_delay, gripper_delay = torch.zeros(2, self.num_envs, dtype=torch.long, device=device)
        command_delay[env_idx] = sample_ticks(ranges.command_delay_ticks, count, device)
        gripper_delay[env_idx] = sample_ticks(ranges.gripper_delay_ticks, count, device)
        begins_closed = torch.zeros(self.num_envs, dtype=torch.bool, device=device)
        begins_closed[env_idx] = held
        response = FITTED_RESPONSE.scaled(self._response_scale)
        self._controller.set_episode(rows, response, command_delay, gripper_delay, begins_closed)

    @property
    def _controller(self) -> ImpedanceController:
        return self.agent.controller

    @property
    def tcp(self) -> Pose:
        """True tool pose, base frame. Shapes: (N, 3), (N, 4)"""
        return self._controller.tcp

    @property
    def object(self) -> Pose:
        """True cube pose, base frame. Shapes: (N, 3), (N, 4)"""
        pose = self.cube.pose
        return Pose(pose.p - self._base, pose.q)

    def _step_action(self, action: Any) -> Any:
        action = super()._step_action(action)
        if action is not None:
            clipped = torch.clip(action, -1.0, 1.0)
            self._jerkiness = (clipped - self._previous_action).square().mean(-1)
            self._previous_action = clipped
        return action

    def _measure(self, tcp: Pose) -> None:
        """Update what is believed, once a tick however often observations are asked for."""
        moved = self._elapsed_steps > self._measured_at
        noise = torch.randn_like(tcp.position) * self._tcp_noise[:, None]
        fresh = moved | (self._elapsed_steps == 0)
        self._tcp_seen = torch.where(fresh[:, None], tcp.position + noise, self._tcp_seen)
        seen = Pose(self._tcp_seen, tcp.quaternion)
        self.estimate.update(self.object, seen, self._controller.gripper_width, self._controller.closed, moved)
        self._measured_at = self._elapsed_steps.clone().long()

    def evaluate(self) -> dict[str, Tensor]:
        """Success, and what reward and critic need of the truth. All (N,) or Pose."""
        tcp, cube = self.tcp, self.object
        first_look = self._elapsed_steps > self._measured_at
        self._measure(tcp)
        height = cube.position[:, 2] - self._half_size
        # From positions: the velocities PhysX reports of a squeezed body hold what its solver undoes again.
        moved = (cube.position - self._cube_before).norm(dim=-1) * self.card.rate_hz
        speed = self._cube_speed = torch.where(first_look, moved, self._cube_speed)
        self._cube_before = cube.position
        up = (height >= self.card.lift_height_m) & (speed < self.card.still_speed_m_s)
        counted = torch.where(up, self._ticks_held + 1, torch.zeros_like(self._ticks_held))
        self._ticks_held = torch.where(first_look, counted, self._ticks_held)
        return {
            "success": self._ticks_held >= round(self.card.hold_s * self.card.rate_hz),
            "grasped": self.truth.grasped,
            "distance": (cube.position - tcp.position).norm(dim=-1),
            "height": height,
            "speed": speed,
        }

    @property
    def truth(self) -> Truth:
        """What a synthetic teacher is given."""
        width, closed = self._controller.gripper_width, self._controller.closed
        distance = (self.object.position - self.tcp.position).norm(dim=-1)
        return Truth(self.tcp, self.object, is_holding(self.card, width, closed) & (distance < 0.03))

    def policy_input(self) -> PolicyInput:
        """What the robot could know now."""
        controller, estimate = self._controller, self.estimate
        seen = Pose(self._tcp_seen, self.tcp.quaternion)
        closed, held = controller.closed.float(), estimate.held.float()
        return PolicyInput(
            seen,
            controller.command,
            controller.gripper_width,
            closed,
            estimate.pose,
            estimate.age,
            held,
            self._previous_action,
        )

    def _get_obs_agent(self) -> dict[str, Tensor]:
        return {}

    def _get_obs_extra(self, info: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"policy": observe(self.card, self.policy_input()), "privileged": self._privileged(info)}

    def _privileged(self, info: dict[str, Tensor]) -> Tensor:
        tcp, cube = self.tcp, self.object
        yaw = 4 * (yaw_of(cube.quaternion) - yaw_of(tcp.quaternion))
        scalars = [
            torch.cos(yaw),
            torch.sin(yaw),
            info["height"],
            info["grasped"].float(),
            self._ticks_held / 10.0,
            self._elapsed_steps / self.card.horizon,
            self._half_size * 50,
            self._response_scale,
            self._controller.width_target * 10,
            self._controller._command_delay.float(),
        ]
        return torch.cat([cube.position - tcp.position, self.cube.linear_velocity, torch.stack(scalars, -1)], -1)

    def compute_dense_reward(self, obs: Any, action: Tensor, info: dict[str, Tensor]) -> Tensor:
        """Come near, face it, take it, lift it, hold it still: each stage adds to the last. At most 8.3. Shape: (N,)"""
        distance, grasped = info["distance"], info["grasped"].float()
        reach = 1 - 0.5 * torch.tanh(4 * distance) - 0.5 * torch.tanh(25 * distance)
        yaw = yaw_of(self.object.quaternion) - yaw_of(self.tcp.quaternion)
        facing = 0.5 * (1 + torch.cos(4 * yaw))
        aim = 1.4 * self.card.lift_height_m
        lifted = torch.clip(1 - (info["height"] - aim).abs() / aim, 0.0, 1.0)
        up = (info["height"] >= self.card.lift_height_m).float()
        still = torch.exp(-info["speed"] / self.card.still_speed_m_s) - action[:, 2].square()
        drift = action[:, [0, 1, 5]].square().sum(-1)
        width = self._controller.gripper_width
        opening = torch.clip((width - self.card.object_width_m) / self.card.object_width_m, 0.0, 1.0)
        around = torch.exp(-((distance / 0.015) ** 2)) * facing
        # Around the cube the wish to close pays already; earlier it would save time here and hit the cube on the arm.
        wish = (1 - action[:, 6].clip(-1, 1)) / 2
        closing = around * (wish + 1 - opening) / 2
        fingers = torch.where(distance > 0.02, opening - self._controller.closed.float(), 1.0 + closing)
        taken = grasped * (2.0 + 3.0 * lifted + up * (1.0 + still) - 0.5 * drift)
        return reach + 0.3 * facing + fingers * (1 - grasped) + taken - 0.05 * self._jerkiness

    def compute_normalized_dense_reward(self, obs: Any, action: Tensor, info: dict[str, Tensor]) -> Tensor:
        """The dense reward over 8.3. Shape: (N,)"""
        return self.compute_dense_reward(obs, action, info) / 8.3
