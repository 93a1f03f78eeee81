"""A SAPIEN scene of a Panda at its table in a room, only to be looked at: what all who take pictures of it share."""

from __future__ import annotations

from typing import Any

import numpy as np
import sapien
from mani_skill import PACKAGE_ASSET_DIR

from contract.poses import Pose
from sim_training.backends.rendering import render_device

_ROBOT = f"{PACKAGE_ASSET_DIR}/robots/panda/panda_v2.urdf"
_NEAR_M, _FAR_M = 0.05, 8.0
# Optical frames look along z with y down, SAPIEN's cameras along x with z up.
_R_OPTICAL_SAPIEN = np.array([[0.0, -1.0, 0.0], [0.0, 0.0, -1.0], [1.0, 0.0, 0.0]])
_T_OPTICAL_SAPIEN = Pose.from_matrix(np.block([[_R_OPTICAL_SAPIEN, np.zeros((3, 1))], [np.zeros((1, 3)), np.eye(1)]]))
# SAPIEN's cylinders lie along x; the ones on the table stand.
_UPRIGHT = Pose(np.zeros(3), np.array([np.sqrt(0.5), 0.0, np.sqrt(0.5), 0.0]))
_LAMP_AIM_M, _LAMP_DISTANCE_M = np.array([0.5, 0.0, 0.1]), 1.0

Rgb = tuple[float, float, float]


def sapien_pose(pose: Pose) -> sapien.Pose:
    """The same as SAPIEN has it."""
    return sapien.Pose(pose.position, pose.quaternion)


def at(x: float, y: float, z: float) -> Pose:
    """There, unturned. Units: m"""
    return Pose(np.array([x, y, z]), np.array([1.0, 0.0, 0.0, 0.0]))


def lamp_pose(direction: Rgb) -> Pose:
    """Of a lamp that shines that way, so near that the walls, which are behind it, cast no shadow on the table."""
    forward = np.array(direction) / np.linalg.norm(direction)
    left = np.cross([0.0, 0.0, 1.0], forward) + [0.0, 1e-6, 0.0]
    left /= np.linalg.norm(left)
    T = np.eye(4)
    T[:3, :3] = np.stack([forward, left, np.cross(forward, left)], axis=1)
    T[:3, 3] = _LAMP_AIM_M - _LAMP_DISTANCE_M * forward
    return Pose.from_matrix(T)


class Stage:
    """Robot, table, floor and two walls; who inherits adds lamps, things and looks."""

    def __init__(self, width: int, height: int) -> None:
        """width, height: of the pictures, pixels."""
        self.scene = sapien.Scene([sapien.physx.PhysxCpuSystem(), sapien.render.RenderSystem(render_device())])
        loader = self.scene.create_urdf_loader()
        loader.fix_root_link = True
        self.robot = loader.load(_ROBOT)
        self.table, self.floor, self.wall = (self.material((1.0, 1.0, 1.0)) for _ in range(3))
        self.add([("box", (0.65, 0.75, 0.02), self.table)], at(0.35, 0.0, -0.0201))
        self.add([("box", (6.0, 6.0, 0.02), self.floor)], at(0.0, 0.0, -0.77))
        self.add([("box", (0.02, 4.0, 3.0), self.wall)], at(-1.12, 0.0, 1.0))
        self.add([("box", (4.0, 0.02, 3.0), self.wall)], at(0.0, -2.02, 1.0))
        self.camera = self.scene.add_camera("camera", width, height, 1.0, _NEAR_M, _FAR_M)

    def material(self, rgb: Rgb) -> sapien.render.RenderMaterial:
        """Of one colour."""
        return sapien.render.RenderMaterial(base_color=[*rgb, 1.0])

    def add(self, parts: list[tuple[str, Any, sapien.render.RenderMaterial]], pose: Pose) -> sapien.Entity:
        """An entity of shapes in a row along its x axis."""
        body, count = sapien.render.RenderBodyComponent(), len(parts)
        for i, (kind, size, material) in enumerate(parts):
            if kind == "box":
                shape: Any = sapien.render.RenderShapeBox(np.array(size, np.float32), material)
                shape.local_pose = sapien_pose(at((2 * i + 1 - count) * size[0], 0.0, 0.0))
            elif kind == "ball":
                shape = sapien.render.RenderShapeSphere(size[0], material)
            else:
                shape = sapien.render.RenderShapeCylinder(size[0], size[1], material)
                shape.local_pose = sapien_pose(_UPRIGHT)
            body.attach(shape)
        entity = sapien.Entity()
        entity.add_component(body)
        entity.set_pose(sapien_pose(pose))
        self.scene.add_entity(entity)
        return entity

    def look(self, T_base_camera: Pose, fovy_rad: float) -> np.ndarray:
        """What a camera sees there (optical frame). Shape: (H, W, 3) uint8"""
        self.camera.set_fovy(fovy_rad, compute_x=True)
        self.camera.entity.set_pose(sapien_pose(T_base_camera @ _T_OPTICAL_SAPIEN))
        self.scene.update_render()
        self.camera.take_picture()
        return np.clip(255 * self.camera.get_picture("Color")[..., :3], 0, 255).astype(np.uint8)
