"""Environment steps per second of the batched backend and of ManiSkill's own CPU backend, side by side.

Every contender has one process per core with one torch thread. All processes live through the whole measurement and
take turns (ManiSkill's own, batched, batched with the fast preset, and again), so that a slow spell hits all.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from statistics import median

CONTENDERS = ("maniskill", "stock", "fast")
"""ManiSkill's own CPU backend; cpu_batch with stock physics; cpu_batch with the fast preset."""


@dataclass(frozen=True)
class Turn:
    """What one process did when it was its turn."""

    env_steps: int
    seconds: float
    cpu_seconds: float


@dataclass(frozen=True)
class Round:
    """Environment steps per second of all processes of a contender together.

    per_second: of wall time. per_cpu_second: of the time the processes were given, which a busy machine distorts less.
    """

    per_second: float
    per_cpu_second: float


def measure(task: str, control: str, num_envs: int, rounds: int, turn_s: float) -> dict[str, list[Round]]:
    """What every contender reached in every round.

    Actions are random, finished episodes are reset. `num_envs` is per process of the batched contenders.
    """
    cores = len(os.sched_getaffinity(0))
    context = multiprocessing.get_context("spawn")
    teams: dict[str, list[Connection]] = {}
    processes = []
    for contender in CONTENDERS:
        teams[contender] = []
        for core in range(cores):
            ours, theirs = context.Pipe()
            arguments = (theirs, contender, task, control, num_envs, core)
            processes.append(context.Process(target=_worker, args=arguments, daemon=True))
            processes[-1].start()
            teams[contender].append(ours)
    for team in teams.values():
        for pipe in team:
            pipe.recv()  # built
    reached: dict[str, list[Round]] = {contender: [] for contender in CONTENDERS}
    for _ in range(rounds):
        for contender, team in teams.items():
            reached[contender].append(_take_turn(team, turn_s))
    for process in processes:
        process.terminate()
        process.join()
    return reached


def summarise(reached: dict[str, list[Round]]) -> dict[str, float | list[float]]:
    """Medians over rounds, and the smallest and largest ratio seen in one round.

    `cpu_share` is the part of the cores' time that the processes got: well below 1, something else was running.
    """
    wall = {contender: [one.per_second for one in rounds] for contender, rounds in reached.items()}
    cpu = {contender: [one.per_cpu_second for one in rounds] for contender, rounds in reached.items()}
    ratios, ratios_fast = _ratios(wall["stock"], wall["maniskill"]), _ratios(wall["fast"], wall["maniskill"])
    return {
        "ratio": median(ratios),
        "ratio_spread": [min(ratios), max(ratios)],
        "ratio_fast": median(ratios_fast),
        "ratio_fast_spread": [min(ratios_fast), max(ratios_fast)],
        "steps_per_s": median(wall["stock"]),
        "steps_per_s_fast": median(wall["fast"]),
        "steps_per_s_stock": median(wall["maniskill"]),
        "cpu_share": median(w / c for name in CONTENDERS for w, c in zip(wall[name], cpu[name], strict=True)),
        "ratio_per_cpu_second": median(_ratios(cpu["stock"], cpu["maniskill"])),
        "ratio_fast_per_cpu_second": median(_ratios(cpu["fast"], cpu["maniskill"])),
    }


def _ratios(ours: list[float], theirs: list[float]) -> list[float]:
    return [one / other for one, other in zip(ours, theirs, strict=True)]


def _take_turn(team: list[Connection], turn_s: float) -> Round:
    for pipe in team:
        pipe.send(turn_s)
    turns: list[Turn] = [pipe.recv() for pipe in team]
    return Round(
        per_second=sum(turn.env_steps / turn.seconds for turn in turns),
        per_cpu_second=sum(turn.env_steps / turn.cpu_seconds for turn in turns),
    )


def _worker(pipe: Connection, contender: str, task: str, control: str, num_envs: int, core: int) -> None:
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(core)
    step = _stepper(contender, task, control, num_envs, seed=core)
    for _ in range(3):
        step()
    gc.collect()
    gc.freeze()
    pipe.send("built")
    while True:
        turn_s = pipe.recv()
        began, began_cpu, env_steps = time.perf_counter(), time.process_time(), 0
        while time.perf_counter() - began < turn_s:
            env_steps += step()
        pipe.send(Turn(env_steps, time.perf_counter() - began, time.process_time() - began_cpu))


def _stepper(contender: str, task: str, control: str, num_envs: int, seed: int) -> Callable[[], int]:
    """A function that takes one step of all environments, resets what is done, and says how many steps that was."""
    import torch

    from sim_training import backends
    from sim_training.backends.stock import make_stock

    if contender == "maniskill":
        env, num_envs = make_stock(task, control), 1
    else:
        physics: backends.Physics = "fast" if contender == "fast" else "stock"
        env = backends.make(
            task, num_envs, backend="cpu_batch", physics=physics, obs_mode="state", control_mode=control
        )
    env.reset(seed=seed)
    actions = env.unwrapped.single_action_space.shape[0]

    def step() -> int:
        _, _, terminated, truncated, _ = env.step(torch.rand(num_envs, actions) * 2 - 1)
        done = torch.logical_or(torch.as_tensor(terminated), torch.as_tensor(truncated)).reshape(-1)
        if done.any():
            env.reset(options={"env_idx": torch.nonzero(done)[:, 0]})
        return num_envs

    return step
