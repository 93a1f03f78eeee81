"""Inside the physics: places the cube by seed and watches whether the task has been done."""

from __future__ import annotations

import mujoco
import numpy as np

from contract.poses import quat_from_yaw
from contract.task_spec import TaskSpec
from robot_runtime.mock_cell import scene, variants

_CLEARANCE_M = 0.13
"""Half the hand's width (0.10) and half the cube's diagonal: a cube further away is not under the hand."""

_FINGER_N, _FINGER_N_PER_M_S = 3.0, 40.0
"""Strength of a finger that pushes the cube, and by how much it lacks speed when it uses that."""

_LOW_HAND_M = 0.16
"""Below this tool height a cube under the hand could touch it."""


class Referee:
    """Ground truth about the cube in a running simulation. Everything in metres, radians, robot-time seconds."""

    def __init__(self, spec: TaskSpec, model: mujoco.MjModel, data: mujoco.MjData) -> None:
        self._spec, self._model, self._data = spec, model, data
        joint = model.joint("cube_joint")
        self._qpos, self._dof = int(joint.qposadr[0]), int(joint.dofadr[0])
        self._edge_m = scene.CUBE_EDGE_M
        self._body = int(model.body("cube").id)
        self._scratch = mujoco.MjData(model)
        self.reset_stamp = 0.0
        self._still_since: float | None = None
        self.success_stamp: float | None = None

    def reset(self, seed: int, vary_dynamics: bool, stamp: float) -> None:
        """Puts the cube at rest somewhere in the task's area, not under the hand; other mass and friction if asked."""
        rng = np.random.default_rng(seed)
        mass, friction = scene.CUBE_MASS_KG, scene.CUBE_FRICTION
        if vary_dynamics:
            ranges = self._spec.randomisation
            mass = rng.uniform(ranges.cube_mass_kg.low, ranges.cube_mass_kg.high)
            friction = rng.uniform(ranges.friction.low, ranges.friction.high)
        self._set_dynamics(mass, friction)
        tool = self._data.body("robot0_left_finger").xpos + self._data.body("robot0_right_finger").xpos
        tool_xy, tool_z = tool[:2] / 2, self._data.body("robot0_hand").xpos[2] - 0.1034
        while True:
            xy = rng.uniform(self._spec.object_low_m, self._spec.object_high_m)
            if tool_z > _LOW_HAND_M or np.linalg.norm(xy - tool_xy) > _CLEARANCE_M:
                break
        self._data.qpos[self._qpos : self._qpos + 3] = (*xy, self._edge_m / 2)
        self._data.qpos[self._qpos + 3 : self._qpos + 7] = quat_from_yaw(np.array(rng.uniform(-np.pi, np.pi)))
        self._data.qvel[self._dof : self._dof + 6] = 0.0
        self.begin(stamp)

    def begin(self, stamp: float) -> None:
        """A trial begins with the cube where it is; at 0 where robot time itself begins again."""
        self.reset_stamp, self._still_since, self.success_stamp = stamp, None, None

    def become(self, edge_m: float) -> None:
        """The cube is another one, at rest on the table where the old one was."""
        self._edge_m = edge_m
        variants.shape(self._model, edge_m)
        self._set_dynamics(scene.CUBE_MASS_KG, scene.CUBE_FRICTION)
        self.move_cube(self.cube_xy, on_table=True)

    def move_cube(self, xy: np.ndarray, on_table: bool = False) -> None:
        """Puts the cube over that point (2,), at rest: as it is, or upright on the table."""
        self._data.qpos[self._qpos : self._qpos + 2] = xy
        if on_table:
            self._data.qpos[self._qpos + 2 : self._qpos + 7] = (self._edge_m / 2, 1.0, 0.0, 0.0, 0.0)
        self._data.qvel[self._dof : self._dof + 6] = 0.0

    def place_cube(self, xy: np.ndarray, yaw_rad: float) -> None:
        """Puts the cube there on the table (2,), turned by that, at rest."""
        self.move_cube(xy, on_table=True)
        self._data.qpos[self._qpos + 3 : self._qpos + 7] = quat_from_yaw(np.array(yaw_rad))

    def push_cube(self, velocity_m_s: np.ndarray) -> None:
        """Before a step: a weak finger pushes the cube along the table, towards that velocity (2,)."""
        missing = velocity_m_s - self._data.qvel[self._dof : self._dof + 2]
        force = _FINGER_N_PER_M_S * missing
        force *= min(1.0, _FINGER_N / (np.linalg.norm(force) + 1e-9))
        self._data.xfrc_applied[self._body, :2] = force

    def leave_cube(self) -> None:
        """The finger is gone."""
        self._data.xfrc_applied[self._body, :2] = 0.0

    @property
    def cube_xy(self) -> np.ndarray:
        """Where the cube is over the table. Shape: (2,)"""
        return self._data.qpos[self._qpos : self._qpos + 2].copy()

    def watch(self, stamp: float) -> None:
        """After each step: notes the first time the cube has been high enough and still for long enough."""
        if self.success_stamp is not None:
            return
        if self.height_above_rest_m < self._spec.lift_height_m or self.speed_m_s > self._spec.still_speed_m_s:
            self._still_since = None
        elif self._still_since is None:
            self._still_since = stamp
        elif stamp - self._still_since >= self._spec.hold_s:
            self.success_stamp = stamp

    @property
    def height_above_rest_m(self) -> float:
        """How far the cube's centre is above where it rests on the table."""
        return float(self._data.qpos[self._qpos + 2]) - self._edge_m / 2

    @property
    def speed_m_s(self) -> float:
        """Linear speed of the cube's centre."""
        return float(np.sqrt(np.sum(np.square(self._data.qvel[self._dof : self._dof + 3]))))

    @property
    def hand_speed_m_s(self) -> float:
        """Linear speed of the arm's hand."""
        velocity = np.zeros(6)
        hand = self._data.body("robot0_hand").id
        mujoco.mj_objectVelocity(self._model, self._data, mujoco.mjtObj.mjOBJ_BODY, hand, velocity, 0)
        return float(np.linalg.norm(velocity[3:]))

    def truth(self, stamp: float) -> dict[str, object]:
        """What the scoring channel tells."""
        pose = self._data.qpos[self._qpos : self._qpos + 7]
        return {
            "stamp": stamp,
            "position": pose[:3].tolist(),
            "quaternion": pose[3:].tolist(),
            "speed_m_s": self.speed_m_s,
            "hand_speed_m_s": self.hand_speed_m_s,
            "height_above_rest_m": self.height_above_rest_m,
            "reset_stamp": self.reset_stamp,
            "success_stamp": self.success_stamp,
        }

    def _set_dynamics(self, mass_kg: float, friction: float) -> None:
        body, geom = self._model.body("cube").id, self._model.geom("cube").id
        self._model.body_mass[body] = mass_kg
        self._model.body_inertia[body] = mass_kg * self._edge_m**2 / 6.0
        self._model.geom_friction[geom, 0] = friction
        mujoco.mj_setConst(self._model, self._scratch)
