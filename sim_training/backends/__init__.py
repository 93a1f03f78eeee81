"""One door to the simulator: the same ManiSkill task on the GPU, or batched on the CPU.

    env = make("PickCube-v1", num_envs=64, backend="cpu_batch", physics="fast", obs_mode="state")

`cpu_batch` runs N sub-scenes in one process on PhysX CPU behind the surface of ManiSkill's GPU system, so task code
runs batched and unmodified. `physx_cuda` is ManiSkill's own GPU path. ManiSkill is imported when one is made.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import gymnasium

Backend = Literal["cpu_batch", "physx_cuda"]
Physics = Literal["stock", "fast"]


class UnknownTask(KeyError):
    """The task id is not registered with ManiSkill. Import the module that registers it first."""


def default_backend() -> Backend:
    """The GPU when torch sees one, else the batched CPU backend."""
    import torch

    return "physx_cuda" if torch.cuda.is_available() else "cpu_batch"


def make(
    task_id: str, num_envs: int, *, backend: Backend | None = None, physics: Physics = "stock", **gym_kwargs: Any
) -> gymnasium.Env:
    """A ManiSkill environment with a time limit, as `gym.make` gives, on the chosen backend and physics preset.

    `gym_kwargs` are ManiSkill's own (obs_mode, control_mode, render_mode, sim_config, max_episode_steps, ...). Without
    a render mode and with state observations nothing is rendered and no renderer is created.

    Raises: UnknownTask, vulkan.NoVulkanDevice.
    """
    from sim_training.backends import environment

    return environment.make(task_id, num_envs, backend or default_backend(), physics, gym_kwargs)


def save_state(env: gymnasium.Env) -> bytes:
    """See `checkpoint.save_state`: a continuation from here is bit-identical to one restored from the result."""
    from sim_training.backends import checkpoint

    return checkpoint.save_state(env)


def forget_contacts(env: gymnasium.Env) -> None:
    """Call before a reset: what PhysX remembers of contacts, and no reset clears, is gone. Nothing to do on the GPU."""
    from sim_training.backends import checkpoint

    if checkpoint.is_saveable(env):
        checkpoint.forget_contacts(env)


def is_saveable(env: gymnasium.Env) -> bool:
    """Whether `save_state` can save this environment: those of ManiSkill's GPU path cannot be."""
    from sim_training.backends import checkpoint

    return checkpoint.is_saveable(env)


def restore_state(env: gymnasium.Env, saved: bytes) -> None:
    """See `checkpoint.restore_state`."""
    from sim_training.backends import checkpoint

    checkpoint.restore_state(env, saved)
