"""Contact impulses of the last simulation step, asked for as ManiSkill asks its GPU system."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import torch
from sapien import physx

# How far apart bounding spheres may be and still be asked for contacts: twice the default contact offset (0.02 m)
# plus what a body at 1 m/s travels in one 10 ms step.
REACH_MARGIN = 0.05

Body: TypeAlias = physx.PhysxRigidBaseComponent
ContactTable: TypeAlias = dict[tuple[Body, Body], list[tuple[physx.PhysxContact, float]]]
"""What the second body does to the first: contacts of one sub-scene, and the sign to give their impulses."""


class TensorView:
    """Hands out a tensor under the name ManiSkill expects of a CUDA array."""

    def __init__(self, tensor: torch.Tensor):
        self._tensor = tensor

    def torch(self) -> torch.Tensor:
        return self._tensor


class ImpulseQuery:
    """The answer buffer of one kind of question. Shape of `cuda_impulses`: (number of questions, 3)"""

    def __init__(self, count: int):
        self.impulses = np.zeros((count, 3), np.float32)
        self.cuda_impulses = TensorView(torch.from_numpy(self.impulses))


class PairQuery(ImpulseQuery):
    """Impulses between pairs of bodies that share a sub-scene."""

    def __init__(self, pairs: list[tuple[Body, Body]], row_of_body: dict, scene_of_row: np.ndarray):
        super().__init__(len(pairs))
        self._pairs = pairs
        rows = [[row_of_body.get(body, -1) for body in pair] for pair in pairs]
        self._rows = np.array(rows, np.int64).reshape(-1, 2)
        self._scenes = [int(scene_of_row[row[0] if row[0] >= 0 else row[1]]) for row in rows]
        radius = [
            [_bounding_radius(body) if row >= 0 else np.inf for body, row in zip(*both, strict=True)]
            for both in zip(pairs, rows, strict=True)
        ]
        self._reach = np.array(radius, np.float32).reshape(-1, 2).sum(axis=1) + REACH_MARGIN

    def answer(self, positions: Callable[[np.ndarray], np.ndarray], table: Callable[[int], ContactTable]) -> None:
        """positions: body rows -> (n, 3) metres. table: sub-scene -> its contacts."""
        self.impulses[:] = 0
        apart = positions(self._rows[:, 0]) - positions(self._rows[:, 1])
        near = np.einsum("ij,ij->i", apart, apart) <= self._reach**2
        for i in np.flatnonzero(near).tolist():
            self.impulses[i] = impulse(table(self._scenes[i]).get(self._pairs[i], []))


class BodyQuery(ImpulseQuery):
    """Net impulse on single bodies."""

    def __init__(self, bodies: list[Body], row_of_body: dict, scene_of_row: np.ndarray):
        super().__init__(len(bodies))
        self._bodies = bodies
        self._scenes = [int(scene_of_row[row_of_body[body]]) for body in bodies]

    def answer(self, table: Callable[[int], ContactTable]) -> None:
        self.impulses[:] = 0
        for i, (body, scene) in enumerate(zip(self._bodies, self._scenes, strict=True)):
            for (first, _), contacts in table(scene).items():
                if first is body:
                    self.impulses[i] += impulse(contacts)


def tabulate(contacts: list[physx.PhysxContact]) -> ContactTable:
    """Contacts by pair, in both directions. Points are read only when somebody asks for the pair's impulse."""
    table: ContactTable = {}
    for contact in contacts:
        first, second = contact.bodies
        table.setdefault((first, second), []).append((contact, 1.0))
        table.setdefault((second, first), []).append((contact, -1.0))
    return table


def impulse(contacts: list[tuple[physx.PhysxContact, float]]) -> np.ndarray:
    """Sum over all points of all contacts of a pair. Shape: (3,) newton seconds"""
    total = np.zeros(3, np.float32)
    for contact, sign in contacts:
        for point in contact.points:
            total += sign * point.impulse
    return total


def _bounding_radius(body: Body) -> float:
    """Radius about the body's own origin that holds all its shapes, metres. Infinite for planes and unknown shapes."""
    return max((_shape_radius(shape) for shape in body.collision_shapes), default=0.0)


def _shape_radius(shape: physx.PhysxCollisionShape) -> float:
    offset = float(np.linalg.norm(shape.local_pose.p))
    if isinstance(shape, physx.PhysxCollisionShapeBox):
        return offset + float(np.linalg.norm(shape.half_size))
    if isinstance(shape, physx.PhysxCollisionShapeSphere):
        return offset + float(shape.radius)
    if isinstance(shape, (physx.PhysxCollisionShapeCapsule, physx.PhysxCollisionShapeCylinder)):
        return offset + float(shape.half_length + shape.radius)
    if isinstance(shape, (physx.PhysxCollisionShapeConvexMesh, physx.PhysxCollisionShapeTriangleMesh)):
        return offset + float(np.linalg.norm(shape.vertices * shape.scale, axis=1).max())
    return float("inf")
