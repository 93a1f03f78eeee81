"""What a VLA's numbers mean, turned into what every teacher answers: physical deltas in the base frame.

numpy and OpenCV only: every VLA's environment has both.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np

from contract.poses import axis_angle_from_quat, quat_conjugate, quat_from_axis_angle, quat_multiply, quat_rotate

ACTION_SIZE = 7
_X, _Y, _Z = np.eye(3)


class PolicyDoesNotFit(ValueError):
    """A policy wants or answers something that a teacher's question and answer do not hold."""


@dataclass(frozen=True)
class Convention:
    """What the seven numbers of one action of a policy mean, after its own statistics have been undone."""

    translation_m: float = 1.0
    """Metres that a translation of 1 moves; 0.05 for LIBERO's."""
    rotation_rad: float = 1.0
    """Radians that a rotation of 1 turns; 0.5 for LIBERO's."""
    rotation: Literal["rpy", "rotation_vector"] = "rpy"
    """Roll, pitch, yaw about fixed axes as Open X-Embodiment has it, or a rotation vector."""
    frame: Literal["base", "tool"] = "base"
    """Axes the delta is written in; RLDG's data are in the tool's."""
    gripper_open: float = 1.0
    """What it says to open; -1 for LIBERO's."""
    gripper_closed: float = 0.0
    """What it says to close; 1 for LIBERO's."""
    chunk_steps: int = 1
    """How many actions from a chunk's first make the delta."""


def deltas(actions: np.ndarray, tcp: np.ndarray, convention: Convention) -> np.ndarray:
    """One physical delta for each row: m, rotation vector rad, both base frame; gripper 1 opens, -1 closes.

    actions: (N, steps, 7) in `convention`. tcp: (N, 7) m and quaternion wxyz, base frame. Raises PolicyDoesNotFit.
    """
    if actions.ndim != 3 or actions.shape[2] != ACTION_SIZE or actions.shape[1] < convention.chunk_steps:
        raise PolicyDoesNotFit(
            f"The policy answered with shape {actions.shape}; (rows, at least {convention.chunk_steps} steps,"
            f" {ACTION_SIZE} numbers) were due."
        )
    first = tcp[:, 3:].astype(np.float64)
    moved, turned = np.zeros((len(actions), 3)), first
    for action in actions[:, : convention.chunk_steps].transpose(1, 0, 2).astype(np.float64):
        step, turn = (
            convention.translation_m * action[:, :3],
            _turn(convention.rotation_rad * action[:, 3:6], convention),
        )
        if convention.frame == "tool":
            moved, turned = moved + quat_rotate(turned, step), quat_multiply(turned, turn)
        else:
            moved, turned = moved + step, quat_multiply(turn, turned)
    rotation = axis_angle_from_quat(quat_multiply(turned, quat_conjugate(first)))
    grip = opening(actions[:, convention.chunk_steps - 1, 6:], convention)
    return np.concatenate([moved, rotation, grip], -1).astype(np.float32)


def opening(gripper: np.ndarray, convention: Convention) -> np.ndarray:
    """The gripper's number as ours: 1 opens, -1 closes."""
    share = (gripper - convention.gripper_closed) / (convention.gripper_open - convention.gripper_closed)
    return np.clip(2.0 * share - 1.0, -1.0, 1.0)


def _turn(rotation: np.ndarray, convention: Convention) -> np.ndarray:
    if convention.rotation == "rotation_vector":
        return np.asarray(quat_from_axis_angle(rotation))
    roll, pitch, yaw = (quat_from_axis_angle(rotation[:, [i]] * axis) for i, axis in enumerate((_X, _Y, _Z)))
    return np.asarray(quat_multiply(yaw, quat_multiply(pitch, roll)))


def action_statistics(statistics: Mapping[str, Any], dataset: str | None) -> dict[str, np.ndarray]:
    """One data set's action statistics, out of what a checkpoint says of all it was trained on.

    dataset: may be left out where there is one only. Raises PolicyDoesNotFit, which names them.
    """
    if "action" in statistics:
        chosen = statistics
    elif dataset is not None and dataset in statistics:
        chosen = statistics[dataset]
    elif dataset is None and len(statistics) == 1:
        (chosen,) = statistics.values()
    else:
        raise PolicyDoesNotFit(f"Say whose actions are meant with --dataset: {', '.join(sorted(statistics))}.")
    return {name: np.asarray(values) for name, values in chosen["action"].items()}


def between_quantiles(normalised: np.ndarray, statistics: Mapping[str, np.ndarray]) -> np.ndarray:
    """Actions in [-1, 1] as physical ones between q01 and q99, where the mask says so. Shape: (..., 7)"""
    low, high = statistics["q01"], statistics["q99"]
    mask = statistics.get("mask", np.ones(low.shape, bool))
    return np.where(mask, 0.5 * (normalised + 1.0) * (high - low) + low, normalised)


def from_tokens(tokens: np.ndarray, vocabulary: int, bins: int = 256) -> np.ndarray:
    """Actions in [-1, 1] from the last `bins` tokens of a vocabulary, the very last one meaning the lowest bin.

    bins: edges, so there is one bin less (OpenVLA). tokens: ids of any shape; those outside are the nearest bin.
    """
    edges = np.linspace(-1.0, 1.0, bins)
    centres = (edges[:-1] + edges[1:]) / 2.0
    return np.asarray(centres[np.clip(vocabulary - tokens - 1, 0, len(centres) - 1)])


def tool_state(tcp: np.ndarray, size: int) -> np.ndarray:
    """The tool pose as a policy's state of 6 numbers (position, rotation vector) or 7 (position, quaternion wxyz).

    tcp: (N, 7), base frame. Raises PolicyDoesNotFit for any other size: joints and gripper are not in a question.
    """
    if size == 7:
        return tcp.astype(np.float32)
    if size == 6:
        return np.concatenate([tcp[:, :3], axis_angle_from_quat(tcp[:, 3:])], -1).astype(np.float32)
    raise PolicyDoesNotFit(
        f"The policy wants a state of {size} numbers; a question holds the tool pose, 6 numbers with a rotation vector"
        " or 7 with a quaternion."
    )


def central(images: np.ndarray, area: float) -> np.ndarray:
    """The middle of each image, that share of its area. Shape: (N, height, width, 3)"""
    height, width = images.shape[1:3]
    rows, columns = round(height * area**0.5), round(width * area**0.5)
    top, left = (height - rows) // 2, (width - columns) // 2
    return images[:, top : top + rows, left : left + columns]


def resized(images: np.ndarray, height: int, width: int) -> np.ndarray:
    """Images of another size. Shape: (N, height, width, 3) uint8 RGB"""
    if images.shape[1:3] == (height, width):
        return images
    return np.stack([cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA) for image in images])
