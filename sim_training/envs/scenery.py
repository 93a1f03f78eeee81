"""What stands on the table: boxes of randomised size, mass and friction, markers of goals, and where the camera is."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import sapien
import torch
from mani_skill.sensors.camera import CameraConfig
from mani_skill.utils import sapien_utils
from mani_skill.utils.building import actors
from mani_skill.utils.structs.actor import Actor
from mani_skill.utils.structs.link import Link
from torch import Tensor

from contract.poses import Pose
from contract.task_spec import Randomisation, Range, TaskSpec

BASE_IN_WORLD = (-0.615, 0.0, 0.0)
"""Where ManiSkill's table scene puts the robot; every number of the contract is relative to it."""

Colour = tuple[float, float, float, float]
RED, GREEN, BLUE = (0.8, 0.1, 0.1, 1.0), (0.1, 0.6, 0.1, 1.0), (0.05, 0.16, 0.63, 1.0)
ORANGE, WHITE, SAND = (0.93, 0.45, 0.33, 1.0), (0.93, 0.96, 0.98, 1.0), (1.0, 0.82, 0.54, 1.0)
_NOMINAL_MASS_KG = 0.06


@dataclass(frozen=True)
class Place:
    """Of a camera: where it stands, what it looks at and where it has up, m, world frame or the tool's."""

    eye: tuple[float, float, float]
    target: tuple[float, float, float] = (-0.1, 0.0, 0.15)
    up: tuple[float, float, float] = (0.0, 0.0, 1.0)
    fovy_rad: float = 1.0
    on_tool: bool = False


_CAMERAS = {
    "normal": Place((0.55, 0.75, 0.6)),
    "moved": Place((0.75, 0.45, 0.5)),
    "front": Place((0.51088, 0.20960, 0.64423), (-0.065, 0.0, 0.13), fovy_rad=math.radians(42)),
    "wrist": Place((0.09, 0.0, -0.14), (0.03904, 0.0, 0.0), (1.0, 0.0, 0.0), math.radians(42), on_tool=True),
}
"""The moved one stands 25 degrees further round and lower, as in RPD's figure 6. The last two are the
cameras of the cell that episodes are collected in, launch/cells/mock_rldg.yaml."""


def camera(name: str, tool: Link) -> CameraConfig:
    """The view that teachers are shown and videos are made of. tool: the tool centre point's link."""
    place = _CAMERAS[name]
    pose = sapien_utils.look_at(eye=place.eye, target=place.target, up=place.up)
    mount = tool if place.on_tool else None
    return CameraConfig("render_camera", pose, 512, 512, place.fovy_rad, 0.01, 100, mount=mount)


@dataclass(frozen=True)
class Body:
    """One environment's object: half sides m, mass kg, friction, in environment `index`."""

    index: int
    half_size: tuple[float, float, float]
    mass: float
    friction: float

    @property
    def density(self) -> float:
        """Of a solid box with these half sides, kg/m³."""
        x, y, z = self.half_size
        return self.mass / ((2 * y) ** 3 * (x / y) * (z / y))

    @property
    def material(self) -> sapien.physx.PhysxMaterial:
        """Contacts of this friction, without bounce."""
        return sapien.physx.PhysxMaterial(self.friction, self.friction, 0.0)


def sample_body(spec: TaskSpec, index: int, rng: Any | None) -> Body:
    """The object of one environment, nominal without a generator; its sides keep the card's proportions."""
    ranges = spec.randomisation
    return _sample(spec.half_size_m, spec.object_width_m / 2, ranges.cube_half_size_m, ranges, index, rng)


def sample_second(spec: TaskSpec, index: int, rng: Any | None) -> Body:
    """The second object of one environment, in the same manner."""
    assert spec.second_half_size_m is not None
    ranges = spec.randomisation
    return _sample(spec.second_half_size_m, spec.second_half_size_m[1], ranges.second_half_size_m, ranges, index, rng)


def _sample(
    sides: tuple[float, float, float],
    half: float,
    widths: Range | None,
    ranges: Randomisation,
    index: int,
    rng: Any | None,
) -> Body:
    """half: nominal half width, which `widths` replaces. Units: m"""
    shape = [side / half for side in sides]
    mass, friction = _NOMINAL_MASS_KG, (ranges.friction.low + ranges.friction.high) / 2
    if rng is not None:
        half = rng.uniform(widths.low, widths.high) if widths else half
        mass = rng.uniform(ranges.cube_mass_kg.low, ranges.cube_mass_kg.high)
        friction = rng.uniform(ranges.friction.low, ranges.friction.high)
    return Body(index, (half * shape[0], half * shape[1], half * shape[2]), mass, friction)


class Shape(Protocol):
    """Adds the collision shapes and looks of one body to a SAPIEN actor builder."""

    def __call__(self, builder: Any, body: Body) -> None: ...


@dataclass(frozen=True)
class Box:
    """A box along the body's own axes, its colours in equal parts from tail (negative x) to head."""

    colours: tuple[Colour, ...]

    def __call__(self, builder: Any, body: Body) -> None:
        """Add it to the builder."""
        (x, y, z), count = body.half_size, len(self.colours)
        builder.add_box_collision(half_size=list(body.half_size), material=body.material, density=body.density)
        for part, colour in enumerate(self.colours):
            centre = sapien.Pose([x * (2 * part + 1 - count) / count, 0, 0])
            material = sapien.render.RenderMaterial(base_color=colour)
            builder.add_box_visual(centre, half_size=[x / count, y, z], material=material)


_ANYHOW = Range(-math.pi, math.pi)


