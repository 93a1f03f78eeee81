"""Episodes that nothing has done, for whatever reads episodes."""

from __future__ import annotations

from typing import Any

import numpy as np

from contract.poses import Pose, quat_from_axis_angle, quat_multiply
from contract.tasks import LIFT_CUBE
from robot_runtime.collection import actions
from robot_runtime.collection.episode import RATE_HZ, SIDE_PX, About, Episode, encode


def about(**others: Any) -> About:
    """Of an episode of lift_cube."""
    plain: dict[str, Any] = {
        "task": "lift_cube", "instruction": LIFT_CUBE.instruction, "variant": "red", "success": True,
        "success_by": "truth", "contract_hash": LIFT_CUBE.contract_hash(), "calibration": "none", "policy": "made up",
        "cell": "mock", "began": "2026-11-22T00:00:00+00:00", "seed": 0, "duration_s": 2.0,
        "cameras": {"wrist": "000000000002 424x240 at 15 Hz"},
    }  # fmt: skip
    return About(**plain | others)


def episode(steps: int = 20, seed: int = 0, cameras: tuple[str, ...] = ("wrist", "front"), **others: Any) -> Episode:
    """A random walk of the tool that closes half-way, with smooth pictures."""
    rng = np.random.default_rng(seed)
    command = LIFT_CUBE.start_pose_base_tcp
    rows: dict[str, list[Any]] = {}
    for k in range(steps):
        turn = quat_from_axis_angle(rng.normal(0.0, 0.02, 3))
        after = Pose(command.position + rng.normal(0.0, 0.01, 3), quat_multiply(turn, command.quaternion))
        base = actions.in_base(command, after, k >= steps // 2)
        row = {
            "stamp": 100.0 + k / RATE_HZ, "q": np.array(LIFT_CUBE.start_q_rad), "dq": rng.normal(0.0, 0.1, 7),
            "pose_base_tcp": actions.row_of(command), "v_base_tcp": rng.normal(0.0, 0.1, 6),
            "wrench_base": rng.normal(0.0, 1.0, 6), "gripper_width": 0.08, "gripper_closed": float(k > steps // 2),
            "command_base_tcp": actions.row_of(command), "pose_base_object": np.array([0.5, 0, 0.02, 1, 0, 0, 0.0]),
            "object_sigma": 0.001, "object_age": 0.05, "object_held": 0.0, "asked_base": base,
            "asked_wrist": actions.in_wrist(base, command), "executed_base": base,
            "executed_wrist": actions.in_wrist(base, command), "human": 0.0,
        }  # fmt: skip
        for name, value in row.items():
            rows.setdefault(name, []).append(value)
        command = after
    columns = {name: np.array(values, float) for name, values in rows.items()}
    pictures = {camera: [encode(_picture(rng)) for _ in range(steps)] for camera in cameras}
    stamps = dict.fromkeys(cameras, columns["stamp"] - 0.03)
    return Episode(about(**others), columns, pictures, stamps, {"stamp": np.arange(2.0 * steps)})


def _picture(rng: np.random.Generator) -> np.ndarray:
    ramp = np.linspace(0.0, 1.0, SIDE_PX)
    x, y = np.meshgrid(ramp, ramp)
    colour = rng.uniform(0.0, 1.0, (2, 3))
    return (255 * (x[..., None] * colour[0] + y[..., None] * colour[1]) / 2).astype(np.uint8)
