"""Where each number of the packed states of all sub-scenes lies, and which row of the batched buffers it goes to.

`PhysxCpuSystem.pack()` writes float32s: for every rigid dynamic body q(wxyz), p, v, w; then for every articulation its
root's q, p, v, w, then qpos, qvel, then (target, target velocity) per joint. The batched buffers hold p, q, v, w.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from sapien import physx

BODY_FLOATS = 13
_PACKED_TO_BUFFER = np.array([4, 5, 6, 0, 1, 2, 3, 7, 8, 9, 10, 11, 12])  # (q, p, v, w) -> (p, q, v, w)


@dataclass
class Layout:
    """Rows of the batched buffers, and flat positions in the concatenated packed states.

    Shapes: B bodies (rigid dynamics and every articulation link), R of them decoded from the packed state (rigid
    dynamics and articulation roots), A articulations, D largest number of joints.

    decoded_rows: (R,) body rows. decoded_from: (R, 13) flat positions.
    dynamic_rows: (M,) body rows of the rigid dynamics, `dynamics` are their components, in the same order.
    root_rows: (A,) body rows of the articulation roots.
    qpos_from, qvel_from, target_from, target_velocity_from: (A, D) flat positions. padding: (A, D) absent joints.
    scene_of_dynamic, scene_of_articulation, scene_of_row: sub-scene indices.
    """

    dynamics: list[physx.PhysxRigidDynamicComponent] = field(default_factory=list)
    articulations: list[physx.PhysxArticulation] = field(default_factory=list)
    bodies: list[physx.PhysxRigidBodyComponent] = field(default_factory=list)
    row_of_body: dict[physx.PhysxRigidBodyComponent, int] = field(default_factory=dict)
    index_of_articulation: dict[physx.PhysxArticulation, int] = field(default_factory=dict)
    decoded_rows: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    decoded_from: np.ndarray = field(default_factory=lambda: np.zeros((0, BODY_FLOATS), np.int64))
    dynamic_rows: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    root_rows: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    scene_of_dynamic: list[int] = field(default_factory=list)
    scene_of_articulation: list[int] = field(default_factory=list)
    scene_of_row: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    qpos_from: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), np.int64))
    qvel_from: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), np.int64))
    target_from: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), np.int64))
    target_velocity_from: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), np.int64))
    padding: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), bool))


def build_layout(systems: list[physx.PhysxCpuSystem]) -> Layout:
    """Walks every sub-scene once, in the order `pack()` does."""
    layout = Layout()
    scene_of_row: list[int] = []
    decoded: list[tuple[int, int]] = []
    joints_from: list[tuple[int, int]] = []  # (flat position of qpos[0], dof)
    roots: list[int] = []
    offset = 0

    def add_body(body: physx.PhysxRigidBodyComponent, scene: int) -> int:
        layout.row_of_body[body] = len(layout.bodies)
        layout.bodies.append(body)
        scene_of_row.append(scene)
        return len(layout.bodies) - 1

    for scene, system in enumerate(systems):
        for body in system.rigid_dynamic_components:
            decoded.append((add_body(body, scene), offset))
            layout.dynamics.append(body)
            layout.scene_of_dynamic.append(scene)
            offset += BODY_FLOATS
        for root in (link for link in system.articulation_link_components if link.is_root):
            articulation = root.articulation
            layout.index_of_articulation[articulation] = len(layout.articulations)
            layout.articulations.append(articulation)
            layout.scene_of_articulation.append(scene)
            for link in articulation.links:
                add_body(link, scene)
            roots.append(layout.row_of_body[root])
            decoded.append((roots[-1], offset))
            joints_from.append((offset + BODY_FLOATS, articulation.dof))
            offset += BODY_FLOATS + 4 * articulation.dof

    rows_and_offsets = np.array(decoded, np.int64).reshape(-1, 2)
    layout.decoded_rows = rows_and_offsets[:, 0]
    layout.decoded_from = rows_and_offsets[:, 1:] + _PACKED_TO_BUFFER
    layout.dynamic_rows = np.array([layout.row_of_body[body] for body in layout.dynamics], np.int64)
    layout.root_rows = np.array(roots, np.int64)
    layout.scene_of_row = np.array(scene_of_row, np.int64)
    _place_joints(layout, joints_from)
    return layout


def _place_joints(layout: Layout, joints_from: list[tuple[int, int]]) -> None:
    start = np.array([position for position, _ in joints_from], np.int64).reshape(-1, 1)
    dof = np.array([count for _, count in joints_from], np.int64).reshape(-1, 1)
    joint = np.arange(dof.max(initial=0))[None, :]
    layout.padding = joint >= dof

    def place(first: np.ndarray, stride: int) -> np.ndarray:
        return np.where(layout.padding, 0, first + stride * joint)

    layout.qpos_from = place(start, 1)
    layout.qvel_from = place(start + dof, 1)
    layout.target_from = place(start + 2 * dof, 2)
    layout.target_velocity_from = place(start + 2 * dof + 1, 2)
