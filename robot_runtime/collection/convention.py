"""What the exports' numbers mean, and their statistics; RLDS and LeRobot get the same ones."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from scipy.spatial.transform import Rotation

Frame = Literal["wrist", "base"]

ACTION_NAMES = ("dx", "dy", "dz", "droll", "dpitch", "dyaw", "gripper")
STATE_NAMES = ("x", "y", "z", "qw", "qx", "qy", "qz", "gripper_width")

CAMERA_PREFIX = "observation.images."
"""Of LeRobot's features."""


def exported_actions(steps: dict[str, np.ndarray], frame: Frame) -> np.ndarray:
    """What was executed: m; roll, pitch, yaw about fixed axes of `frame`, rad; gripper 1 open. Shape: (N, 7) float32

    Physical units, as Open X-Embodiment's datasets are read by OpenVLA and Octo, which normalise by themselves.
    """
    recorded = steps[f"executed_{frame}"]
    turn = Rotation.from_rotvec(recorded[:, 3:6]).as_euler("xyz")
    return np.concatenate([recorded[:, :3], turn, recorded[:, 6:]], axis=1).astype(np.float32)


def exported_states(steps: dict[str, np.ndarray]) -> np.ndarray:
    """Measured tool pose, m and quaternion wxyz, base frame, and m between the fingers. Shape: (N, 8) float32"""
    return np.concatenate([steps["pose_base_tcp"], steps["gripper_width"][:, None]], axis=1).astype(np.float32)


def statistics(rows: np.ndarray) -> dict[str, list[float]]:
    """Of each column, as OpenVLA and Octo take them from a dataset. Shape: (N, size)"""
    return {
        "mean": rows.mean(0, dtype=np.float64).tolist(),
        "std": rows.std(0, dtype=np.float64).tolist(),
        "max": rows.max(0).tolist(),
        "min": rows.min(0).tolist(),
        "q01": np.quantile(rows, 0.01, axis=0).tolist(),
        "q99": np.quantile(rows, 0.99, axis=0).tolist(),
    }


def dataset_statistics(name: str, actions: list[np.ndarray], states: list[np.ndarray]) -> dict[str, Any]:
    """As in the dataset_statistics.json of an OpenVLA checkpoint. The gripper is not to be normalised."""
    action = statistics(np.concatenate(actions)) | {"mask": [True] * 6 + [False]}
    return {
        name: {
            "action": action,
            "proprio": statistics(np.concatenate(states)),
            "num_transitions": sum(map(len, actions)),
            "num_trajectories": len(actions),
        }
    }
