"""Link poses by batched forward kinematics: the packed state holds joint positions, not links.

Reading 15 links of each of 64 robots from PhysX would cost about 4 us each; the chain to the few links a task looks at
costs a handful of vectorised numpy operations for all robots together.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from sapien import Pose as SapienPose
from sapien import physx


@dataclass(frozen=True)
class _Link:
    parent: int
    joint: int  # index in qpos, or -1 for a fixed joint
    revolute: bool
    parent_anchor: SapienPose
    child_anchor_inverse: SapienPose


class LinkChains:
    """Poses of the links of identical articulations, computed on demand and remembered until `forget`.

    articulations: (G,) indices of the articulations. first_rows: (G,) body row of each one's link 0.
    """

    def __init__(self, template: physx.PhysxArticulation, articulations: list[int], first_rows: list[int]):
        self._links = _describe(template)
        self._root = next(i for i, link in enumerate(self._links) if link.parent < 0)
        self._articulations = np.array(articulations)
        self.first_rows = first_rows
        self._rows = np.array(first_rows)
        self._fresh = [False] * len(self._links)

    def __len__(self) -> int:
        return len(self._links)

    def forget(self) -> None:
        """To be called whenever joint positions or root poses may have changed."""
        self._fresh = [False] * len(self._links)

    def update(self, link: int, bodies: np.ndarray, qpos: np.ndarray) -> None:
        """Writes the pose of one link, and of those it hangs on. Shapes: bodies (B, 13), qpos (A, D)"""
        if link == self._root or self._fresh[link]:
            return
        entry = self._links[link]
        self.update(entry.parent, bodies, qpos)
        parent = bodies[self._rows + entry.parent, :7]
        position, rotation = parent[:, :3], parent[:, 3:]
        position, rotation = _compose_constant(position, rotation, entry.parent_anchor)
        if entry.joint >= 0:
            q = qpos[self._articulations, entry.joint]
            if entry.revolute:
                rotation = _rotate_about_x(rotation, q)
            else:
                position = position + _rotate(rotation, _along_x(q))
        position, rotation = _compose_constant(position, rotation, entry.child_anchor_inverse)
        rows = self._rows + link
        bodies[rows, :3] = position
        bodies[rows, 3:7] = rotation / np.linalg.norm(rotation, axis=1, keepdims=True)
        self._fresh[link] = True


def group_chains(articulations: list[physx.PhysxArticulation], first_rows: list[int]) -> list[LinkChains]:
    """One LinkChains per kind of articulation (same tree, joints and anchors)."""
    kinds: dict[str, list[int]] = {}
    for index, articulation in enumerate(articulations):
        signature = "|".join(
            f"{link.parent.index if link.parent else -1} {joint.type} {joint.pose_in_parent} {joint.pose_in_child}"
            for link, joint in zip(articulation.links, articulation.joints, strict=True)
        )
        kinds.setdefault(signature, []).append(index)
    return [
        LinkChains(articulations[members[0]], members, [first_rows[i] for i in members]) for members in kinds.values()
    ]


def _describe(articulation: physx.PhysxArticulation) -> list[_Link]:
    links = articulation.links
    order = {link: i for i, link in enumerate(links)}
    active = {joint.name: i for i, joint in enumerate(articulation.active_joints)}
    described = []
    for link in links:
        joint = link.joint
        described.append(
            _Link(
                parent=order[link.parent] if link.parent is not None else -1,
                joint=active[joint.name] if joint.dof else -1,
                revolute=joint.type.startswith("revolute"),
                parent_anchor=joint.pose_in_parent,
                child_anchor_inverse=joint.pose_in_child.inv(),
            )
        )
    return described


def _compose_constant(p: np.ndarray, q: np.ndarray, offset: SapienPose) -> tuple[np.ndarray, np.ndarray]:
    """(p, q) times a constant pose. Shapes: p (N, 3), q (N, 4) wxyz."""
    x, y, z = (float(v) for v in offset.p)
    if abs(x) + abs(y) + abs(z) > 0:
        p = p + _rotate(q, np.broadcast_to(np.array([x, y, z], np.float32), p.shape))
    w, i, j, k = (float(v) for v in offset.q)
    right = np.array([[w, i, j, k], [-i, w, -k, j], [-j, k, w, -i], [-k, -j, i, w]], np.float32)
    return p, q @ right


def _rotate_about_x(q: np.ndarray, angle: np.ndarray) -> np.ndarray:
    """q times a rotation about x. PhysX keeps the joint's quaternion in the half with w >= 0, so that signs match."""
    half = (angle * np.float32(0.5)).astype(np.float32)
    c, s = np.cos(half), np.sin(half)
    flip = np.where(c < 0, np.float32(-1), np.float32(1))
    c, s = c * flip, s * flip
    w, x, y, z = q.T
    return np.stack([w * c - x * s, x * c + w * s, y * c + z * s, z * c - y * s], axis=1)


def _along_x(distance: np.ndarray) -> np.ndarray:
    v = np.zeros((len(distance), 3), np.float32)
    v[:, 0] = distance
    return v


def _rotate(q: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Vectors turned by unit quaternions. Shapes: q (N, 4) wxyz, v (N, 3)."""
    w, x, y, z = q.T
    a, b, c = v.T
    tx, ty, tz = 2 * (y * c - z * b), 2 * (z * a - x * c), 2 * (x * b - y * a)
    return np.stack([a + w * tx + y * tz - z * ty, b + w * ty + z * tx - x * tz, c + w * tz + x * ty - y * tx], axis=1)
