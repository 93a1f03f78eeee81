"""Link poses and Jacobians by batched forward kinematics: the packed state holds joint positions, not links.

Reading 15 links of each of 64 robots from PhysX would cost about 4 us each; the chain to the few links a task looks at
costs a handful of vectorised numpy operations for all robots together. Positions and quaternions (wxyz) are kept one
component per row, (3, N) and (4, N), so that every operation runs over contiguous memory.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from sapien import Pose, physx

# Anchors computed from a URDF in single precision carry noise of this size where they mean zero.
_NO_OFFSET_M = 1e-7

_Frames = tuple[np.ndarray, np.ndarray]
"""N positions, (3, N), and quaternions, (4, N)."""


@dataclass(frozen=True)
class _Link:
    """One link, and the joint that carries it.

    joint: index in qpos, or -1 for a fixed joint. hop: from the parent's joint frame to this one's, at joint position
    zero. to_link: from the joint frame to the link.
    """

    parent: int
    joint: int
    revolute: bool
    hop: Pose
    to_link: Pose


class LinkChains:
    """Poses of the links of identical articulations, computed on demand and remembered until `forget`.

    articulations: (G,) indices of the articulations. first_rows: (G,) body row of each one's link 0.
    """

    def __init__(self, template: physx.PhysxArticulation, articulations: list[int], first_rows: list[int]):
        self._links = describe(template)
        self._articulations = np.array(articulations)
        self.first_rows = first_rows
        self._rows = np.array(first_rows)
        self.forget()

    def __len__(self) -> int:
        return len(self._links)

    def forget(self) -> None:
        """To be called whenever joint positions or root poses may have changed."""
        self._frames: dict[int, _Frames] = {}
        self._written: set[int] = set()
        self._turns: tuple[np.ndarray, np.ndarray] | None = None

    def update(self, link: int, bodies: np.ndarray, qpos: np.ndarray) -> None:
        """Writes the pose of one link that is not the root. Shapes: bodies (B, 13), qpos (A, D)"""
        if link in self._written or self._links[link].parent < 0:
            return
        self._written.add(link)
        position, rotation = _then(self._frame(link, bodies, qpos), self._links[link].to_link)
        rows = self._rows + link
        bodies[rows, :3] = position.T
        bodies[rows, 3:7] = (rotation / np.sqrt(np.einsum("in,in->n", rotation, rotation))).T

    def _frame(self, link: int, bodies: np.ndarray, qpos: np.ndarray) -> _Frames:
        """The joint frame of a link, in the world."""
        if link not in self._frames:
            entry = self._links[link]
            if entry.parent < 0:
                root = bodies[self._rows + link, :7].T
                self._frames[link] = np.ascontiguousarray(root[:3]), np.ascontiguousarray(root[3:])
            else:
                if self._turns is None:
                    self._turns = half_turns(qpos[self._articulations].T)
                frame = _then(self._frame(entry.parent, bodies, qpos), entry.hop)
                self._frames[link] = _move(frame, entry, qpos[self._articulations, entry.joint], self._turns)
        return self._frames[link]


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


class Jacobian:
    """Geometric Jacobian of one link in the articulation's base frame, linear rows first."""

    def __init__(self, articulation: physx.PhysxArticulation, end_link: int):
        links = describe(articulation)
        chain, link = [], end_link
        while links[link].parent >= 0:
            chain.append(links[link])
            link = links[link].parent
        self._chain = chain[::-1]

    def __call__(self, qpos: np.ndarray) -> np.ndarray:
        """Shapes: qpos (N, active joints on the way to the link, base first), result (N, 6, that many)"""
        n = len(qpos)
        turns = half_turns(qpos.T)
        frame: _Frames = (np.zeros((3, n), np.float32), np.zeros((4, n), np.float32))
        frame[1][0] = 1
        origins: list[np.ndarray] = []
        axes: list[np.ndarray] = []
        revolute: list[bool] = []
        for entry in self._chain:
            frame = _then(frame, entry.hop)
            if entry.joint >= 0:
                column = len(axes)
                origins.append(frame[0])
                axes.append(_column(frame[1], 0))
                revolute.append(entry.revolute)
                on_the_way = _Link(entry.parent, column, entry.revolute, entry.hop, entry.to_link)
                frame = _move(frame, on_the_way, qpos[:, column], turns)
        end, _ = _then(frame, self._chain[-1].to_link)
        axis, lever = np.stack(axes), end - np.stack(origins)  # (J, 3, N)
        turning = np.array(revolute, np.float32)[:, None, None]
        linear = turning * np.cross(axis, lever, axis=1) + (1 - turning) * axis
        return np.ascontiguousarray(np.concatenate([linear, turning * axis], axis=1).transpose(2, 1, 0))


def describe(articulation: physx.PhysxArticulation) -> list[_Link]:
    """The kinematic tree, in the order of `articulation.links`."""
    order = {link: i for i, link in enumerate(articulation.links)}
    active = {joint.name: i for i, joint in enumerate(articulation.active_joints)}
    described: list[_Link] = []
    for link in articulation.links:
        joint = link.joint
        if link.parent is None:
            described.append(_Link(-1, -1, False, Pose(), Pose()))
            continue
        parent = order[link.parent]
        hop = described[parent].to_link * joint.pose_in_parent
        index = active[joint.name] if joint.dof else -1
        described.append(_Link(parent, index, joint.type.startswith("revolute"), hop, joint.pose_in_child.inv()))
    return described


def half_turns(qpos: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """cos and sin of half of every joint position, as PhysX signs them: in the half of quaternions with w >= 0."""
    half = qpos * np.float32(0.5)
    c, s = np.cos(half), np.sin(half)
    sign = np.where(c < 0, np.float32(-1), np.float32(1))
    return c * sign, s * sign


def _move(frame: _Frames, link: _Link, q: np.ndarray, turns: tuple[np.ndarray, np.ndarray]) -> _Frames:
    """A joint frame moved by its joint: joints turn about, or slide along, x."""
    position, rotation = frame
    if link.joint < 0:
        return frame
    if not link.revolute:
        return position + q * _column(rotation, 0), rotation
    c, s = turns[0][link.joint], turns[1][link.joint]
    turned = rotation * c
    turned[0] -= rotation[1] * s
    turned[1] += rotation[0] * s
    turned[2] += rotation[3] * s
    turned[3] -= rotation[2] * s
    return position, turned


def _then(frame: _Frames, offset: Pose) -> _Frames:
    """N frames times one constant pose."""
    position, rotation = frame
    for axis, distance in enumerate(offset.p.tolist()):
        if abs(distance) > _NO_OFFSET_M:
            position = position + np.float32(distance) * _column(rotation, axis)
    w, x, y, z = offset.q.tolist()
    right = np.array([[w, -x, -y, -z], [x, w, z, -y], [y, -z, w, x], [z, y, -x, w]], np.float32)
    return position, right @ rotation


def _column(q: np.ndarray, axis: int) -> np.ndarray:
    """One column of the rotation matrices: where an axis points. Shapes: q (4, N), result (3, N)"""
    i, j, k = axis, (axis + 1) % 3, (axis + 2) % 3
    twice = 2 * q
    w, along, left, up = twice[0], q[1 + i], q[1 + j], q[1 + k]
    column = np.empty((3, q.shape[1]), np.float32)
    column[i] = 1 - left * twice[1 + j] - up * twice[1 + k]
    column[j] = along * twice[1 + j] + up * w
    column[k] = along * twice[1 + k] - left * w
    return column
