"""Small pictures of the simulated cell from its cameras, for policies that see: drawn from states, as many as it takes.

One scene draws for all environments, without shadows and with a coarser arm: 8 ms for a pair of 128 px pictures on one
core where SAPIEN's defaults take 200 with Mesa's software Vulkan.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import sapien

from contract.poses import Pose
from sim_training import vulkan
from sim_training.stage import Rgb, Stage, at, lamp_pose, sapien_pose

SIDE_PX = 128
"""Of RLDG's pictures, and of an episode's."""

_COARSE_M, _COARSE_HAND_M = 0.015, 0.004
"""Vertices nearer to each other than about this are merged."""

_LAMP, _AMBIENT = (1.2, 1.2, 1.2), (0.5, 0.5, 0.5)
_LAMP_DIRECTION = (-0.5, 0.4, -1.0)


@dataclass(frozen=True)
class View:
    """A camera. T: where it is, optical frame; in the tool's frame if it is `on_tool`, else in the base's."""

    T: Pose
    fovy_rad: float
    on_tool: bool = False


@dataclass(frozen=True)
class Look:
    """Colours, 0..1."""

    object_rgb: Rgb = (0.80, 0.12, 0.10)
    table_rgb: Rgb = (0.62, 0.52, 0.41)
    floor_rgb: Rgb = (0.42, 0.43, 0.45)
    wall_rgb: Rgb = (0.78, 0.78, 0.76)


@dataclass(frozen=True)
class Shown:
    """What stands where. qpos: seven joints and two fingers, rad and m (9,). half_size_m: of the object."""

    qpos: np.ndarray
    pose_base_tcp: Pose
    pose_base_object: Pose
    half_size_m: tuple[float, float, float]


class Painter(Stage):
    """Draws what stands before it, from every camera. Raises vulkan.NoVulkanDevice."""

    def __init__(self, views: dict[str, View], look: Look) -> None:
        vulkan.usable_devices()
        before = sapien.render.get_camera_shader_dir()
        sapien.render.set_camera_shader_dir("minimal")
        try:
            super().__init__(SIDE_PX, SIDE_PX)
        finally:
            sapien.render.set_camera_shader_dir(before)
        self.views, self._look = views, look
        for link in self.robot.links:
            _coarsen(link.entity, _COARSE_HAND_M if "hand" in link.name or "finger" in link.name else _COARSE_M)
        for material, rgb in zip(
            (self.table, self.floor, self.wall), (look.table_rgb, look.floor_rgb, look.wall_rgb), strict=True
        ):
            material.base_color = [*rgb, 1.0]
        lamp = self.scene.add_directional_light([0, 0, -1], _LAMP, False)
        lamp.entity.set_pose(sapien_pose(lamp_pose(_LAMP_DIRECTION)))
        self.scene.set_ambient_light(_AMBIENT)
        self._objects: dict[tuple[float, float, float], sapien.Entity] = {}

    def draw(self, shown: Shown) -> dict[str, np.ndarray]:
        """One picture from each camera. Shape: (SIDE_PX, SIDE_PX, 3) uint8 RGB"""
        self.robot.set_qpos(np.asarray(shown.qpos, np.float32))
        self._object(shown.half_size_m).set_pose(sapien_pose(shown.pose_base_object))
        pictures = {}
        for name, view in self.views.items():
            T_base_camera = shown.pose_base_tcp @ view.T if view.on_tool else view.T
            pictures[name] = self.look(T_base_camera, view.fovy_rad)
        return pictures

    def _object(self, half_size: tuple[float, float, float]) -> sapien.Entity:
        """The object of that size, made at first use; the others are put away below the floor."""
        if half_size not in self._objects:
            self._objects[half_size] = self.add([("box", half_size, self.material(self._look.object_rgb))], _AWAY)
        for entity in self._objects.values():
            entity.set_pose(sapien_pose(_AWAY))
        return self._objects[half_size]


_AWAY = at(0.0, 0.0, -5.0)


def _coarsen(entity: sapien.Entity, cell_m: float) -> None:
    """Merge vertices that share a cell of a grid and drop the triangles that vanish."""
    old = entity.find_component_by_type(sapien.render.RenderBodyComponent)
    if old is None:
        return
    body = sapien.render.RenderBodyComponent()
    for shape in old.render_shapes:
        for part in shape.parts:
            cells = np.floor(part.vertices / cell_m).astype(np.int64)
            _, merged = np.unique(cells, axis=0, return_inverse=True)
            merged = merged.reshape(-1)
            vertices = _sums(part.vertices, merged) / np.bincount(merged)[:, None]
            triangles = merged[part.triangles.astype(np.int64)]
            triangles = triangles[(triangles != np.roll(triangles, 1, axis=1)).all(axis=1)]
            if len(triangles) == 0:
                continue
            a, b, c = (vertices[triangles[:, corner]] for corner in range(3))
            normals = sum(_sums(np.cross(b - a, c - a), triangles[:, i], len(vertices)) for i in range(3))
            normals /= np.linalg.norm(normals, axis=1, keepdims=True) + 1e-12
            flat = np.zeros((len(vertices), 2), np.float32)
            mesh = sapien.render.RenderShapeTriangleMesh(
                vertices.astype(np.float32),
                triangles.astype(np.uint32),
                normals.astype(np.float32),
                flat,
                part.material,
            )
            mesh.local_pose = shape.local_pose
            body.attach(mesh)
    entity.remove_component(old)
    entity.add_component(body)


def _sums(rows: np.ndarray, group: np.ndarray, count: int | None = None) -> np.ndarray:
    """Sum of the rows of each group. Shapes: (n, 3), (n,) -> (groups, 3)"""
    total = np.zeros((count or int(group.max()) + 1, rows.shape[1]))
    np.add.at(total, group, rows)
    return total
