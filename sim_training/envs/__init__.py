"""ManiSkill tasks under our contract, and the door that makes them by the task card's name."""

from __future__ import annotations

import difflib
import importlib
from typing import Any, Literal, get_args

from contract.task_spec import stretched
from contract.tasks import task
from sim_training import backends

Reward = Literal["dense", "simplified", "sparse"]
Camera = Literal["normal", "moved", "front", "wrist"]
REWARD_MODES = {"dense": "normalized_dense", "simplified": "simplified", "sparse": "sparse"}
CAMERAS: tuple[Camera, ...] = get_args(Camera)
HORIZON_FACTORS = (1, 10)

_ENVIRONMENTS = {
    "lift_cube": ("lift_cube", "LiftCube-v1"),
    "pick_cube": ("pick_cube", "PickCubeContract-v1"),
    "pick_place": ("pick_cube", "PickPlaceCube-v1"),
    "push_cube": ("push_cube", "PushCubeContract-v1"),
    "push_cube_v2": ("push_cube", "PushCubeContract-v2"),
    "pull_cube": ("push_cube", "PullCubeContract-v1"),
    "peg_upright": ("peg_upright", "PegUpright-v1"),
    "poke_cube": ("poke_cube", "PokeCubeContract-v1"),
    "pull_cube_tool": ("pull_cube_tool", "PullCubeToolContract-v1"),
    "peg_insertion": ("peg_insertion", "PegInsertion-v1"),
    "roll_ball": ("roll_ball", "RollBallContract-v1"),
    "stack_cube": ("stack_cube", "StackCubeContract-v1"),
}
"""Module and ManiSkill id of every task card."""


class UnknownOption(ValueError):
    """A task was asked for with a setting it does not have."""

    def __init__(self, what: str, given: object, known: tuple[object, ...]):
        near = difflib.get_close_matches(str(given), [str(k) for k in known], n=1, cutoff=0.0)[0]
        super().__init__(
            f"There is no {what} '{given}'; did you mean '{near}'? Choose from: {', '.join(str(k) for k in known)}."
        )


def make_task(
    name: str,
    num_envs: int,
    *,
    physics: backends.Physics = "stock",
    reward: Reward = "dense",
    horizon_factor: int = 1,
    camera: Camera = "normal",
    **options: Any,
) -> Any:
    """The ManiSkill environment of one task card, on the default backend.

    reward: dense is normalised to about 1 a tick at best. horizon_factor: 10 takes ten times as many, as much smaller
    steps. Further options: `randomise` (False switches every randomisation off), `body_seed` (of sizes, masses and
    frictions, which last as long as the environments), `near_starts`, and ManiSkill's own.
    Raises: UnknownTask, UnknownOption, each with the nearest name.
    """
    card = task(name)
    for what, given, known in (
        ("reward", reward, tuple(REWARD_MODES)),
        ("camera", camera, CAMERAS),
        ("horizon factor", horizon_factor, HORIZON_FACTORS),
    ):
        if given not in known:
            raise UnknownOption(what, given, known)
    module, task_id = _ENVIRONMENTS[name]
    importlib.import_module(f"sim_training.envs.{module}")
    if horizon_factor > 1:
        card = stretched(card, horizon_factor)
    settings: dict[str, Any] = {"obs_mode": "state", "control_mode": "impedance", "card": card, "camera": camera}
    settings |= {"reward_mode": REWARD_MODES[reward], "max_episode_steps": card.horizon}
    settings["sim_config"] = {"control_freq": round(card.rate_hz)}
    return backends.make(task_id, num_envs, physics=physics, **(settings | options))
