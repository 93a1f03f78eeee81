"""Makes ManiSkill environments on a chosen backend; for `cpu_batch`, the few places where task and simulator meet."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any
from unittest import mock

import gymnasium as gym
import mani_skill.envs  # noqa: F401  (registers ManiSkill's tasks)
import sapien
import torch
from mani_skill.agents.controllers.utils.kinematics import Kinematics
from mani_skill.envs import sapien_env
from mani_skill.envs.scene import ManiSkillScene
from mani_skill.envs.utils.system.backend import BackendInfo
from mani_skill.utils.registration import REGISTERED_ENVS, EnvSpec, TimeLimitWrapper
from mani_skill.utils.structs.articulation import Articulation
from mani_skill.utils.structs.articulation_joint import ArticulationJoint
from mani_skill.utils.structs.base import PhysxRigidBodyComponentStruct
from sapien import physx

from sim_training import vulkan
from sim_training.backends import UnknownTask
from sim_training.backends.links import Jacobian
from sim_training.backends.presets import with_preset
from sim_training.backends.rendering import CameraGroup, render_device
from sim_training.backends.system import CpuBatchSystem

if TYPE_CHECKING:
    from mani_skill.sensors.base_sensor import BaseSensor


def make(task_id: str, num_envs: int, backend: str, physics: str, gym_kwargs: dict[str, Any]) -> gym.Env:
    """See `sim_training.backends.make`."""
    if task_id not in REGISTERED_ENVS:
        raise UnknownTask(f"{task_id}: {UnknownTask.__doc__}")
    vulkan.usable_devices()  # ManiSkill needs one even to build actors it never draws
    kwargs = {**gym_kwargs, "num_envs": num_envs, "sim_config": with_preset(physics, gym_kwargs.get("sim_config", {}))}
    if backend == "physx_cuda":
        return gym.make(task_id, sim_backend="physx_cuda", **kwargs)
    spec = REGISTERED_ENVS[task_id]
    max_episode_steps = kwargs.pop("max_episode_steps", spec.max_episode_steps)
    batched = type(f"CpuBatch{spec.cls.__name__}", (CpuBatchEnv, spec.cls), {"__module__": spec.cls.__module__})
    env = EnvSpec(task_id, batched, max_episode_steps, spec.asset_download_ids, spec.default_kwargs).make(**kwargs)
    env.spec = gym.spec(task_id)
    return TimeLimitWrapper(env, max_episode_steps)


class _CpuBatchDevice:
    """Stands for the simulation device: ManiSkill sends drive targets only to one that `is_cuda()`."""

    name = "cpu_batch"

    def is_cuda(self) -> bool:
        return True


def _backend_info(renders: bool) -> BackendInfo:
    return BackendInfo(
        device=torch.device("cpu"),
        sim_device=_CpuBatchDevice(),
        sim_backend="cpu_batch",
        render_device=render_device() if renders else None,
        render_backend="sapien_cpu" if renders else "none",
    )


class CpuBatchEnv(sapien_env.BaseEnv):
    """Mixed in before a task's class: N sub-scenes with a PhysX CPU system each."""

    def __init__(self, *args: Any, obs_mode: str | None = None, render_mode: str | None = None, **kwargs: Any):
        renders = render_mode is not None or obs_mode not in (None, "state", "state_dict", "none")
        with mock.patch.object(sapien_env, "parse_sim_and_render_backend", return_value=_backend_info(renders)):
            super().__init__(*args, obs_mode=obs_mode, render_mode=render_mode, sim_backend="cpu_batch", **kwargs)

    def _setup_scene(self) -> None:
        self._set_scene_config()
        sub_scenes = []
        for _ in range(self.num_envs):
            systems: list[sapien.System] = [physx.PhysxCpuSystem()]
            if self._render_device is not None:
                systems.append(sapien.render.RenderSystem(self._render_device))
            sub_scenes.append(sapien.Scene(systems))
        self.scene = CpuBatchScene(sub_scenes, sim_config=self.sim_config, device=self.device, backend=self.backend)
        self.scene.px.timestep = 1.0 / self._sim_freq


class CpuBatchScene(ManiSkillScene):
    """ManiSkill's scene with our system in place of the GPU's, and pictures taken on the CPU."""

    def __init__(self, sub_scenes: list[sapien.Scene], **kwargs: Any):
        super().__init__(sub_scenes, **kwargs)
        self.px = CpuBatchSystem([scene.physx_system for scene in sub_scenes])
        self.gpu_sim_enabled = True

    def _sapien_update_render(self, update_sensors: bool = True, update_human_render_cameras: bool = True) -> None:
        for sensors, wanted in (
            (self.sensors, update_sensors),
            (self.human_render_cameras, update_human_render_cameras),
        ):
            if wanted:
                self._gpu_setup_sensors({name: s for name, s in sensors.items() if name not in self.camera_groups})
        self.px.sync_poses_gpu_to_cpu()
        for sub_scene in self.sub_scenes:
            sub_scene.update_render()

    def _sapien_gpu_setup_sensors(self, sensors: dict[str, BaseSensor]) -> None:
        for name, sensor in sensors.items():
            self.camera_groups[name] = sensor.camera.camera_group = CameraGroup(sensor.camera._render_cameras)


def _is_ours(px: Any) -> bool:
    return type(px) is CpuBatchSystem


def _jacobian_of(kinematics: Kinematics) -> Callable[[torch.Tensor], torch.Tensor]:
    """What `pk_chain.jacobian` computes, fifteen times faster on the CPU."""
    articulation, end_link = kinematics.articulation._objs[0], kinematics.end_link._objs[0]
    jacobian = Jacobian(articulation, articulation.links.index(end_link))
    return lambda qpos: torch.from_numpy(jacobian(qpos.numpy()))


def _install() -> None:
    """Four ManiSkill functions ask C++ objects for GPU indices, or the device for its kind: answer for our system."""
    stock_setup_cpu = Kinematics._setup_cpu
    stock_body_index = PhysxRigidBodyComponentStruct.__dict__["_body_data_index"].func
    stock_articulation_index = Articulation.__dict__["_data_index"].func
    stock_joint_index = ArticulationJoint.__dict__["_data_index"].func

    def setup_cpu(self: Kinematics) -> None:
        """One Jacobian step for the whole batch, as on the GPU, instead of one full IK per robot."""
        if _is_ours(self.articulation.px):
            self._setup_gpu()
            self.pk_chain.jacobian = _jacobian_of(self)
        else:
            stock_setup_cpu(self)

    def body_index(self: PhysxRigidBodyComponentStruct) -> torch.Tensor:
        return (
            torch.tensor([self.px.pose_index(b) for b in self._bodies]) if _is_ours(self.px) else stock_body_index(self)
        )

    def articulation_index(self: Articulation) -> torch.Tensor:
        if not _is_ours(self.px):
            return stock_articulation_index(self)
        return torch.tensor([self.px.articulation_index(a) for a in self._objs], dtype=torch.int32)

    def joint_index(self: ArticulationJoint) -> torch.Tensor:
        if not _is_ours(self.px):
            return stock_joint_index(self)
        return torch.tensor([self.px.articulation_index(a) for a in self._physx_articulations], dtype=torch.int32)

    Kinematics._setup_cpu = setup_cpu
    for cls, name, function in (
        (PhysxRigidBodyComponentStruct, "_body_data_index", body_index),
        (Articulation, "_data_index", articulation_index),
        (ArticulationJoint, "_data_index", joint_index),
    ):
        index = cached_property(function)
        index.__set_name__(cls, name)
        setattr(cls, name, index)


_install()
