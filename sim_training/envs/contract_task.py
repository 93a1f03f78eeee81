"""What all tasks share: our Panda and controller, the scene, episodes, time and success, what is observed and paid."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
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
from contract.poses import Pose
from contract.task_spec import Range, TaskSpec
from sim_training.envs import critic, scenery, starts
from sim_training.envs.belief import Belief
from sim_training.envs.estimate import ObjectEstimate, sample
from sim_training.envs.impedance import ImpedanceController, ImpedancePanda
from sim_training.envs.kinematics import ik
from sim_training.envs.standing import Standing
from sim_training.envs.truth import Truth

_GRASP_M = 0.03
"""Fingers as wide as the object hold it if the tool is nearer than this to where it should be taken."""


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
    held_up_to_m = 0.2
    """How high above its rest the object then is at most."""
    goal_apart_m = 0.0
    """How far the goal is at least from the object at the start."""
    other = scenery.SecondObject()
    """What the second object is like, for cards that have one."""
    dense_best = 1.0
    simplified_best = 1.0
    """Most that these rewards pay a step."""

    def __init__(
        self,
        *args: Any,
        card: TaskSpec | None = None,
        randomise: bool = True,
        near_starts: float = 0.0,
        camera: str = "normal",
        body_seed: int = 0,
        **kwargs: Any,
    ):
        """body_seed: of the bodies' sizes, masses and frictions, which stay as long as the environments."""
        self.body_seed = body_seed
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
        return critic.privileged_size(self.card)

    @property
    def _default_sensor_configs(self) -> list[CameraConfig]:
        return []

    @property
    def _default_human_render_camera_configs(self) -> CameraConfig:
        return scenery.camera(self._camera_place, self.agent.tcp)

    def _load_agent(self, options: dict[str, Any]) -> None:
        super()._load_agent(options, sapien.Pose(p=scenery.BASE_IN_WORLD))

    def _load_scene(self, options: dict[str, Any]) -> None:
        self._body_generators = [np.random.default_rng([self.body_seed, i]) for i in range(self.num_envs)]
        self._table = TableSceneBuilder(self)
        self._table.build()
        self.actor, self.half_size = self._build(self.card.object_name, scenery.sample_body, self.object_shape)
        self.goal_marker = self._build_goal()
        self.second_actor: Actor | None = None
        if self.card.second_name is not None:
            name, shape, fixed = self.card.second_name, self.other.shape, self.other.is_fixed
            self.second_actor, self.second_half_size = self._build(name, scenery.sample_second, shape, fixed)

    def _build(
        self, name: str, body: Callable[..., scenery.Body], shape: scenery.Shape, fixed: bool = False
    ) -> tuple[Actor, Tensor]:
        """A thing in every environment, and its half sides. Shape: (N, 3)"""
        bodies = [body(self.card, i, rng if self.randomise else None) for i, rng in enumerate(self._body_generators)]
        half_size = torch.tensor([body.half_size for body in bodies], device=self.device)
        return scenery.build(self.scene, name, bodies, shape, fixed), half_size

    def _build_goal(self) -> Actor | None:
        if self.card.goal_tolerance_m is None:
            return None
        return scenery.goal_disc(self.scene, self.card.goal_tolerance_m)

    def _after_reconfigure(self, options: dict[str, Any]) -> None:
        count, device = self.num_envs, self.device
        self._measured_at, self._knock_at = torch.zeros(2, count, dtype=torch.long, device=device)
        self.previous_action = torch.zeros(count, 7, device=device)
        self._knock = torch.zeros(count, 3, device=device)
        self._response_scale = torch.ones(count, device=device)
        self._base = torch.tensor(scenery.BASE_IN_WORLD, device=device)
        self.goal_position = torch.zeros(count, 3, device=device)
        self.belief = Belief.of(self.card, self.randomise, count, device)
        self.standing = Standing.of(self.card, count, device)

    def _initialize_episode(self, env_idx: Tensor, options: dict[str, Any]) -> None:
        with torch.device(self.device):
            count, spec = len(env_idx), self.card
            start = starts.draw(self, env_idx)
            self._put(self.actor, start.object)
            if self.second_actor is not None and start.second is not None:
                self._put(self.second_actor, start.second)
            self.agent.robot.set_pose(sapien.Pose(p=scenery.BASE_IN_WORLD))
            q = ik(torch.tensor(spec.start_q_rad).repeat(count, 1), start.tool)
            finger = torch.where(start.held, self.half_size[env_idx, 1], spec.gripper_open_m / 2)
            self.agent.robot.set_qpos(torch.cat([q, finger[:, None].repeat(1, 2)], -1))
            self.agent.robot.set_qvel(torch.zeros(count, 9))
            self.controller.begin(env_idx)
            self._measured_at[env_idx] = 0
            self.previous_action[env_idx] = 0.0
            self.previous_action[env_idx, 6] = -start.held.float()
            self.belief.reset(env_idx, start.tool, start.object, start.second)
            if self.randomise:
                self.belief.tcp_noise[env_idx] = sample(spec.randomisation.tcp_noise_m, count, self.device)
                scale = self.controller.draw_episode(env_idx, spec.randomisation, start.held)
                self._response_scale[env_idx] = scale
            brought = start.second if self.other.is_brought and start.second is not None else start.object
            self.standing.reset(env_idx, brought.position)
            self._sample_surroundings(env_idx, brought)

    def _put(self, actor: Actor, pose: Pose) -> None:
        actor.set_pose(SapienPose.create_from_pq(pose.position + self._base, pose.quaternion))

    def _sample_surroundings(self, env_idx: Tensor, brought: Pose) -> None:
        """Goal and knocks of the episodes that begin; nothing is drawn for what the card lacks."""
        spec, count = self.card, len(env_idx)
        if self.goal_marker is not None:
            goal = starts.goal(spec, brought.position, self.half_size[env_idx, 2], self.goal_apart_m)
            self.goal_position[env_idx] = goal
            self._put(self.goal_marker, scenery.marked(goal, self.card.half_size_m[2]))
        strength = spec.randomisation.push_impulse_ns
        if self.randomise and strength is not None:
            ticks = spec.randomisation.push_ticks or Range(1, spec.horizon - 1)
            self._knock[env_idx], self._knock_at[env_idx] = starts.knock(strength, ticks, count, self.device)

    @property
    def controller(self) -> ImpedanceController:
        """What moves the arm and the gripper."""
        return self.agent.controller

    @property
    def estimate(self) -> ObjectEstimate:
        """Where the object is believed to be."""
        return self.belief.object

    @property
    def tcp(self) -> Pose:
        """True tool pose, base frame. Shapes: (N, 3), (N, 4)"""
        return self.controller.tcp

    @property
    def object(self) -> Pose:
        """True object pose, base frame. Shapes: (N, 3), (N, 4)"""
        return self._in_base(self.actor)

    @property
    def second(self) -> Pose:
        """True pose of the second object, for tasks that have one, base frame. Shapes: (N, 3), (N, 4)"""
        assert self.second_actor is not None
        return self._in_base(self.second_actor)

    @property
    def brought(self) -> Pose:
        """What has to come somewhere and rest there. Shapes: (N, 3), (N, 4)"""
        return self.second if self.other.is_brought else self.object

    def _in_base(self, actor: Actor) -> Pose:
        return Pose(actor.pose.p - self._base, actor.pose.q)

    def _step_action(self, action: Any) -> Any:
        action = super()._step_action(action)
        if action is not None:
            clipped = torch.clip(action, -1.0, 1.0)
            self._jerkiness = (clipped - self.previous_action).square().mean(-1)
            self.previous_action = clipped
        return action

    def _before_control_step(self) -> None:
        """Knock the object where its tick has come: an impulse is a force for one simulation step."""
        due = self._elapsed_steps == self._knock_at
        if bool((due & (self._knock_at > 0)).any()):
            self.actor.apply_force(torch.where(due[:, None], self._knock * self._sim_freq, 0.0))

    def _measure(self) -> None:
        """Update what is believed, once a tick however often observations are asked for."""
        moved = self._elapsed_steps > self._measured_at
        second = None if self.second_actor is None else self.second
        fresh = moved | (self._elapsed_steps == 0)
        self.belief.measure(self.object, second, self.controller, moved, fresh)
        self._measured_at = self._elapsed_steps.clone().long()

    def evaluate(self) -> dict[str, Tensor]:
        """Success, and what reward and critic need of the truth. All (N,)"""
        first_look = self._elapsed_steps > self._measured_at
        self._measure()
        self.standing.update(self.brought.position, self.settled, first_look)
        return {
            "grasped": self.grasped,
            "distance": (self.grasp_point - self.tcp.position).norm(dim=-1),
            "height": self.object.position[:, 2] - self.half_size[:, 2],
            "speed": self.standing.speed,
            "success": self.standing.success,
        }

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
        has_second = self.second_actor is not None
        return Truth(
            tcp=self.tcp,
            object=self.object,
            grasped=self.grasped,
            closed=self.controller.closed,
            width=self.controller.gripper_width,
            half_size=self.half_size,
            velocity=self.actor.linear_velocity,
            settled=self.settled,
            goal=self.goal_position if self.card.has_goal else None,
            second=self.second if has_second else None,
            second_half_size=self.second_half_size if has_second else None,
        )

    def policy_input(self) -> PolicyInput:
        """What the robot could know now."""
        return self.belief.policy_input(self.controller, self.previous_action, self.goal_position)

    def _get_obs_agent(self) -> dict[str, Tensor]:
        return {}

    def _get_obs_extra(self, info: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"policy": observe(self.card, self.policy_input()), "privileged": critic.privileged(self, info)}

    @property
    def object_axis(self) -> Tensor:
        """Where the object's own x axis points, base frame. Shape: (N, 3)"""
        return critic.x_axis(self.object)

    @property
    def best_reward(self) -> float:
        """Mean reward a step that can be reached: 1, or 1 an episode where success is paid once."""
        return 1.0 / self.card.horizon if self._reward_mode == "sparse" else 1.0

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
        failed = (self._elapsed_steps >= self.card.horizon) & ~self.standing.ever
        return self.standing.first.float() - failed.float()
