"""ManiSkill's own CPU backend, one environment per process: what the batched backend is measured against."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import mani_skill.envs  # noqa: F401  (registers ManiSkill's tasks)

from sim_training import vulkan


def make_stock(task_id: str, control_mode: str) -> gym.Env:
    """State observations, no rendering. Raises: vulkan.NoVulkanDevice."""
    vulkan.usable_devices()
    settings: dict[str, Any] = {"obs_mode": "state", "sim_backend": "physx_cpu", "render_backend": "none"}
    return gym.make(task_id, num_envs=1, control_mode=control_mode, **settings)
