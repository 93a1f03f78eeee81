"""franky-sim's FR3 with its bookkeeping done only when somebody reads it: a third of the cost per control tick."""

from __future__ import annotations

import math

import mujoco
import numpy as np
import pinocchio as pin
from franky_sim.base_simulator import InnerRobotState
from franky_sim.constants import FRANKA_HAND_FORCE_LIMIT, FRANKA_TORQUE_LIMITS_HIGH
from franky_sim.franka_robot_state import FrankaRobotState
from franky_sim.mujoco_simulator import FrankaMujocoRobot

from robot_runtime.mock_cell.reflexes import Motion

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

_TORQUE_LIMITS = np.array(FRANKA_TORQUE_LIMITS_HIGH, dtype=float)

_END_STOP_M = 0.0005
"""A finger that grasps nothing is pushed no further from here on: pressed on its stop and on the other finger it would
chatter for ever, and the grasp never end."""

_BLOCKED_DAMPING = 1e6
"""Of a finger joint that is stuck: 140 N moves it by a tenth of a millimetre in a second."""


def _within_limits(torques: np.ndarray) -> np.ndarray:
    return np.minimum(np.maximum(torques, -_TORQUE_LIMITS), _TORQUE_LIMITS)


class CellArm(FrankaMujocoRobot):
    """The arm and hand of the mock cell.

    Unlike its base class it derives desired velocities, poses and filters lazily, in `state`, and its hand grasps with
    the force asked for, whatever the width.
    """

    grasp: tuple[float, float] | None = None
    """Closing force (N) and speed (m/s) of each finger while grasping."""

    blocked: bool = False
    """The fingers are stuck where they are."""

    def _attach_to_scene(self, model: mujoco.MjModel, data: mujoco.MjData, prefix: str) -> None:
        super()._attach_to_scene(model, data, prefix)
        self._arm_q = slice(self._qpos_addrs[0], self._qpos_addrs[-1] + 1)
        self.arm_dof = slice(self._dof_addrs[0], self._dof_addrs[-1] + 1)

    def _get_state(self) -> InnerRobotState:
        if self._data is None:
            return super()._get_state()
        return InnerRobotState(
            q=tuple(self._data.qpos[self._arm_q].tolist()),
            dq=tuple(self._data.qvel[self.arm_dof].tolist()),
            tau_j=tuple(self._applied_torques.tolist()),
        )

    def torque_control(self, torques: np.ndarray, has_new_command: bool = True) -> None:
        """Applies joint torques within the arm's limits, with gravity made up for. Shape: (7,)"""
        commanded = _within_limits(np.asarray(torques))
        self._tracked_state_components["tau_J_d"].set(self._BaseRobot__t, commanded, call_observers=has_new_command)
        gravity = pin.computeGeneralizedGravity(
            self._BaseRobot__model, self._BaseRobot__data, self._data.qpos[self._arm_q]
        )
        self._applied_torques = _within_limits(commanded + gravity)
        self._data.qfrc_applied[self.arm_dof] = self._applied_torques

    def _pre_step(self) -> None:
        qpos, qvel, damping = self._data.qpos, self._data.qvel, _FRANKA_HAND_DAMPING
        if self.grasp is not None:
            # Constant force; implicit damping makes the speed asked for its terminal velocity.
            damping = self.grasp[0] / self.grasp[1]
        for address, dof in zip(self._finger_qpos_addrs, self._finger_dof_addrs, strict=True):
            q, dq = qpos.item(address), qvel.item(dof)
            force = (
                self._hold_finger(q, dq) if self.grasp is None else -self.grasp[0] * min(max(q / _END_STOP_M, 0.0), 1.0)
            )
            self._data.qfrc_applied[dof] = force
            self._model.dof_damping[dof] = _BLOCKED_DAMPING if self.blocked else damping

    def _hold_finger(self, q: float, dq: float) -> float:
        """Force (N) that brings a finger to half the width asked for, at the speed and force asked for at most."""
        stiffness, damping = self._kp_hand[0], self._kv_hand[0]
        force = stiffness * (self._hand_goal_width / 2 - q) - damping * dq
        if abs(dq) > self._hand_goal_velocity and dq * force > 0.0:
            force = -damping * dq
        most = min(self._hand_goal_force, FRANKA_HAND_FORCE_LIMIT)
        return float(min(max(force, -most), most))

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

    def motion(self) -> tuple[Motion, np.ndarray]:
        """How the arm moves after the last step, and the pose of its tool as a matrix (4, 4)."""
        q, dq = self._data.qpos[self._arm_q], self._data.qvel[self.arm_dof]
        self._pose = self.kinematics(q).homogeneous
        self._twist = self.d_kinematics(q, dq)
        return Motion(q, dq, self._twist), self._pose

    @property
    def tool_position(self) -> np.ndarray:
        """Of the tool centre point after the last step, base frame. Shape: (3,)"""
        return self.kinematics(self._data.qpos[self._arm_q]).translation

    def d_kinematics(self, q: np.ndarray, dq: np.ndarray) -> np.ndarray:
        """Tool velocity (6,), base frame; its Jacobian (6, 7) stays in `tool_jacobian`."""
        model, data = self._BaseRobot__model, self._BaseRobot__data
        tcp, frame = self._BaseRobot__tcp_frame_id, pin.ReferenceFrame.LOCAL_WORLD_ALIGNED
        self.tool_jacobian = pin.computeFrameJacobian(model, data, q, tcp, frame)
        return np.asarray(self.tool_jacobian @ dq)

    def write_torque_mode_state(self, fields: dict[str, np.ndarray]) -> None:
        """After `motion`: updates what changes while a client commands torques; desired equals measured there.

        fields: of one STATE_RECORD, by name. Shapes: (1, n)
        """
        q, dq = self._data.qpos[self._arm_q], self._data.qvel[self.arm_dof]
        pose = self._pose.T.reshape(16)
        for name in ("O_T_EE", "O_T_EE_d", "O_T_EE_c"):
            fields[name][0] = pose
        for name in ("q", "q_d"):
            fields[name][0] = q
        for name in ("dq", "dq_d"):
            fields[name][0] = dq
        for name in ("O_dP_EE_d", "O_dP_EE_c"):
            fields[name][0] = self._twist
        elbow = (q[2], math.copysign(1.0, q[3]))
        for name in ("elbow", "elbow_d", "elbow_c"):
            fields[name][0] = elbow
        fields["dtau_J"][0] = (self._applied_torques - fields["tau_J"][0]) / 0.001
        fields["tau_J"][0] = self._applied_torques
