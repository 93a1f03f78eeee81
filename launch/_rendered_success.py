"""Synthetic pictures of a lifting task, done and not done, as the mock cell's cameras would see them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from contract.poses import Pose, quat_from_axis_angle, quat_from_yaw, quat_multiply
from contract.task_spec import TaskSpec
from robot_runtime.collection.actions import row_of
from robot_runtime.collection.classifier import beside
from robot_runtime.collection.classifier_training import Shown
from robot_runtime.collection.episode import decode, encode, square
from robot_runtime.collection.success_steps import DONE, MARGIN_M, NOT_DONE
from robot_runtime.mock_cell import scene
from robot_runtime.mock_cell.arrangements import solve_tcp
from robot_runtime.mock_cell.pictures import Pictures
from robot_runtime.mock_cell.rendering import mujoco
from robot_runtime.mock_cell.snapshots import Snapshot, View
from robot_runtime.mock_cell.variants import UNSEEN, VARIANTS

CAMERAS = {"wrist": scene.WRIST_CAMERA_NAME, "front": scene.CAMERA_NAME}
PER_LABORATORY = 10
"""Pictures in a row with the same looks: dressing the scene anew takes as long as some pictures."""
_NOT_DONE = {"held": 0.55, "above": 0.15, "around": 0.15, "anywhere": 0.15}
"""How often the object is held too low, which is the hardest to tell, and what else is not done."""
_HIGHEST_M = 0.12
"""Above the height that the task asks for."""


def rendered(
    count: int, seed: int, spec: TaskSpec, cameras: tuple[str, ...], T_tcp_wrist: Pose | None = None
) -> Iterator[Shown]:
    """Single pictures of random scenes without physics, half of them done. cameras: of CAMERAS.

    T_tcp_wrist: where the wrist camera is mounted, if not where the mock cell's usually is. Every other laboratory is
    the nominal one. Raises NoOffscreenRendering.
    """
    random = np.random.default_rng([seed, 4])
    pictures, model = Pictures(), scene.build_model()
    data = mujoco.MjData(model)
    wrist: Any = None if T_tcp_wrist is None else tuple(row_of(T_tcp_wrist).tolist())
    variants = [name for name in VARIANTS if name != UNSEEN]
    try:
        for index in range(count):
            if index % PER_LABORATORY == 0:
                looks = int(random.integers(1 << 30)) if index // PER_LABORATORY % 2 else None
                view = View(looks=looks, variant=str(random.choice(variants)), wrist=wrist)
            done = index % 2 == 0
            snapshot = Snapshot(0, 0.0, _drawn(random, spec, model, data, done), view)
            whole = {camera: pictures.of(snapshot, CAMERAS[camera])[0] for camera in cameras}
            seen = {camera: decode(encode(square(rgb)))[None] for camera, rgb in whole.items()}
            yield Shown(Path("rendered"), done, beside(seen, cameras), np.array([DONE if done else NOT_DONE]))
    finally:
        pictures.close()


def _drawn(
    random: np.random.Generator, spec: TaskSpec, model: mujoco.MjModel, data: mujoco.MjData, done: bool
) -> np.ndarray:
    """Joint positions of the whole scene. Shape: (nq,)"""
    rest_m = spec.half_size_m[2]
    while True:
        thing = np.array([*random.uniform(spec.object_low_m, spec.object_high_m), rest_m])
        yaw, width_m = random.uniform(-np.pi / 4, np.pi / 4), spec.object_width_m
        case = "held" if done else str(random.choice(list(_NOT_DONE), p=list(_NOT_DONE.values())))
        if case == "held":
            low = spec.lift_height_m
            thing[2] += random.uniform(low, low + _HIGHEST_M) if done else random.uniform(0.0, low - MARGIN_M)
            tool = thing + random.normal(0.0, [0.004, 0.004, 0.003])
        elif case == "around":
            tool, width_m = thing + [0.0, 0.0, random.uniform(0.0, 0.06)], random.uniform(width_m + 0.002, 0.08)
        elif case == "above":
            tool = thing + [*random.normal(0.0, 0.05, 2), random.uniform(0.06, 0.26)]
            width_m = float(random.choice([0.0, 0.08, random.uniform(0.0, 0.08)]))
        else:
            tool = np.append(random.uniform(spec.object_low_m, spec.object_high_m), random.uniform(0.05, 0.3))
            width_m = float(random.choice([0.0, 0.08]))
        tilt = quat_from_axis_angle(random.normal(0.0, 0.02, 3))
        turned = quat_multiply(quat_from_yaw(np.array(yaw)), np.array(spec.start_quaternion))
        if solve_tcp(model, data, Pose(tool, quat_multiply(tilt, turned))) < 5e-3:
            break
    held_yaw = yaw if case in ("held", "around") else random.uniform(-np.pi, np.pi)
    qpos = np.zeros(model.nq)
    qpos[:7], qpos[7:9], qpos[9:12] = data.qpos[:7], width_m / 2, thing
    qpos[12:16] = quat_from_yaw(np.array(held_yaw))
    return qpos
