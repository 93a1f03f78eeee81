"""What acts on the arm from outside, as its joints feel it: contacts, a scripted hand, and weight nobody told of."""

from __future__ import annotations

import mujoco
import numpy as np

_FILTER_SHARE = 0.001 / 0.005
"""Per control tick: a time constant of 5 ms. The maker does not publish the real filter's."""

_NOTHING_NM = 1e-6

_DAMPING = 1e-3
"""Keeps the wrench finite near singular poses, where the real one becomes zero."""

_GRAVITY = np.array([0.0, 0.0, -9.81])
_FIRST_CONTACT = mujoco.mjtConstraint.mjCNSTR_CONTACT_FRICTIONLESS.value
_R_HAND_FLANGE = np.array([[1.0, -1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, np.sqrt(2.0)]]) / np.sqrt(2.0)
"""The hand is mounted turned by −45° about the flange's z."""


class ExternalForces:
    """Estimates of a running simulation. Signs are libfranka's: what the robot applies to its surroundings is positive.

    Contacts are those of hand and fingers: the scene gives the links none. Not modelled: friction that the real
    estimate takes for a force, and the inertia of weight nobody told of.

    tau_ext: joint torques, filtered, Nm (7,). wrench_base: on the tool centre point, N and Nm, base frame (6,).
    anything: whether they are not zero.
    """

    def __init__(self, model: mujoco.MjModel, data: mujoco.MjData, arm_dof: slice) -> None:
        self._model, self._data, self._arm_dof = model, data, arm_dof
        self._hand = model.body("robot0_hand").id
        self._hand_mass_kg = float(model.body_mass[self._hand])
        self._torques, self._no_torque = np.zeros(model.nv), np.zeros(3)
        self._scratch = mujoco.MjData(model)
        self._push_n = np.zeros(3)
        self.payload_kg = 0.0
        self.tau_ext, self.wrench_base = np.zeros(7), np.zeros(6)
        self.anything = False

    def set_payload(self, mass_kg: float) -> None:
        """Adds mass to the hand that the controller does not know."""
        self.payload_kg = mass_kg
        self._model.body_mass[self._hand] = self._hand_mass_kg + mass_kg
        mujoco.mj_setConst(self._model, self._scratch)

    def push(self, force_n: np.ndarray, tcp: np.ndarray) -> None:
        """Before each step: pushes the hand at the tool centre point (3,) with a force in the base frame (3,)."""
        self._push_n = force_n
        applied = self._data.xfrc_applied[self._hand]
        applied[:3], applied[3:] = force_n, np.cross(tcp - self._data.xipos[self._hand], force_n)

    def estimate(self, tcp: np.ndarray, jacobian: np.ndarray, load_kg: float, load_flange: np.ndarray) -> None:
        """After each step. tcp: (3,); its Jacobian (6, 7). load: what `setLoad` told, with its centre in the flange."""
        contact = self._data.efc_force * (self._data.efc_type >= _FIRST_CONTACT)
        mujoco.mj_mulJacTVec(self._model, self._data, self._torques, contact)
        if self._push_n.any():
            self._add(self._push_n, tcp)
        if self.payload_kg:
            self._add(_GRAVITY * self.payload_kg, self._data.xipos[self._hand])
        if load_kg:
            R_base_flange = self._data.xmat[self._hand].reshape(3, 3) @ _R_HAND_FLANGE
            self._add(-_GRAVITY * load_kg, self._data.xpos[self._hand] + R_base_flange @ load_flange)
        torques = self._torques[self._arm_dof]
        if not (self.anything or torques.any()):
            return
        self.tau_ext -= _FILTER_SHARE * (torques + self.tau_ext)
        self.anything = bool(np.abs(self.tau_ext).max() > _NOTHING_NM)
        if self.anything:
            gram = jacobian @ jacobian.T + _DAMPING * np.eye(6)
            self.wrench_base = np.linalg.solve(gram, jacobian @ self.tau_ext)
        else:
            self.tau_ext[:], self.wrench_base[:] = 0.0, 0.0

    def _add(self, force: np.ndarray, point: np.ndarray) -> None:
        mujoco.mj_applyFT(self._model, self._data, force, self._no_torque, point, self._hand, self._torques)
