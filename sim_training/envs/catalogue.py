"""The list of tasks that `launch/train_sim.sh --list` prints; reads cards only, loads no simulator."""

from __future__ import annotations

from contract.tasks import TASKS
from sim_training.envs import CAMERAS, HORIZON_FACTORS, REWARD_MODES


def catalogue() -> str:
    """Every task with its instruction and horizon, and what each can be asked for with."""
    rows = [("task", "steps", "instruction"), *((n, str(c.horizon), c.instruction) for n, c in sorted(TASKS.items()))]
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    table = [f"{name:<{widths[0]}}  {steps:>{widths[1]}}  {instruction}" for name, steps, instruction in rows]
    factors = ", ".join(str(factor) for factor in HORIZON_FACTORS)
    return "\n".join(
        [*table, f"rewards: {', '.join(REWARD_MODES)}; horizon factors: {factors}; cameras: {', '.join(CAMERAS)}"]
    )
