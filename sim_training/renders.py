"""Labelled pictures of given arrangements with SAPIEN: other meshes, shading and shadows than MuJoCo's, same labels.

One scene is kept; per picture arm, materials, lights and camera change, and objects are exchanged.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import sapien

from contract.poses import Pose
from sim_training import vulkan
from sim_training.stage import Rgb, Stage, lamp_pose, sapien_pose

_TEXTURE_PX = 256


class Looks(Protocol):
    """Colours 0..1 and the lamp's direction in the base frame; `grain` 0 is a plain table."""

    @property
    def table_rgb(self) -> Rgb: ...
    @property
    def grain(self) -> float: ...
    @property
    def floor_rgb(self) -> Rgb: ...
    @property
    def wall_rgb(self) -> Rgb: ...
    @property
    def cube_rgb(self) -> Rgb: ...
    @property
    def peg_head_rgb(self) -> Rgb: ...
    @property
    def ambient(self) -> float: ...
    @property
    def key_rgb(self) -> Rgb: ...
    @property
    def key_direction(self) -> Rgb: ...


class Distractor(Protocol):
    """A box, ball or cylinder. size_m: half sides; radius; radius and half length."""

    @property
    def kind(self) -> str: ...
    @property
    def size_m(self) -> tuple[float, float, float]: ...
    @property
    def rgb(self) -> Rgb: ...
    @property
    def pose_base(self) -> Pose: ...


class Arrangement(Protocol):
    """What a picture shows, in the base frame; q_rad (7,), finger_width_m the opening, T_base_camera optical."""

    @property
    def q_rad(self) -> np.ndarray: ...
    @property
    def finger_width_m(self) -> float: ...
    @property
    def pose_base_object(self) -> Pose: ...
    @property
    def held(self) -> bool: ...
    @property
    def T_base_camera(self) -> Pose: ...
    @property
    def fovy_rad(self) -> float: ...
    @property
    def looks(self) -> Looks: ...
    @property
    def distractors(self) -> Sequence[Distractor]: ...


@dataclass(frozen=True)
class Sample:
    """One labelled picture.

    rgb: (H, W, 3) uint8. depth_m: along the optical axis, (H, W) float32. mask: the object as seen, (H, W) bool;
    all False when it is hidden or not there. K: (3, 3). held: the object is between the fingers.
    """

    rgb: np.ndarray
    depth_m: np.ndarray
    mask: np.ndarray
    pose_base_object: Pose
    T_base_camera: Pose
    K: np.ndarray
    held: bool


def _veined(rng: np.random.Generator, rgb: Rgb, grain: float) -> np.ndarray:
    """Texture of that mean colour with bent veins or spots. Shape: (P, P, 4) uint8"""
    across, along = np.meshgrid(*(np.linspace(0.0, 1.0, _TEXTURE_PX),) * 2)
    value = np.zeros_like(across)
    for _ in range(5):
        fx, fy, phase = rng.uniform(1, 30), rng.uniform(0, 6), rng.uniform(0, 2 * np.pi)
        value += np.sin(2 * np.pi * (fx * across + fy * along + 0.3 * value) + phase) / 3
    value += rng.uniform(0.0, 0.5) * rng.normal(size=value.shape)
    shade = 255 * (1.0 + 0.2 * grain * value)
    texture = np.dstack([part * shade for part in rgb] + [np.full_like(shade, 255)])
    return np.clip(texture, 0, 255).astype(np.uint8)


class _Stage(Stage):
    """Other materials, lamps and things in every picture."""

    def __init__(self, rng: np.random.Generator, half_size_m: Sequence[float], width: int, height: int) -> None:
        self._rng, self._half_size_m = rng, np.array(half_size_m)
        super().__init__(width, height)
        # Two lamps in one place: how much of the light is the first one's is how deep the shadows are.
        self._lamps = [
            self.scene.add_directional_light(
                [0, 0, -1], [1, 1, 1], shadow, shadow_scale=1.6, shadow_near=0.01, shadow_far=3.0
            )
            for shadow in (True, False)
        ]
        self._shown: list[sapien.Entity] = []

    def material(self, rgb: Rgb) -> sapien.render.RenderMaterial:
        """Of one colour, as rough and shiny as it happens to be."""
        rough = float(self._rng.uniform(0.3, 1.0))
        return sapien.render.RenderMaterial(
            base_color=[*rgb, 1.0], roughness=rough, specular=float(self._rng.uniform())
        )

    def _dress(self, looks: Looks) -> None:
        self.table.roughness = float(self._rng.uniform(0.3, 1.0))
        veined = _veined(self._rng, looks.table_rgb, looks.grain)
        self.table.base_color_texture = sapien.render.RenderTexture2D(veined, "R8G8B8A8Unorm", srgb=True)
        self.floor.base_color, self.wall.base_color = [*looks.floor_rgb, 1.0], [*looks.wall_rgb, 1.0]
        lamp_at = sapien_pose(lamp_pose(looks.key_direction))
        brightness, deep = self._rng.uniform(1.5, 3.0), self._rng.uniform()
        for lamp, share in zip(self._lamps, (deep, 1.0 - deep), strict=True):
            lamp.entity.set_pose(lamp_at)
            lamp.color = [float(brightness * share * part) for part in looks.key_rgb]
        self.scene.set_ambient_light([looks.ambient] * 3)

    def _place(self, shown: Arrangement) -> sapien.Entity:
        """Exchanges object and distractors; returns the object."""
        for entity in self._shown:
            entity.remove_from_scene()
        half, count = self._half_size_m.copy(), 1
        if half[0] > 2 * half[1]:
            half[0], count = half[0] / 2, 2
        rgbs = (shown.looks.cube_rgb, shown.looks.peg_head_rgb)[:count]
        thing = self.add([("box", half, self.material(rgb)) for rgb in rgbs], shown.pose_base_object)
        beside = [self.add([(d.kind, d.size_m, self.material(d.rgb))], d.pose_base) for d in shown.distractors]
        self._shown = [thing, *beside]
        return thing

    def take(self, shown: Arrangement) -> Sample:
        """The picture of one arrangement."""
        self.robot.set_qpos(np.array([*shown.q_rad, *(shown.finger_width_m / 2,) * 2], np.float32))
        thing = self._place(shown)
        self._dress(shown.looks)
        rgb = self.look(shown.T_base_camera, shown.fovy_rad)
        # OpenGL's axes: -z is forward; 0 where there is nothing.
        depth_m = -self.camera.get_picture("Position")[..., 2].astype(np.float32)
        mask = self.camera.get_picture("Segmentation")[..., 1] == thing.per_scene_id
        height, width = mask.shape
        f = 0.5 * height / np.tan(0.5 * shown.fovy_rad)
        K = np.array([[f, 0.0, 0.5 * (width - 1)], [0.0, f, 0.5 * (height - 1)], [0.0, 0.0, 1.0]])
        return Sample(rgb, depth_m, mask, shown.pose_base_object, shown.T_base_camera, K, shown.held)


def render_samples(
    arrangements: Iterable[Arrangement], half_size_m: Sequence[float], seed: int, width: int, height: int
) -> Iterator[Sample]:
    """A labelled picture of each arrangement. Raises vulkan.NoVulkanDevice.

    half_size_m: of the object; a long one has two colours, its tail's (negative x) and its head's.
    """
    vulkan.usable_devices()
    stage = _Stage(np.random.default_rng(seed), half_size_m, width, height)
    for shown in arrangements:
        yield stage.take(shown)
