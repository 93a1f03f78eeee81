"""The cubes that the mock cell can put on its table, by name: other colours and sizes of what its task is about."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from robot_runtime.mock_cell import scene

if TYPE_CHECKING:
    import mujoco


class UnknownVariant(ValueError):
    """The mock cell has no such object."""


@dataclass(frozen=True)
class Variant:
    """Colour 0..1 and edge. The detector knows warm colours, the policy edges from 38 to 42 mm."""

    rgb: tuple[float, float, float]
    edge_m: float


VARIANTS = {
    "red_cube": Variant(scene.CUBE_RGB, scene.CUBE_EDGE_M),
    "orange_cube": Variant((0.90, 0.40, 0.10), 0.038),
    "magenta_cube": Variant((0.80, 0.10, 0.40), 0.042),
}
NOMINAL = "red_cube"
UNSEEN = "magenta_cube"
"""By convention no data is collected with this one: it tells how well a generalist generalises."""


def variant(name: str) -> Variant:
    """Raises UnknownVariant."""
    if name not in VARIANTS:
        near = difflib.get_close_matches(name, VARIANTS, n=1, cutoff=0.0)[0]
        raise UnknownVariant(f"The mock cell has no object '{name}'; did you mean '{near}'?")
    return VARIANTS[name]


def shape(model: mujoco.MjModel, edge_m: float) -> None:
    """Gives the model's cube that edge, wherever its contacts and its culling look for it."""
    geom, body, half = model.geom("cube").id, model.body("cube").id, np.full(3, edge_m / 2)
    model.geom_size[geom] = half
    model.geom_rbound[geom] = np.linalg.norm(half)
    model.geom_aabb[geom, 3:] = half
    model.bvh_aabb[model.body_bvhadr[body], 3:] = half
