"""ManiSkill tasks under our contract, and the door that makes them by the task card's name."""

from __future__ import annotations

from typing import Any

from contract.tasks import task
from sim_training import backends

_ENVIRONMENTS = {"lift_cube": "LiftCube-v1"}


def make_task(name: str, num_envs: int, *, physics: backends.Physics = "stock", **options: Any) -> Any:
    """The ManiSkill environment of one task card, on the default backend. Raises UnknownTask with the nearest name."""
    spec = task(name)
    import sim_training.envs.lift_cube  # noqa: F401  (registers the environment)

    settings: dict[str, Any] = {"obs_mode": "state", "reward_mode": "normalized_dense", "control_mode": "impedance"}
    settings["sim_config"] = {"control_freq": round(spec.rate_hz)}
    return backends.make(_ENVIRONMENTS[spec.name], num_envs, physics=physics, **(settings | options))
