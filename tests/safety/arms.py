"""Arms in any pose, with the Jacobians they have there, for the tests of the guard."""

from __future__ import annotations

import numpy as np
import torch

from contract.poses import Pose
from contract.tasks import LIFT_CUBE
from safety.guard import GuardLimits, Measured
from safety.joints import JointLimits
from safety.limits import FR3 as ARM
from safety.workspace import Workspace
from sim_training.envs.kinematics import forward_with_jacobian

JOINTS = JointLimits(ARM.q_low + 0.05, ARM.q_high - 0.05, 0.9 * ARM.dq, 0.03)
LIMITS = GuardLimits(
    speed_m_s=0.25,
    rotation_rad_s=1.3,
    period_s=0.05,
    workspace=Workspace((0.28, -0.36, 0.008), (0.80, 0.36, 0.55)),
    lead_m=0.08,
    lead_rad=0.4,
    soft_force_n=20.0,
    joints=JOINTS,
    max_age_s=0.15,
    max_ahead_s=0.1,
    coast_s=0.12,
)


def arm_at(q: np.ndarray) -> Measured:
    """An arm at rest there, touched by nothing. Shape: (7,)"""
    pose, jacobian = forward_with_jacobian(torch.tensor(q, dtype=torch.float64)[None])
    where = Pose(pose.position[0].numpy(), pose.quaternion[0].numpy())
    return Measured(where, np.asarray(q, float), jacobian[0].numpy(), np.zeros(3))


READY = arm_at(np.array(LIFT_CUBE.start_q_rad))
