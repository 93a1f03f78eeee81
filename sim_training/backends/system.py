"""N PhysX CPU systems behind the surface ManiSkill expects of its one GPU system.

ManiSkill's tasks talk to the GPU system through flat buffers (`cuda_rigid_body_data`, `cuda_articulation_*`), which
they fill before a `gpu_apply_*` and read after a `gpu_fetch_*`. Here those buffers are torch CPU tensors. Steps are
counted and run scene by scene when somebody needs their result; one `pack()` per scene brings back everything; only
rows that changed are written. Shapes below: B bodies, A articulations, D largest number of joints.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import sapien
import torch
from sapien import physx
from torch import Size, Tensor

from sim_training.backends.contacts import BodyQuery, ContactTable, PairQuery, TensorView, tabulate
from sim_training.backends.layout import BODY_FLOATS, build_layout
from sim_training.backends.links import group_chains

# A task reads links through a few cached index tensors; one-off index tensors must not pile up.
MAX_REMEMBERED_INDICES = 256

_Key = tuple[Any, Any]


class BodyBuffer:
    """The (B, 13) body buffer (p, q wxyz, linear and angular velocity). Links are computed when they are first read."""

    def __init__(self, system: CpuBatchSystem):
        self._system = system

    def torch(self) -> BodyBuffer:
        return self

    @property
    def shape(self) -> Size:
        return self._system.body_tensor.shape

    def __getitem__(self, key: _Key) -> Tensor:
        rows, columns = key if isinstance(key, tuple) else (key, slice(None))
        self._system.refresh_links(rows, velocities=_reaches_velocity(columns))
        return self._system.body_tensor[key]

    def __setitem__(self, key: _Key, value: Tensor | float) -> None:
        self._system.body_tensor[key] = value


class CpuBatchSystem:
    """Owns the sub-scenes' PhysX CPU systems and answers as `sapien.physx.PhysxGpuSystem` would."""

    def __init__(self, systems: list[physx.PhysxCpuSystem]):
        self._systems = systems
        self._pending_steps = 0
        self._stale = True

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        """ManiSkill asks `isinstance(px, PhysxGpuSystem)`."""
        return physx.PhysxGpuSystem

    # ---- what every PhysX system offers ----

    @property
    def timestep(self) -> float:
        return self._systems[0].timestep

    @timestep.setter
    def timestep(self, seconds: float) -> None:
        for system in self._systems:
            system.timestep = seconds

    @property
    def config(self) -> physx.PhysxSceneConfig:
        return self._systems[0].config

    @property
    def rigid_dynamic_components(self) -> list[physx.PhysxRigidDynamicComponent]:
        return [body for system in self._systems for body in system.rigid_dynamic_components]

    @property
    def rigid_static_components(self) -> list[physx.PhysxRigidStaticComponent]:
        return [body for system in self._systems for body in system.rigid_static_components]

    @property
    def articulation_link_components(self) -> list[physx.PhysxArticulationLinkComponent]:
        return [link for system in self._systems for link in system.articulation_link_components]

    def get_contacts(self) -> list[physx.PhysxContact]:
        """Contacts of the last step, of all sub-scenes."""
        self._run_pending_steps()
        return [contact for system in self._systems for contact in system.get_contacts()]

    def get_scene_offset(self, scene: sapien.Scene) -> np.ndarray:
        """Every sub-scene has a world of its own, so nothing is moved apart. Shape: (3,)"""
        return np.zeros(3, np.float32)

    def sync_poses_gpu_to_cpu(self) -> None:
        """Entities follow PhysX as soon as the counted steps have run."""
        self._run_pending_steps()

    def step(self) -> None:
        self._pending_steps += 1

    # ---- initialisation and indices ----

    def gpu_init(self) -> None:
        """Builds the buffers. Unlike on the GPU no step is taken."""
        layout = self._layout = build_layout(self._systems)
        count, shape = len(layout.bodies), layout.qpos_from.shape
        self._bodies = np.zeros((count, BODY_FLOATS), np.float32)
        self._bodies[:, 3] = 1
        self.body_tensor = torch.from_numpy(self._bodies)
        self._qpos, self._qvel, self._qf, self._target, self._target_velocity = (
            np.zeros(shape, np.float32) for _ in range(5)
        )
        self._force, self._torque = (np.zeros((count, 4), np.float32) for _ in range(2))
        first_rows = [layout.row_of_body[articulation.links[0]] for articulation in layout.articulations]
        self._chains = group_chains(layout.articulations, first_rows)
        self._chain_of_row: dict[int, tuple[int, int]] = {}
        for index, chain in enumerate(self._chains):
            for first in chain.first_rows:
                self._chain_of_row |= {first + link: (index, link) for link in range(len(chain))}
        self._links_asked: dict[int, tuple[Any, set[tuple[int, int]]]] = {}
        self._is_link = np.ones(count, bool)
        self._is_link[layout.dynamic_rows] = False
        self._kinematic = [body.kinematic for body in layout.dynamics]
        self._target_setters = [[j.set_drive_target for j in a.active_joints] for a in layout.articulations]
        self._target_velocity_setters = [
            [j.set_drive_velocity_target for j in a.active_joints] for a in layout.articulations
        ]
        self._packed: list[bytes] = [b""] * len(self._systems)
        self._tables: dict[int, ContactTable] = {}
        self._written = set(range(len(self._systems)))
        self._fetch()

    def pose_index(self, body: physx.PhysxRigidBodyComponent) -> int:
        """Row of a body in `cuda_rigid_body_data`."""
        return self._layout.row_of_body[body]

    def articulation_index(self, articulation: physx.PhysxArticulation) -> int:
        """Row of an articulation in the `cuda_articulation_*` buffers."""
        return self._layout.index_of_articulation[articulation]

    # ---- checkpoints ----

    def pack(self) -> list[bytes]:
        """One packed state per sub-scene, see `layout`."""
        self._fetch()
        return list(self._packed)

    def adopt(self, systems: list[physx.PhysxCpuSystem]) -> None:
        """Goes on with other PhysX systems that hold the very same bodies, added in the same order."""
        self._systems = systems
        self._pending_steps = 0
        self._tables.clear()
        self._written = set(range(len(systems)))
        self._fetch()

    # ---- buffers ----

    @property
    def cuda_rigid_body_data(self) -> BodyBuffer:
        return BodyBuffer(self)

    @property
    def cuda_articulation_qpos(self) -> TensorView:
        return TensorView(torch.from_numpy(self._qpos))

    @property
    def cuda_articulation_qvel(self) -> TensorView:
        return TensorView(torch.from_numpy(self._qvel))

    @property
    def cuda_articulation_qf(self) -> TensorView:
        return TensorView(torch.from_numpy(self._qf))

    @property
    def cuda_articulation_target_qpos(self) -> TensorView:
        return TensorView(torch.from_numpy(self._target))

    @property
    def cuda_articulation_target_qvel(self) -> TensorView:
        return TensorView(torch.from_numpy(self._target_velocity))

    @property
    def cuda_rigid_body_force(self) -> TensorView:
        return TensorView(torch.from_numpy(self._force))

    @property
    def cuda_rigid_body_torque(self) -> TensorView:
        return TensorView(torch.from_numpy(self._torque))

    @property
    def cuda_articulation_qacc(self) -> TensorView:
        """Read from PhysX on every call: the packed state does not hold it."""
        self._run_pending_steps()
        qacc = np.zeros_like(self._qpos)
        for row, articulation in zip(qacc, self._layout.articulations, strict=True):
            row[: articulation.dof] = articulation.qacc
        return TensorView(torch.from_numpy(qacc))

    @property
    def cuda_articulation_link_incoming_joint_forces(self) -> TensorView:
        """Shape: (A, largest number of links, 6). Read from PhysX on every call."""
        self._run_pending_steps()
        links = max(len(articulation.links) for articulation in self._layout.articulations)
        forces = np.zeros((len(self._layout.articulations), links, 6), np.float32)
        for row, articulation in zip(forces, self._layout.articulations, strict=True):
            row[: len(articulation.links)] = articulation.get_link_incoming_joint_forces()
        return TensorView(torch.from_numpy(forces))

    # ---- simulation to buffers ----

    def gpu_fetch_rigid_dynamic_data(self) -> None:
        self._fetch()

    gpu_fetch_articulation_link_pose = gpu_fetch_rigid_dynamic_data
    gpu_fetch_articulation_link_velocity = gpu_fetch_rigid_dynamic_data
    gpu_fetch_articulation_qpos = gpu_fetch_rigid_dynamic_data
    gpu_fetch_articulation_qvel = gpu_fetch_rigid_dynamic_data
    gpu_fetch_articulation_target_qpos = gpu_fetch_rigid_dynamic_data
    gpu_fetch_articulation_target_qvel = gpu_fetch_rigid_dynamic_data

    def gpu_fetch_articulation_qacc(self) -> None:
        """Nothing to do: `cuda_articulation_qacc` reads when asked."""

    gpu_fetch_articulation_link_incoming_joint_forces = gpu_fetch_articulation_qacc
    gpu_update_articulation_kinematics = gpu_fetch_articulation_qacc

    def _run_pending_steps(self) -> None:
        if not self._pending_steps:
            return
        steps = range(self._pending_steps)
        for index, system in enumerate(self._systems):
            step = system.step
            for _ in steps:
                step()
            self._packed[index] = system.pack()
        self._pending_steps = 0
        self._tables.clear()
        self._written.clear()
        self._stale = True

    def _fetch(self) -> None:
        self._run_pending_steps()
        for index in self._written:
            self._packed[index] = self._systems[index].pack()
            self._stale = True
        self._written.clear()
        if not self._stale:
            return
        self._stale = False
        layout = self._layout
        flat = np.frombuffer(b"".join(self._packed), np.float32)
        self._bodies[layout.decoded_rows] = flat[layout.decoded_from]
        for buffer, positions in (
            (self._qpos, layout.qpos_from),
            (self._qvel, layout.qvel_from),
            (self._target, layout.target_from),
            (self._target_velocity, layout.target_velocity_from),
        ):
            np.take(flat, positions, out=buffer)
            buffer[layout.padding] = 0
        self._in_physx = {
            "dynamic": self._bodies[layout.dynamic_rows],
            "root": self._bodies[layout.root_rows],
            "qpos": self._qpos.copy(),
            "qvel": self._qvel.copy(),
            "target": self._target.copy(),
            "target_velocity": self._target_velocity.copy(),
        }
        self._links_with_velocity: set[int] = set()
        for chain in self._chains:
            chain.forget()

    def refresh_links(self, rows: Any, velocities: bool) -> None:
        """Makes the asked rows of the body buffer hold the links' poses, and their velocities if wanted."""
        wanted = self._chain_links(rows)
        for chain, link in wanted:
            self._chains[chain].update(link, self._bodies, self._qpos)
        if velocities and wanted:
            self._read_link_velocities(rows)

    def _chain_links(self, rows: Any) -> set[tuple[int, int]]:
        """Which links of which kinds of articulation an index asks for. Remembered: tasks reuse their index tensors."""
        remembered = self._links_asked.get(id(rows))
        if remembered is not None and remembered[0] is rows:
            return remembered[1]
        asked = np.arange(len(self._bodies))[rows.numpy() if isinstance(rows, torch.Tensor) else rows]
        links = {self._chain_of_row[row] for row in np.atleast_1d(asked).tolist() if self._is_link[row]}
        if isinstance(rows, (torch.Tensor, np.ndarray)) and len(self._links_asked) < MAX_REMEMBERED_INDICES:
            self._links_asked[id(rows)] = (rows, links)
        return links

    def _read_link_velocities(self, rows: Any) -> None:
        asked = np.arange(len(self._bodies))[rows.numpy() if isinstance(rows, torch.Tensor) else rows]
        for row in np.atleast_1d(asked).tolist():
            if self._is_link[row] and row not in self._links_with_velocity:
                body = self._layout.bodies[row]
                self._bodies[row, 7:10] = body.linear_velocity
                self._bodies[row, 10:13] = body.angular_velocity
                self._links_with_velocity.add(row)

    # ---- buffers to simulation ----

    def gpu_apply_rigid_dynamic_data(self) -> None:
        layout, known = self._layout, self._in_physx["dynamic"]
        wanted = self._bodies[layout.dynamic_rows]
        changed = wanted != known
        if not changed.any():
            return
        self._run_pending_steps()
        moved, pushed = changed[:, :7].any(axis=1), changed[:, 7:].any(axis=1)
        for index in np.flatnonzero(moved | pushed).tolist():
            body, state = layout.dynamics[index], wanted[index]
            if moved[index]:
                body.entity.set_pose(sapien.Pose(state[:3], state[3:7]))
            if pushed[index] and not self._kinematic[index]:
                body.set_linear_velocity(state[7:10])
                body.set_angular_velocity(state[10:13])
            self._written.add(layout.scene_of_dynamic[index])
        self._in_physx["dynamic"] = wanted

    def gpu_apply_articulation_root_pose(self) -> None:
        self._apply_roots(slice(0, 7), lambda a, s: a.set_root_pose(sapien.Pose(s[:3], s[3:])))

    def gpu_apply_articulation_root_velocity(self) -> None:
        def push(articulation: physx.PhysxArticulation, velocity: np.ndarray) -> None:
            articulation.set_root_linear_velocity(velocity[:3])
            articulation.set_root_angular_velocity(velocity[3:])

        self._apply_roots(slice(7, 13), push)

    def gpu_apply_articulation_qpos(self) -> None:
        self._apply_joints("qpos", self._qpos, lambda a, q: a.set_qpos(q))

    def gpu_apply_articulation_qvel(self) -> None:
        self._apply_joints("qvel", self._qvel, lambda a, q: a.set_qvel(q))

    def gpu_apply_articulation_qf(self) -> None:
        """PhysX forgets joint forces after a step, so rows that are not zero are written every time."""
        for index in np.flatnonzero(self._qf.any(axis=1)).tolist():
            self._run_pending_steps()
            articulation = self._layout.articulations[index]
            articulation.set_qf(self._qf[index, : articulation.dof])

    def gpu_apply_articulation_target_position(self) -> None:
        self._apply_drives("target", self._target, self._target_setters)

    def gpu_apply_articulation_target_velocity(self) -> None:
        self._apply_drives("target_velocity", self._target_velocity, self._target_velocity_setters)

    def gpu_apply_rigid_dynamic_force(self) -> None:
        """Forces at the centre of mass, for one step."""
        self._run_pending_steps()
        for row in np.flatnonzero(self._force.any(axis=1)).tolist():
            self._layout.bodies[row].add_force_torque(self._force[row, :3], np.zeros(3, np.float32))
        self._force[:] = 0

    def gpu_apply_rigid_dynamic_torque(self) -> None:
        """Torques, for one step."""
        self._run_pending_steps()
        for row in np.flatnonzero(self._torque.any(axis=1)).tolist():
            self._layout.bodies[row].add_force_torque(np.zeros(3, np.float32), self._torque[row, :3])
        self._torque[:] = 0

    def _apply_roots(self, columns: slice, write: Any) -> None:
        layout, known = self._layout, self._in_physx["root"]
        wanted = self._bodies[layout.root_rows, columns]
        for index in np.flatnonzero((wanted != known[:, columns]).any(axis=1)).tolist():
            self._run_pending_steps()
            write(layout.articulations[index], wanted[index])
            self._written.add(layout.scene_of_articulation[index])
        known[:, columns] = wanted

    def _apply_joints(self, name: str, wanted: np.ndarray, write: Any) -> None:
        known = self._in_physx[name]
        for index in np.flatnonzero((wanted != known).any(axis=1)).tolist():
            self._run_pending_steps()
            articulation = self._layout.articulations[index]
            write(articulation, wanted[index, : articulation.dof])
            self._written.add(self._layout.scene_of_articulation[index])
        known[:] = wanted

    def _apply_drives(self, name: str, wanted: np.ndarray, setters: list[list[Any]]) -> None:
        known = self._in_physx[name]
        rows, joints = np.nonzero(wanted != known)
        if not len(rows):
            return
        self._run_pending_steps()
        for row, joint, value in zip(rows.tolist(), joints.tolist(), wanted[rows, joints].tolist(), strict=True):
            setters[row][joint](value)
        self._written.update(self._layout.scene_of_articulation[row] for row in set(rows.tolist()))
        known[:] = wanted

    # ---- contacts ----

    def gpu_create_contact_pair_impulse_query(
        self, body_pairs: list[tuple[physx.PhysxRigidBaseComponent, physx.PhysxRigidBaseComponent]]
    ) -> PairQuery:
        return PairQuery([tuple(pair) for pair in body_pairs], self._layout.row_of_body, self._layout.scene_of_row)

    def gpu_create_contact_body_impulse_query(self, bodies: list[physx.PhysxRigidBaseComponent]) -> BodyQuery:
        return BodyQuery(bodies, self._layout.row_of_body, self._layout.scene_of_row)

    def gpu_query_contact_pair_impulses(self, query: PairQuery) -> None:
        self._fetch()
        query.answer(self._positions, self._contact_table)

    def gpu_query_contact_body_impulses(self, query: BodyQuery) -> None:
        self._run_pending_steps()
        query.answer(self._contact_table)

    def _positions(self, rows: np.ndarray) -> np.ndarray:
        self.refresh_links(rows, velocities=False)
        return self._bodies[rows, :3]

    def _contact_table(self, scene: int) -> ContactTable:
        if scene not in self._tables:
            self._tables[scene] = tabulate(self._systems[scene].get_contacts())
        return self._tables[scene]


def _reaches_velocity(columns: Any) -> bool:
    if isinstance(columns, slice):
        return columns.stop is None or columns.stop > 7
    return True
