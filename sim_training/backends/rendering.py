"""Pictures of the sub-scenes with SAPIEN's ordinary renderer, one camera at a time.

ManiSkill renders a GPU simulation with camera groups that read CUDA buffers. Here entities follow PhysX on the CPU,
so each sub-scene is rendered as a single environment would be: 0.1 s for a 512 px view with Mesa's software Vulkan.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import sapien
import torch

from sim_training.backends.contacts import TensorView
from sim_training.vulkan import NoVulkanDevice

if TYPE_CHECKING:
    from mani_skill.envs.sapien_env import BaseEnv


class CameraGroup:
    """One camera per sub-scene, with the part of `sapien.render.RenderCameraGroup` that ManiSkill uses."""

    def __init__(self, cameras: list[sapien.render.RenderCameraComponent]):
        self._cameras = cameras

    def take_picture(self) -> None:
        for camera in self._cameras:
            camera.take_picture()

    def get_picture_cuda(self, name: str) -> TensorView:
        """Shape of the tensor: (N, H, W, C)"""
        return TensorView(torch.from_numpy(np.stack([camera.get_picture(name) for camera in self._cameras])))


def render_device() -> sapien.Device:
    """The GPU if there is one, else the software device, which SAPIEN finds only by its bus name."""
    for name in ("cuda", "pci:0"):
        try:
            return sapien.Device(name)
        except RuntimeError:
            continue
    raise NoVulkanDevice("SAPIEN finds neither a CUDA device nor pci:0")


def render_sub_scenes(env: BaseEnv, env_idx: Sequence[int]) -> torch.Tensor:
    """Human view of some sub-scenes only: the cost is per picture. Shape: (len(env_idx), H, W, 3) uint8

    Uses the task's first human camera. The environment must have been made with a render mode.
    """
    base = env.unwrapped
    sensor = next(iter(base.scene.human_render_cameras.values()))
    to_rgb = sensor.config.shader_config.texture_transforms["Color"]
    pictures = []
    for shown in base._hidden_objects:
        shown.show_visual()
    base.scene.px.sync_poses_gpu_to_cpu()
    for index in env_idx:
        base.scene.sub_scenes[index].update_render()
        camera = sensor.camera._render_cameras[index]
        camera.take_picture()
        pictures.append(torch.from_numpy(camera.get_picture("Color")))
    return to_rgb(torch.stack(pictures))["rgb"]
