"""Saving and restoring a running environment so that the continuation is bit-identical.

PhysX keeps more than positions and velocities: contact caches, friction anchors, solver order, wake counters. None of
it can be read out, and writing a state back into a scene that has contacts does not clear it. So both sides start
afresh: saving moves every body of the *running* simulation into a new PhysX scene and writes its own state back,
restoring does the same with the saved state. A run that saved and went on equals, bit for bit, one that was killed and
restored.

Saving therefore disturbs contacts as a reset would (the next step starts without warm-started impulses) and wakes
what had fallen asleep: a body asleep answers its next contact a step later than one that is awake. The global
torch generator, from which unseeded resets draw, belongs to the trainer and is not saved here.
"""

from __future__ import annotations

import dataclasses
import io
import pickle
from collections.abc import Iterator
from typing import Any

import numpy as np
import sapien
import torch
from gymnasium import Env
from mani_skill.envs.sapien_env import BaseEnv
from mani_skill.envs.utils.randomization.batched_rng import BatchedRNG
from sapien import physx

from sim_training.backends.system import CpuBatchSystem

_PLAIN = (torch.Tensor, np.ndarray, np.generic, int, float, bool, str, type(None), np.random.RandomState)


class WrongBackend(TypeError):
    """Only `cpu_batch` environments can be saved exactly. Make the environment with backend="cpu_batch"."""


def save_state(env: Env) -> bytes:
    """State of physics, task, controllers and their generators, after putting the running simulation on a fresh start.

    Raises: WrongBackend.
    """
    task = _batched_task(env)
    packed = task.scene.px.pack()
    _start_afresh(task, packed)
    memory = {name: _plain_attributes(owner) for name, owner in _owners(task)}
    saved = io.BytesIO()
    _Pickler(saved).dump(
        {"packed": packed, "joint_forces": task.scene.px.cuda_articulation_qf.torch(), "memory": memory}
    )
    return saved.getvalue()


def restore_state(env: Env, saved: bytes) -> None:
    """Puts an environment made with the same arguments where `save_state` was called. `saved` must be trusted (pickle).

    Raises: WrongBackend.
    """
    task = _batched_task(env)
    state = pickle.loads(saved)
    _start_afresh(task, state["packed"])
    task.scene.px.cuda_articulation_qf.torch()[:] = state["joint_forces"]
    for name, owner in _owners(task):
        for attribute, value in state["memory"][name].items():
            setattr(owner, attribute, value)


def forget_contacts(env: Env) -> None:
    """Bodies stay where they are, in new scenes. Raises: WrongBackend."""
    task = _batched_task(env)
    _start_afresh(task, task.scene.px.pack())


def is_saveable(env: Env) -> bool:
    """Whether an environment runs on the batched CPU backend."""
    task = env.unwrapped
    return isinstance(task, BaseEnv) and type(task.scene.px) is CpuBatchSystem


class _Pickler(pickle.Pickler):
    """ManiSkill's batched generator answers every attribute for its whole batch, which misleads pickle."""

    def reducer_override(self, value: Any) -> Any:
        return (BatchedRNG, (value.rngs,)) if type(value) is BatchedRNG else NotImplemented


def _batched_task(env: Env) -> BaseEnv:
    if not is_saveable(env):
        raise WrongBackend(WrongBackend.__doc__)
    return env.unwrapped


def _start_afresh(task: BaseEnv, packed: list[bytes]) -> None:
    """New PhysX scenes with the same bodies, added in the same order, in the packed states."""
    task._set_scene_config()
    sub_scenes = task.scene.sub_scenes
    for index, (old, state) in enumerate(zip(sub_scenes, packed, strict=True)):
        system = physx.PhysxCpuSystem()
        system.timestep = old.physx_system.timestep
        systems: list[sapien.System] = [system]
        if task.scene.can_render():
            systems.append(old.render_system)
        new = sapien.Scene(systems)
        entities = list(old.entities)
        for entity in entities:
            old.remove_entity(entity)
        for entity in entities:
            new.add_entity(entity)
        system.unpack(state)
        for body in system.rigid_dynamic_components:
            if not body.kinematic:
                body.wake_up()
        sub_scenes[index] = new
    task.scene.px.adopt([scene.physx_system for scene in sub_scenes])


def _owners(task: BaseEnv) -> Iterator[tuple[str, Any]]:
    """Everything outside PhysX that remembers something from step to step."""
    yield "task", task
    yield "scene", task.scene
    for name, actor in task.scene.actors.items():
        yield f"actor {name}", actor
    agents = getattr(task.agent, "agents", [task.agent]) if task.agent is not None else []
    for index, agent in enumerate(agents):
        yield f"agent {index}", agent
        for mode, controller in agent.controllers.items():
            yield from _controllers(f"agent {index} {mode}", controller)


def _controllers(name: str, controller: Any) -> Iterator[tuple[str, Any]]:
    yield name, controller
    for part, inner in getattr(controller, "controllers", {}).items():
        yield from _controllers(f"{name} {part}", inner)


def _plain_attributes(owner: Any) -> dict[str, Any]:
    return {name: value for name, value in vars(owner).items() if _is_plain(value)}


def _is_plain(value: Any) -> bool:
    """Tensors, arrays, numbers, generators, and containers and dataclasses (poses) of nothing else."""
    if isinstance(value, _PLAIN):
        return True
    if isinstance(value, dict):
        return all(_is_plain(inner) for inner in value.values())
    if isinstance(value, (list, tuple)):
        return all(_is_plain(inner) for inner in value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return all(_is_plain(getattr(value, item.name)) for item in dataclasses.fields(value))
    return False
