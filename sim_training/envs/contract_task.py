"""What all tasks share: our Panda and controller, what is believed about the objects, starts, time and success."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, ClassVar

import sapien
import torch
from mani_skill.envs.sapien_env import BaseEnv
from mani_skill.sensors.camera import CameraConfig
from mani_skill.utils.scene_builder.table import TableSceneBuilder
from mani_skill.utils.structs.actor import Actor
from mani_skill.utils.structs.pose import Pose as SapienPose
from torch import Tensor

from contract.grasp import is_holding
from contract.observation import PolicyInput, observation_size, observe
from contract.poses import Pose, quat_from_yaw, quat_rotate, yaw_of
from contract.tasks import Randomisation, Range, TaskSpec
from sim_training.envs import scenery
from sim_training.envs.estimate import ObjectEstimate, TiltingEstimate, sample, sample_ticks
from sim_training.envs.impedance import ImpedanceController, ImpedancePanda
from sim_training.envs.kinematics import ik, turn_about_z
from sim_training.envs.response import FITTED_RESPONSE
from sim_training.envs.truth import Truth

_ABOVE_UP_TO_M, _HELD_UP_TO_M = 0.08, 0.2
"""How high above its rest episodes that begin further on start: the tool over the object, and it held in the tool."""

_GRASP_M = 0.03
"""Fingers as wide as the object hold it if the tool is nearer than this to where it should be taken."""

_PLACE_TRIES = 32


_NEVER = Range(0.0, 0.0)
_EXACT = Randomisation(
    object_noise_m=_NEVER,
    object_bias_m=_NEVER,
    object_yaw_noise_rad=_NEVER,
    object_latency_ticks=_NEVER,
    object_dropout=_NEVER,
)
"""What is believed without randomisation: the truth."""


class ContractTask(BaseEnv):
    """State observations: first the contract's vector, then what only a critic may see (`privileged_size` numbers).

    A task says what it looks like (`object_shape`, `_build_goal`), when it stands as it should (`settled`), and its
    rewards. Everything random comes from torch's and the episode's generators: the same seed, the same episodes.
    """

    SUPPORTED_REWARD_MODES: ClassVar = ["dense", "normalized_dense", "simplified", "sparse", "none"]
    card: TaskSpec
    object_shape: scenery.Shape = scenery.Box((scenery.RED,))
    object_yaw = Range(-math.pi, math.pi)
    symmetry = 4
    """Turns of 360 / `symmetry` degrees look the same to the fingers."""
    holdable = True
    """Whether episodes that begin further on may have the object in the tool."""
    goal_apart_m = 0.0
    """How far the goal is at least from the object at the start."""
    dense_best = 1.0
    simplified_best = 1.0

    def __init__(
        self,
        *args: Any,
        card: TaskSpec | None = None,
        randomise: bool = True,
        near_starts: float = 0.0,
        camera: str = "normal",
        **kwargs: Any,
    ):
        self.card = card or type(self).card
        self.randomise, self.near_starts, self._camera_place = randomise, near_starts, camera
        super().__init__(*args, robot_uids=ImpedancePanda.for_task(self.card), **kwargs)

    @property
    def policy_size(self) -> int:
        """Length of the deployable part of the observation."""
        return observation_size(self.card)

    @property
    def privileged_size(self) -> int:
        """Length of the rest, for the critic."""
        return 16 + 3 * self.card.has_goal + 3 * self.card.object_tilts

    @property
    def _default_sensor_configs(self) -> list[CameraConfig]:
        return []

    @property
    def _default_human_render_camera_configs(self) -> CameraConfig:
        return scenery.camera(self._camera_place)

    def _load_agent(self, options: dict[str, Any]) -> None:
        super()._load_agent(options, sapien.Pose(p=scenery.BASE_IN_WORLD))

    def _load_scene(self, options: dict[str, Any]) -> None:
        self._table = TableSceneBuilder(self)
        self._table.build()
        rng = self._batched_episode_rng
        bodies = [scenery.sample_body(self.card, i, rng[i] if self.randomise else None) for i in range(self.num_envs)]
        self.half_size = torch.tensor([body.half_size for body in bodies], device=self.device)
        self._mass = torch.tensor([body.mass for body in bodies], device=self.device)
        self.actor = scenery.build(self.scene, self.card.object_name, bodies, self.object_shape)
        self.goal_marker = self._build_goal()

    def _build_goal(self) -> Actor | None:
        if self.card.goal_tolerance_m is None:
            return None
        return scenery.goal_disc(self.scene, self.card.goal_tolerance_m)

    def _after_reconfigure(self, options: dict[str, Any]) -> None:
        count, device = self.num_envs, self.device
        self._ticks_held, self._measured_at, self._knock_at = torch.zeros(3, count, dtype=torch.long, device=device)
        self._ever, self._first_success = torch.zeros(2, count, dtype=torch.bool, device=device)
        self._previous_action = torch.zeros(count, 7, device=device)
        self._tcp_noise = torch.zeros(count, device=device)
        self._tcp_seen, self._object_before, self._knock = torch.zeros(3, count, 3, device=device)
        self._response_scale = torch.ones(count, device=device)
        self._object_speed = torch.zeros(count, device=device)
        self._base = torch.tensor(scenery.BASE_IN_WORLD, device=device)
        self.goal_position = torch.zeros(count, 3, device=device)
        believed = self.card if self.randomise else replace(self.card, randomisation=_EXACT)
        self.estimate = (TiltingEstimate if self.card.object_tilts else ObjectEstimate).of(believed, count, device)

    def _initialize_episode(self, env_idx: Tensor, options: dict[str, Any]) -> None:
        with torch.device(self.device):
            count, spec = len(env_idx), self.card
            tool, pose, held = self._sample_start(self._sample_object(env_idx))
            self._put(self.actor, pose)
            self.agent.robot.set_pose(sapien.Pose(p=scenery.BASE_IN_WORLD))
            q = ik(torch.tensor(spec.start_q_rad).repeat(count, 1), tool)
            finger = torch.where(held, self.half_size[env_idx, 1], spec.gripper_open_m / 2)
            self.agent.robot.set_qpos(torch.cat([q, finger[:, None].repeat(1, 2)], -1))
            self.agent.robot.set_qvel(torch.zeros(count, 9))
            self._ticks_held[env_idx] = 0
            self._ever[env_idx] = False
            self._object_before[env_idx], self._object_speed[env_idx] = pose.position, 0.0
            self._measured_at[env_idx] = 0
            self._previous_action[env_idx] = 0.0
            self._previous_action[env_idx, 6] = -held.float()
            self.estimate.reset(env_idx, pose)
            self._sample_episode(env_idx, held)
            self._tcp_seen[env_idx] = tool.position
            self._sample_surroundings(env_idx, pose)

    def _put(self, actor: Actor, pose: Pose) -> None:
        actor.set_pose(SapienPose.create_from_pq(pose.position + self._base, pose.quaternion))

    def _sample_object(self, env_idx: Tensor) -> Pose:
        low, high = torch.tensor(self.card.object_low_m), torch.tensor(self.card.object_high_m)
        xy = low + (high - low) * torch.rand(len(env_idx), 2)
        middle, reach = (self.object_yaw.low + self.object_yaw.high) / 2, self.object_yaw.high - self.object_yaw.low
        yaw = middle + (2 * torch.rand(len(env_idx)) - 1) * (reach / 2)
        return Pose(torch.cat([xy, self.half_size[env_idx, 2:]], -1), quat_from_yaw(yaw))

    def _sample_surroundings(self, env_idx: Tensor, pose: Pose) -> None:
        """Goal and knocks of the episodes that begin; nothing is drawn for what the card lacks."""
        spec, count = self.card, len(env_idx)
        if self.goal_marker is not None:
            goal = self._sample_goal(env_idx, pose.position)
            self.goal_position[env_idx] = goal
            flat = torch.tensor([math.sqrt(0.5), 0.0, math.sqrt(0.5), 0.0]).repeat(count, 1)
            marker = torch.cat([goal[:, :2], goal[:, 2:] * (goal[:, 2:] > self._lies_m) + 1e-3], -1)
            self._put(self.goal_marker, Pose(marker, flat))
        strength = spec.randomisation.push_impulse_ns
        if self.randomise and strength is not None:
            bearing = 2 * math.pi * torch.rand(count)
            way = torch.stack([torch.cos(bearing), torch.sin(bearing), torch.zeros(count)], -1)
            self._knock[env_idx] = way * sample(strength, count, self.device)[:, None]
            self._knock_at[env_idx] = torch.randint(1, spec.horizon, (count,))

    @property
    def _lies_m(self) -> float:
        """Goals no higher than this are painted on the table."""
        return self.card.half_size_m[2] + 0.02

    def _sample_goal(self, env_idx: Tensor, start: Tensor) -> Tensor:
        """Where the object's centre is to go, base frame. start: (count, 3) -> (count, 3)"""
        spec, rest = self.card, self.half_size[env_idx, 2]
        if spec.goal_distance_m is not None and spec.goal_bearing_rad is not None:
            bearing = sample(spec.goal_bearing_rad, len(env_idx), self.device)
            way = torch.stack([torch.cos(bearing), torch.sin(bearing), torch.zeros_like(bearing)], -1)
            return start + spec.goal_distance_m * way
        assert spec.goal_low_m is not None
        assert spec.goal_high_m is not None
        place = self._apart(spec.goal_low_m, spec.goal_high_m, start)
        return torch.cat([place[:, :2], torch.maximum(place[:, 2], rest)[:, None]], -1)

    def _apart(self, low: tuple[float, ...], high: tuple[float, ...], others: Tensor) -> Tensor:
        """A place in the box for each row, `goal_apart_m` from the other's on the table if luck allows. (n, 3)"""
        corner = torch.tensor(low)
        tries = corner + (torch.tensor(high) - corner) * torch.rand(_PLACE_TRIES, len(others), 3)
        good = (tries[..., :2] - others[:, :2]).norm(dim=-1) > self.goal_apart_m
        return tries[good.float().argmax(0), torch.arange(len(others))]

    def _sample_start(self, pose: Pose) -> tuple[Pose, Pose, Tensor]:
        """Tool and object at the start: apart as on the robot, or for a share of episodes further on in the task.

        Half of those begin with the tool above the object, half with it already held somewhere on its way up.
        Shapes: poses (count, ...), whether it is held (count,) bool
        """
        spec, ranges, count = self.card, self.card.randomisation, len(pose.position)
        quaternion = torch.tensor(spec.start_quaternion).repeat(count, 1)
        position = torch.tensor(spec.start_position_m).repeat(count, 1)
        if not self.randomise:
            return Pose(position, quaternion), pose, torch.zeros(count) > 0
        offset = torch.stack([sample(ranges.start_position_m, count, self.device) for _ in range(3)], -1)
        quaternion = turn_about_z(quaternion, sample(ranges.start_yaw_rad, count, self.device))
        share = self.near_starts if self.holdable else 0.0
        chance, up = torch.rand(count, 1), torch.tensor([0.0, 0.0, 1.0])
        held, above = chance < share / 2, chance > 1 - share / 2
        raised = pose.position + _HELD_UP_TO_M * torch.rand(count, 1) * up
        over = pose.position + offset * (1 - up) + _ABOVE_UP_TO_M * torch.rand(count, 1) * up
        tool = Pose(torch.where(held, raised, torch.where(above, over, position + offset)), quaternion)
        heading = quat_from_yaw(yaw_of(quaternion))
        pose = Pose(
            torch.where(held, raised, pose.position),
            torch.where(held, heading, pose.quaternion),
        )
        return tool, pose, held[:, 0]

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
        self.controller.set_episode(rows, response, command_delay, gripper_delay, begins_closed)

    @property
    def controller(self) -> ImpedanceController:
        """What moves the arm and the gripper."""
        return self.agent.controller

    @property
    def tcp(self) -> Pose:
        """True tool pose, base frame. Shapes: (N, 3), (N, 4)"""
        return self.controller.tcp

    @property
    def object(self) -> Pose:
        """True object pose, base frame. Shapes: (N, 3), (N, 4)"""
        pose = self.actor.pose
        return Pose(pose.p - self._base, pose.q)

    def _step_action(self, action: Any) -> Any:
        action = super()._step_action(action)
        if action is not None:
            clipped = torch.clip(action, -1.0, 1.0)
            self._jerkiness = (clipped - self._previous_action).square().mean(-1)
            self._previous_action = clipped
        return action

    def _before_control_step(self) -> None:
        """Knock the object where its tick has come: an impulse is a force for one simulation step."""
        due = self._elapsed_steps == self._knock_at
        if bool((due & (self._knock_at > 0)).any()):
            self.actor.apply_force(torch.where(due[:, None], self._knock * self._sim_freq, 0.0))

    def _measure(self, tcp: Pose) -> None:
        """Update what is believed, once a tick however often observations are asked for."""
        moved = self._elapsed_steps > self._measured_at
        noise = torch.randn_like(tcp.position) * self._tcp_noise[:, None]
        fresh = moved | (self._elapsed_steps == 0)
        self._tcp_seen = torch.where(fresh[:, None], tcp.position + noise, self._tcp_seen)
        seen = Pose(self._tcp_seen, tcp.quaternion)
        width, closed = self.controller.gripper_width, self.controller.closed
        self.estimate.update(self.object, seen, width, closed, moved)
        self._measured_at = self._elapsed_steps.clone().long()

    def evaluate(self) -> dict[str, Tensor]:
        """Success, and what reward and critic need of the truth. All (N,)"""
        tcp, pose = self.tcp, self.object
        first_look = self._elapsed_steps > self._measured_at
        self._measure(tcp)
        # From positions: the velocities PhysX reports of a squeezed body hold what its solver undoes again.
        moved = (pose.position - self._object_before).norm(dim=-1) * self.card.rate_hz
        self._object_speed = torch.where(first_look, moved, self._object_speed)
        self._object_before = pose.position
        info = {
            "grasped": self.grasped,
            "distance": (self.grasp_point - tcp.position).norm(dim=-1),
            "height": pose.position[:, 2] - self.half_size[:, 2],
            "speed": self._object_speed,
        }
        settled = self.settled & (self._object_speed < self.card.still_speed_m_s)
        counted = torch.where(settled, self._ticks_held + 1, torch.zeros_like(self._ticks_held))
        self._ticks_held = torch.where(first_look, counted, self._ticks_held)
        success = self._ticks_held >= round(self.card.hold_s * self.card.rate_hz)
        self._first_success = torch.where(first_look, success & ~self._ever, self._first_success)
        self._ever = self._ever | success
        return info | {"success": success}

    @property
    def settled(self) -> Tensor:
        """Whether everything is where the task wants it, moving or not. Shape: (N,) bool"""
        raise NotImplementedError

    @property
    def grasp_point(self) -> Tensor:
        """Where the fingers should take the object, base frame. Shape: (N, 3)"""
        return self.object.position

    @property
    def grasped(self) -> Tensor:
        """Whether the object is truly between closed fingers. Shape: (N,) bool"""
        distance = (self.grasp_point - self.tcp.position).norm(dim=-1)
        return is_holding(self.card, self.controller.gripper_width, self.controller.closed) & (distance < _GRASP_M)

    @property
    def truth(self) -> Truth:
        """What a synthetic teacher is given."""
        return Truth(
            tcp=self.tcp,
            object=self.object,
            grasped=self.grasped,
            closed=self.controller.closed,
            width=self.controller.gripper_width,
            half_size=self.half_size,
            settled=self.settled,
            goal=self.goal_position if self.card.has_goal else None,
        )

    def policy_input(self) -> PolicyInput:
        """What the robot could know now."""
        controller, estimate = self.controller, self.estimate
        return PolicyInput(
            pose_base_tcp=Pose(self._tcp_seen, self.tcp.quaternion),
            command_base_tcp=controller.command,
            gripper_width=controller.gripper_width,
            gripper_closed=controller.closed.float(),
            pose_base_object=estimate.pose,
            object_age=estimate.age,
            object_held=estimate.held.float(),
            previous_action=self._previous_action,
            goal_position=self.goal_position,
        )

    def _get_obs_agent(self) -> dict[str, Tensor]:
        return {}

    def _get_obs_extra(self, info: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"policy": observe(self.card, self.policy_input()), "privileged": self._privileged(info)}

    def _privileged(self, info: dict[str, Tensor]) -> Tensor:
        tcp, pose = self.tcp, self.object
        yaw = 4 * (yaw_of(pose.quaternion) - yaw_of(tcp.quaternion))
        scalars = [
            torch.cos(yaw),
            torch.sin(yaw),
            info["height"],
            info["grasped"].float(),
            self._ticks_held / 10.0,
            self._elapsed_steps / self.card.horizon,
            self.half_size[:, 1] * 50,
            self._response_scale,
            self.controller.width_target * 10,
            self.controller._command_delay.float(),
        ]
        parts = [pose.position - tcp.position, self.actor.linear_velocity, torch.stack(scalars, -1)]
        if self.card.has_goal:
            parts.append(self.goal_position - pose.position)
        if self.card.object_tilts:
            parts.append(self.object_axis)
        return torch.cat(parts, -1)

    @property
    def object_axis(self) -> Tensor:
        """Where the object's own x axis points, base frame. Shape: (N, 3)"""
        quaternion = self.object.quaternion
        return quat_rotate(quaternion, torch.tensor([1.0, 0.0, 0.0], device=self.device).expand(len(quaternion), 3))

    def get_reward(self, obs: Any, action: Tensor, info: dict[str, Tensor]) -> Tensor:
        """Dense, simplified (over its best, like the normalised dense one) or sparse. Shape: (N,)"""
        if self._reward_mode == "simplified":
            return self.compute_simplified_reward(info) / self.simplified_best
        return super().get_reward(obs, action, info)

    def compute_simplified_reward(self, info: dict[str, Tensor]) -> Tensor:
        """The dense reward without what a person would not think of shaping; see docs/tasks.md. Shape: (N,)"""
        raise NotImplementedError

    def compute_normalized_dense_reward(self, obs: Any, action: Tensor, info: dict[str, Tensor]) -> Tensor:
        """The dense reward over its best. Shape: (N,)"""
        return self.compute_dense_reward(obs, action, info) / self.dense_best

    def compute_sparse_reward(self, obs: Any, action: Tensor, info: dict[str, Tensor]) -> Tensor:
        """1 at the tick the task is first solved, -1 at the last tick if it never was, else 0 (RPD). Shape: (N,)"""
        failed = (self._elapsed_steps >= self.card.horizon) & ~self._ever
        return self._first_success.float() - failed.float()
