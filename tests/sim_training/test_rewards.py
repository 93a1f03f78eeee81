"""What simplified rewards pay and take, on made-up moments."""

from types import SimpleNamespace
from typing import Any

import torch

from sim_training.envs.peg_upright import PegUprightEnv


def _peg(upright: float, grasped: bool, closed: bool, distance: float, success: bool) -> float:
    task: Any = SimpleNamespace(
        upright=torch.tensor([upright]), controller=SimpleNamespace(closed=torch.tensor([closed]))
    )
    info = {
        "grasped": torch.tensor([grasped]),
        "distance": torch.tensor([distance]),
        "success": torch.tensor([success]),
    }
    return float(PegUprightEnv.compute_simplified_reward(task, info)) / PegUprightEnv.simplified_best


def test_a_peg_held_up_earns_no_more_than_half_so_guidance_cannot_end_with_it() -> None:
    assert _peg(upright=1.0, grasped=True, closed=True, distance=0.0, success=False) == 0.5
    assert _peg(upright=1.0, grasped=True, closed=True, distance=0.0, success=True) == 1.0


def test_fingers_that_close_cost_something_only_away_from_the_object() -> None:
    assert _peg(upright=0.0, grasped=False, closed=True, distance=0.02, success=False) == 0.0
    assert _peg(upright=0.0, grasped=False, closed=True, distance=0.04, success=False) < 0.0
    assert _peg(upright=0.0, grasped=False, closed=False, distance=0.04, success=False) == 0.0