@dataclass(frozen=True)
class SecondObject:
    """How a task's second object looks, starts and takes part.

    yaw: its heading at the start. apart_m: how far it then is at least from the first one. is_fixed: nothing can move
    it. is_brought: it is what has to come somewhere and rest there, with the first one as a tool.
    """

    shape: Shape = Box((GREEN,))
    yaw: Range = _ANYHOW
    apart_m: float = 0.0
    is_fixed: bool = False
    is_brought: bool = False


@dataclass(frozen=True)
class Ball:
    """A ball as wide as the body."""

    colour: Colour

    def __call__(self, builder: Any, body: Body) -> None:
        """Add it to the builder."""
        radius = body.half_size[0]
        density = body.mass / (4 / 3 * math.pi * radius**3)
        builder.add_sphere_collision(radius=radius, material=body.material, density=density)
        builder.add_sphere_visual(radius=radius, material=sapien.render.RenderMaterial(base_color=self.colour))


@dataclass(frozen=True)
class Hook:
    """An L: a handle as large as the body, and at its head (positive x) a hook out to positive y (contract/hook.py)."""

    colour: Colour
    grip_m: float
    reach_m: float
    thick_m: float

    def __call__(self, builder: Any, body: Body) -> None:
        """Add it to the builder."""
        x, y, z = body.half_size
        hook = (self.thick_m / 2, self.reach_m / 2, z)
        density = body.mass / (8 * (x * y * z + hook[0] * hook[1] * hook[2]))
        material = sapien.render.RenderMaterial(base_color=self.colour)
        at_head = self.grip_m + x - self.thick_m / 2
        for centre, half in (([self.grip_m, 0, 0], (x, y, z)), ([at_head, y + self.reach_m / 2, 0], hook)):
            pose = sapien.Pose(centre)
            builder.add_box_collision(pose, list(half), material=body.material, density=density)
            builder.add_box_visual(pose, list(half), material=material)


@dataclass(frozen=True)
class Holed:
    """A box with a square hole along its x axis through its middle. hole_m: half the hole's width."""

    colour: Colour
    hole_m: float

    def __call__(self, builder: Any, body: Body) -> None:
        """Add it to the builder."""
        x, y, z = body.half_size
        beside, above = (y - self.hole_m) / 2, (z - self.hole_m) / 2
        walls = [((0.0, side * (y - beside), 0.0), (x, beside, z)) for side in (-1, 1)]
        walls += [((0.0, 0.0, side * (z - above)), (x, self.hole_m, above)) for side in (-1, 1)]
        material = sapien.render.RenderMaterial(base_color=self.colour)
        for centre, half in walls:
            builder.add_box_collision(sapien.Pose(centre), list(half), material=body.material)
            builder.add_box_visual(sapien.Pose(centre), list(half), material=material)


def build(scene: Any, name: str, bodies: list[Body], shape: Shape, fixed: bool = False) -> Actor:
    """The same thing in every environment, each its own size, handled as one actor."""
    built = []
    for body in bodies:
        builder = scene.create_actor_builder()
        shape(builder, body)
        builder.initial_pose = sapien.Pose(p=[0.0, 0.0, body.half_size[2]])
        builder.set_scene_idxs([body.index])
        make = builder.build_kinematic if fixed else builder.build
        built.append(make(name=f"{name}-{body.index}"))
    return Actor.merge(built, name=name)


def goal_disc(scene: Any, radius: float) -> Actor:
    """A red and white target painted on the table."""
    initial = sapien.Pose(p=[0.0, 0.0, 1e-3])
    return actors.build_red_white_target(scene, radius, 1e-5, "goal", "kinematic", False, initial_pose=initial)


def goal_ball(scene: Any, radius: float) -> Actor:
    """A green ball in the air that nothing can touch."""
    initial = sapien.Pose(p=[0.0, 0.0, 0.2])
    return actors.build_sphere(scene, radius, np.array([0, 1, 0, 1]), "goal", "kinematic", False, initial_pose=initial)


def rails(scene: Any, low: tuple[float, float], high: tuple[float, float]) -> Actor:
    """A low frame on the table that nothing rolls out of; corners x and y in the base frame, metres."""
    builder = scene.create_actor_builder()
    (x, y), thick, tall = ((a + b) / 2 for a, b in zip(low, high, strict=True)), 0.01, 0.02
    long_x, long_y = (high[0] - low[0]) / 2, (high[1] - low[1]) / 2
    sides = [((end, y), (thick, long_y)) for end in (low[0], high[0])]
    sides += [((x, end), (long_x, thick)) for end in (low[1], high[1])]
    wood = sapien.render.RenderMaterial(base_color=(0.5, 0.35, 0.2, 1.0))
    for place, half in sides:
        builder.add_box_collision(sapien.Pose([*place, tall]), [*half, tall])
        builder.add_box_visual(sapien.Pose([*place, tall]), [*half, tall], material=wood)
    builder.initial_pose = sapien.Pose(p=BASE_IN_WORLD)
    return builder.build_kinematic(name="rails")


_PAINTED_M = 0.02
"""Goals no higher than this above where the object lies are painted on the table."""


def marked(goal: Tensor, rest: float) -> Pose:
    """Where the marker of a goal (n, 3) stands, for an object that lies `rest` metres high."""
    flat = goal.new_tensor([math.sqrt(0.5), 0.0, math.sqrt(0.5), 0.0]).repeat(len(goal), 1)
    in_the_air = goal[:, 2:] > rest + _PAINTED_M
    return Pose(torch.cat([goal[:, :2], goal[:, 2:] * in_the_air + 1e-3], -1), flat)
