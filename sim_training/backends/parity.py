"""Does the batched backend compute what ManiSkill computes? Same start, same actions, compared number by number.

Contacts and joint limits can make PhysX chaotic: stock ManiSkill then disagrees with itself when the start moves by
1e-7 rad. Such an environment proves nothing either way and is counted apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import torch

from sim_training import backends
from sim_training.backends.stock import make_stock

TASKS = ("PickCube-v1", "PushCube-v1", "LiftPegUpright-v1", "StackCube-v1")
CONTROL = "pd_joint_delta_pos"
TOLERANCE = 1e-4
"""On every observation and reward over the whole comparison; success flags must be equal."""
NUDGE_RAD = 1e-7
MAX_JOINTS = 64


@dataclass(frozen=True)
class TaskParity:
    """Largest difference per environment over observations, rewards and success. Shapes: all (N,)"""

    max_abs: torch.Tensor
    chaotic: torch.Tensor

    @property
    def worst(self) -> float:
        """Largest difference among environments in which stock agrees with itself; infinite when there is none."""
        return float("inf") if self.chaotic.all() else float(self.max_abs[~self.chaotic].max())


def compare(task: str, num_envs: int = 8, steps: int = 50, seed: int = 0) -> TaskParity:
    """Runs the batched backend once, and stock ManiSkill once and nudged a few times for each of its sub-scenes."""
    generator = torch.Generator().manual_seed(seed)
    batched = backends.make(task, num_envs, backend="cpu_batch", obs_mode="state", control_mode=CONTROL)
    actions = torch.rand(steps, num_envs, batched.unwrapped.single_action_space.shape[0], generator=generator) * 2 - 1
    start, _ = batched.reset(seed=list(range(seed, seed + num_envs)))
    states = batched.unwrapped.get_state_dict()
    ours = [_flat(start, None, None), *(_step(batched, action) for action in actions)]
    batched.close()

    stock = make_stock(task, CONTROL)
    max_abs, chaotic = torch.zeros(num_envs), torch.zeros(num_envs, dtype=torch.bool)
    for n in range(num_envs):
        state = _pick(states, n)
        theirs = _stock_run(stock, seed + n, state, actions[:, n])
        max_abs[n] = _largest_difference([numbers[n : n + 1] for numbers in ours], theirs)
        for directions in _directions(generator):
            nudged = _stock_run(stock, seed + n, _nudged(state, directions), actions[:, n])
            chaotic[n] |= _largest_difference(nudged, theirs) > TOLERANCE
    stock.close()
    return TaskParity(max_abs, chaotic)


def _stock_run(stock: gym.Env, seed: int, state: dict[str, Any], actions: torch.Tensor) -> list[torch.Tensor]:
    stock.reset(seed=seed, options={"reconfigure": True})  # a new PhysX scene: no contacts remembered from the last run
    stock.unwrapped.set_state_dict(state)
    stock.unwrapped.agent.controller.reset()
    return [_flat(stock.unwrapped.get_obs(), None, None), *(_step(stock, action[None]) for action in actions)]


def _step(env: gym.Env, action: torch.Tensor) -> torch.Tensor:
    observation, reward, _, _, info = env.step(action)
    return _flat(observation, reward, info["success"])


def _flat(observation: torch.Tensor, reward: Any, success: Any) -> torch.Tensor:
    """Shape: (N, observation size + 2)"""
    n = len(observation)
    columns = [torch.zeros(n) if x is None else torch.as_tensor(x).float().reshape(n) for x in (reward, success)]
    return torch.cat([observation, torch.stack(columns, dim=1)], dim=1)


def _largest_difference(ones: list[torch.Tensor], others: list[torch.Tensor]) -> torch.Tensor:
    return (torch.stack(ones) - torch.stack(others)).abs().max()


def _pick(states: dict[str, Any], n: int) -> dict[str, Any]:
    """The state of one sub-scene, as a batch of one."""
    return {k: _pick(v, n) if isinstance(v, dict) else v[n : n + 1].clone() for k, v in states.items()}


def _directions(generator: torch.Generator) -> list[torch.Tensor]:
    """Which way every joint is nudged: all up, all down, and twice at random. Shapes: (MAX_JOINTS,) of ±1"""
    up = torch.ones(MAX_JOINTS)
    return [up, -up, *(torch.where(torch.rand(MAX_JOINTS, generator=generator) < 0.5, -up, up) for _ in range(2))]


def _nudged(state: dict[str, Any], directions: torch.Tensor) -> dict[str, Any]:
    """The same with every joint moved by `NUDGE_RAD`, or by the least that single precision can hold.

    An articulation's state: 13 numbers of its root, qpos, qvel.
    """
    articulations = {name: values.clone() for name, values in state["articulations"].items()}
    for values in articulations.values():
        joints = (values.shape[1] - 13) // 2
        qpos, way = values[:, 13 : 13 + joints], directions[:joints]
        least = (torch.nextafter(qpos, qpos + way) - qpos).abs()
        values[:, 13 : 13 + joints] = qpos + way * torch.clamp(least, min=NUDGE_RAD)
    return {**state, "articulations": articulations}
