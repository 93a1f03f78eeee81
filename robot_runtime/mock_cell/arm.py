"""franky-sim's FR3 with its bookkeeping done only when somebody reads it: a third of the cost per control tick."""

from __future__ import annotations

import math

import mujoco
import numpy as np
from franky_sim.base_simulator import InnerRobotState
from franky_sim.franka_robot_state import FrankaRobotState
from franky_sim.mujoco_simulator import FrankaMujocoRobot

STATE_RECORD = np.dtype(
    [
        ("O_T_EE", "<f4", 16), ("O_T_EE_d", "<f4", 16), ("F_T_EE", "<f4", 16), ("EE_T_K", "<f4", 16),
        ("F_T_NE", "<f4", 16), ("NE_T_EE", "<f4", 16), ("m_ee", "<f4"), ("I_ee", "<f4", 9), ("F_x_Cee", "<f4", 3),
        ("m_load", "<f4"), ("I_load", "<f4", 9), ("F_x_Cload", "<f4", 3), ("elbow", "<f4", 2), ("elbow_d", "<f4", 2),
        ("tau_J", "<f4", 7), ("tau_J_d", "<f4", 7), ("dtau_J", "<f4", 7), ("q", "<f4", 7), ("q_d", "<f4", 7),
        ("dq", "<f4", 7), ("dq_d", "<f4", 7), ("ddq_d", "<f4", 7), ("joint_contact", "<f4", 7),
        ("cartesian_contact", "<f4", 6), ("joint_collision", "<f4", 7), ("cartesian_collision", "<f4", 6),
        ("tau_ext_hat_filtered", "<f4", 7), ("O_F_ext_hat_K", "<f4", 6), ("K_F_ext_hat_K", "<f4", 6),
        ("O_dP_EE_d", "<f4", 6), ("O_ddP_O", "<f4", 3), ("elbow_c", "<f4", 2), ("delbow_c", "<f4", 2),
        ("ddelbow_c", "<f4", 2), ("O_T_EE_c", "<f4", 16), ("O_dP_EE_c", "<f4", 6), ("O_ddP_EE_c", "<f4", 6),
        ("theta", "<f4", 7), ("dtheta", "<f4", 7), ("accelerometer_top", "<f4", 18),
        ("accelerometer_bottom", "<f4", 18), ("motion_generator_mode", "u1"), ("controller_mode", "u1"),
        ("errors", "u1", 41), ("reflex_reason", "u1", 41), ("robot_mode", "u1"),
        ("control_command_success_rate", "<f4"),
    ]
)  # fmt: skip
"""The robot state as FCI 10 sends it (libfranka `research_interface::robot::RobotState`)."""

_FRANKA_HAND_DAMPING = 0.21
"""Of a finger joint when it does not grasp; franky-sim's fr3.xml."""


class CellArm(FrankaMujocoRobot):
    """The arm and hand of the mock cell.

    Unlike its base class it derives desired velocities, poses and filters lazily, in `state`, and its hand grasps with
    the force asked for, whatever the width.
    """

    grasp: tuple[float, float] | None = None
    """Closing force (N) and speed (m/s) of each finger while grasping."""

    def _attach_to_scene(self, model: mujoco.MjModel, data: mujoco.MjData, prefix: str) -> None:
        super()._attach_to_scene(model, data, prefix)
        self._arm_q = slice(self._qpos_addrs[0], self._qpos_addrs[-1] + 1)
        self._arm_dof = slice(self._dof_addrs[0], self._dof_addrs[-1] + 1)

    def _get_state(self) -> InnerRobotState:
        if self._data is None:
            return super()._get_state()
        return InnerRobotState(
            q=tuple(self._data.qpos[self._arm_q].tolist()),
            dq=tuple(self._data.qvel[self._arm_dof].tolist()),
            tau_j=tuple(self._applied_torques.tolist()),
        )

    def _torque_control(self, torques: np.ndarray) -> None:
        self._applied_torques = np.clip(torques, self.torque_limit_low, self.torque_limit_high)
        self._data.qfrc_applied[self._arm_dof] = self._applied_torques

    def _pre_step(self) -> None:
        damping = _FRANKA_HAND_DAMPING
        if self.grasp is None:
            super()._pre_step()
        else:
            # Constant force; implicit damping makes the speed asked for its terminal velocity.
            force_n, speed_m_s = self.grasp
            damping = force_n / speed_m_s
            for dof in self._finger_dof_addrs:
                self._data.qfrc_applied[dof] = -force_n
        for dof in self._finger_dof_addrs:
            self._model.dof_damping[dof] = damping

    def _post_step(self) -> None:
        self._BaseRobot__prev_t = self._BaseRobot__t
        self._BaseRobot__t += 0.001

    @property
    def state(self) -> FrankaRobotState:
        """Everything, of the last completed step. Slow: about half a millisecond."""
        inner, now = self._get_state(), self._BaseRobot__prev_t
        components = self._tracked_state_components
        components["tau_J"].set(now, np.array(inner.tau_j))
        for component in components.values():
            component.finalize(now, inner)
        return super().state

    def write_torque_mode_state(self, record: np.ndarray) -> None:
        """Updates what changes from tick to tick while a client commands torques: desired equals measured there."""
        q, dq = self._data.qpos[self._arm_q], self._data.qvel[self._arm_dof]
        velocity = self.d_kinematics(q, dq)
        pose = self.kinematics(q).homogeneous.T.reshape(16)
        for name in ("O_T_EE", "O_T_EE_d", "O_T_EE_c"):
            record[name] = pose
        for name in ("q", "q_d"):
            record[name] = q
        for name in ("dq", "dq_d"):
            record[name] = dq
        for name in ("O_dP_EE_d", "O_dP_EE_c"):
            record[name] = velocity
        for name in ("elbow", "elbow_d", "elbow_c"):
            record[name] = (q[2], math.copysign(1.0, q[3]))
        record["dtau_J"] = (self._applied_torques - record["tau_J"]) / 0.001
        record["tau_J"] = self._applied_torques
