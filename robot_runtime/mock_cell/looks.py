"""How the scene looks: one nominal laboratory, and random others for training a detector."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from robot_runtime.mock_cell.scene import CUBE_RGB, FLOOR_RGB, TABLE_RGB, WALL_RGB

if TYPE_CHECKING:
    import mujoco

Rgb = tuple[float, float, float]

PEG_HEAD_RGB: Rgb = (0.05, 0.16, 0.63)
"""A peg's tail has the cube's colour, its head this one, as in training."""


@dataclass(frozen=True)
class Looks:
    """Colours 0..1, light directions in the base frame. `grain` 0 is a plain table, 1 strongly veined wood."""

    table_rgb: Rgb = TABLE_RGB
    grain: float = 0.35
    floor_rgb: Rgb = FLOOR_RGB
    wall_rgb: Rgb = WALL_RGB
    cube_rgb: Rgb = CUBE_RGB
    peg_head_rgb: Rgb = PEG_HEAD_RGB
    robot_brightness: float = 0.92
    ambient: float = 0.38
    headlight: float = 0.25
    key_rgb: Rgb = (0.50, 0.49, 0.46)
    key_direction: Rgb = (-0.5, 0.4, -1.0)
    texture_seed: int = 0


def _rgb(
    rng: np.random.Generator, hue: tuple[float, float], saturation: tuple[float, float], value: tuple[float, float]
) -> Rgb:
    return colorsys.hsv_to_rgb(rng.uniform(*hue) % 1.0, rng.uniform(*saturation), rng.uniform(*value))


def _peg_rgbs(rng: np.random.Generator) -> tuple[Rgb, Rgb]:
    """Tail and head. A peg is known by its shape: often it has other colours than in training, or only one."""
    if rng.random() < 0.5:
        return _rgb(rng, (-0.03, 0.03), (0.65, 1.0), (0.5, 0.95)), _rgb(rng, (0.58, 0.68), (0.6, 1.0), (0.4, 0.95))
    tail = _rgb(rng, (0.0, 1.0), (0.0, 1.0), (0.15, 0.95))
    return tail, tail if rng.random() < 0.5 else _rgb(rng, (0.0, 1.0), (0.0, 1.0), (0.15, 0.95))


def random_looks(rng: np.random.Generator, with_peg: bool = False) -> Looks:
    """Another laboratory. The cube stays reddish, so that 'the cube' keeps meaning one object among distractors."""
    warm_table = rng.random() < 0.6
    table = (0.05, 0.12) if warm_table else (0.0, 1.0)
    direction = np.array([*rng.uniform(-1.0, 1.0, 2), -1.0])
    key = rng.uniform(0.15, 0.75)
    tint = rng.uniform(0.88, 1.0, 3)
    cube = _rgb(rng, (-0.03, 0.03), (0.65, 1.0), (0.5, 0.95))
    tail, head = _peg_rgbs(rng) if with_peg else (cube, PEG_HEAD_RGB)
    return Looks(
        table_rgb=_rgb(rng, table, (0.05, 0.5) if warm_table else (0.0, 0.3), (0.2, 0.95)),
        grain=rng.uniform(0.0, 1.0),
        floor_rgb=_rgb(rng, (0.0, 1.0), (0.0, 0.4), (0.1, 0.9)),
        wall_rgb=_rgb(rng, (0.0, 1.0), (0.0, 0.4), (0.2, 1.0)),
        cube_rgb=tail,
        peg_head_rgb=head,
        robot_brightness=rng.uniform(0.7, 1.0),
        ambient=rng.uniform(0.2, 0.55),
        headlight=rng.uniform(0.05, 0.4),
        key_rgb=(key * tint[0], key * tint[1], key * tint[2]),
        key_direction=(direction[0], direction[1], direction[2]),
        texture_seed=int(rng.integers(1 << 31)),
    )


def distractor_rgb(rng: np.random.Generator) -> Rgb:
    """Any colour that is not the cube's: greys, or hues well away from red."""
    if rng.random() < 0.35:
        return _rgb(rng, (0.0, 1.0), (0.0, 0.15), (0.05, 0.95))
    return _rgb(rng, (0.10, 0.88), (0.3, 1.0), (0.2, 0.95))


def _smooth_noise(rng: np.random.Generator, shape: tuple[int, int], cells: tuple[int, int]) -> np.ndarray:
    """Linear interpolation of a coarse random grid, -1..1. Shape: `shape`"""
    grid = rng.uniform(-1.0, 1.0, (cells[0] + 1, cells[1] + 1))
    rows, columns = (
        np.maximum(0.0, 1.0 - np.abs(np.linspace(0, n, size)[:, None] - np.arange(n + 1)))
        for n, size in zip(cells, shape, strict=True)
    )
    return np.asarray(rows @ grid @ columns.T)


def _wood(rng: np.random.Generator, rgb: Rgb, grain: float, shape: tuple[int, int]) -> np.ndarray:
    """Veins along one axis, broken by slow waviness and speckle. Shape: (*shape, 3) uint8"""
    across = np.linspace(0.0, 1.0, shape[0])[:, None]
    waves = np.sin(2 * np.pi * (rng.uniform(6, 18) * across + 0.8 * _smooth_noise(rng, shape, (6, 3))))
    veins = 0.6 * waves + 0.8 * _smooth_noise(rng, shape, (64, 4)) + 0.3 * rng.normal(size=shape)
    return np.clip(255 * np.array(rgb) * (1.0 + 0.14 * grain * veins[..., None]), 0, 255).astype(np.uint8)


def _write_texture(model: mujoco.MjModel, name: str, pixels: np.ndarray) -> None:
    texture = model.texture(name).id
    start = model.tex_adr[texture]
    model.tex_data[start : start + pixels.size] = pixels.reshape(-1)


def _texture_shape(model: mujoco.MjModel, name: str) -> tuple[int, int]:
    texture = model.texture(name).id
    return int(model.tex_height[texture]), int(model.tex_width[texture])


TEXTURES = ("table", "floor", "wall")
"""What `apply` repaints: a live renderer must upload these again."""


def apply(model: mujoco.MjModel, looks: Looks) -> None:
    """Writes colours, lights and textures into `model`."""
    rng = np.random.default_rng(looks.texture_seed)
    _write_texture(model, "table", _wood(rng, looks.table_rgb, looks.grain, _texture_shape(model, "table")))
    for name, rgb in (("floor", looks.floor_rgb), ("wall", looks.wall_rgb)):
        _write_texture(model, name, _wood(rng, rgb, 0.15, _texture_shape(model, name)))
    model.geom("cube").rgba[:3] = looks.cube_rgb
    for material in ("white", "off_white", "gray"):
        model.material(material).rgba[:3] = looks.robot_brightness
    model.vis.headlight.ambient[:] = looks.ambient
    model.vis.headlight.diffuse[:] = looks.headlight
    model.light("key").diffuse[:] = looks.key_rgb
    model.light("key").dir[:] = np.array(looks.key_direction) / np.linalg.norm(looks.key_direction)
