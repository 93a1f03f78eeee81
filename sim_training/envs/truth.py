"""What the simulator knows and a synthetic teacher may: the task as it truly stands."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from contract.poses import Pose


@dataclass(frozen=True)
class Truth:
    """tcp, object, second: poses in the base frame (N, ...). goal: position (N, 3). None where the task has none.

    grasped: the object is between the fingers (N,) bool. closed: last told to close (N,) bool. width: between the
    fingers, m (N,). half_size, second_half_size: of the objects, m (N, 3). velocity: of the object, m/s (N, 3).
    settled: everything is where it should be now (N,) bool.
    """

    tcp: Pose
    object: Pose
    grasped: Tensor
    closed: Tensor
    width: Tensor
    half_size: Tensor
    velocity: Tensor
    settled: Tensor
    goal: Tensor | None = None
    second: Pose | None = None
    second_half_size: Tensor | None = None
