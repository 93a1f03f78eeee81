"""What is carried to a place gets there although setpoints are refused now and then, or is said not to."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from contract.poses import Pose
from robot_runtime.bridge_client import BridgeRefused
from robot_runtime.collection.put_down import TRIES, _go

HERE = Pose(np.array([0.5, 0.0, 0.2]), np.array([0.0, 1.0, 0.0, 0.0]))
GOAL = Pose(np.array([0.5, 0.1, 0.2]), HERE.quaternion)


class Mover:
    """Synthetic: the first motions end at a refused setpoint."""

    def __init__(self, refusals: int) -> None:
        self.refusals, self.motions = refusals, 0
        self.client = SimpleNamespace(status=lambda: SimpleNamespace(command_base_tcp=HERE), check=lambda: None)

    def __call__(self, way: object, ticks: int) -> list[SimpleNamespace]:
        self.motions += 1
        return [SimpleNamespace(refused="It was late." if self.motions <= self.refusals else None)]


def test_a_refused_setpoint_is_tried_again() -> None:
    move: Any = Mover(TRIES - 1)
    _go(move, GOAL, 0.01)
    assert move.motions == TRIES


def test_a_way_that_is_refused_again_and_again_is_given_up_before_the_hand_opens() -> None:
    with pytest.raises(BridgeRefused, match="not put down: It was late"):
        _go(Mover(TRIES), GOAL, 0.01)  # type: ignore[arg-type]
