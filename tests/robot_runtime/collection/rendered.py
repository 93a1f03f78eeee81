"""Synthetic episodes of lifting, without physics: the mock cell's pictures of an arm that is put from pose to pose."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Literal

import numpy as np

from contract.poses import Pose
from contract.tasks import LIFT_CUBE
from robot_runtime.collection.episode import RATE_HZ, Episode, encode, square
from robot_runtime.mock_cell import scene
from robot_runtime.mock_cell.arrangements import solve_tcp
from robot_runtime.mock_cell.pictures import Pictures
from robot_runtime.mock_cell.rendering import mujoco
from robot_runtime.mock_cell.snapshots import Snapshot, View
from tests.robot_runtime.collection.made_up import about, episode

Ending = Literal["lifted", "touched", "empty", "low", "dropped"]
CAMERAS = {"wrist": scene.WRIST_CAMERA_NAME, "front": scene.CAMERA_NAME}
CUBE_Z, OPEN_M = scene.CUBE_EDGE_M / 2, LIFT_CUBE.gripper_open_m


class Renderer:
    """Draws whole episodes with one graphics context."""

    def __init__(self) -> None:
        self._pictures = Pictures()
        self._model = scene.build_model()
        self._data = mujoco.MjData(self._model)

    def close(self) -> None:
        """Frees it."""
        self._pictures.close()

    def draw(self, ending: Ending, seed: int, slow: int = 1, another_laboratory: bool = False) -> Episode:
        """Down, closed, and up as far as the ending allows. slow: so many steps for each."""
        random = np.random.default_rng(seed)
        rows = list(_steps(ending, random, slow))
        view = View(looks=seed + 1) if another_laboratory else View()
        images: dict[str, list[bytes]] = {camera: [] for camera in CAMERAS}
        for tool, cube, width_m in rows:
            solve_tcp(self._model, self._data, Pose(tool, np.array(LIFT_CUBE.start_quaternion)))
            shown = np.zeros(self._model.nq)
            shown[:7], shown[7:9] = self._data.qpos[:7], width_m / 2
            shown[9:12], shown[12] = cube, 1.0
            for camera, name in CAMERAS.items():
                images[camera].append(encode(square(self._pictures.of(Snapshot(0, 0.0, shown, view), name)[0])))
        return _recorded(ending, rows, images, seed)


def _steps(ending: Ending, random: np.random.Generator, slow: int) -> Iterator[tuple[np.ndarray, np.ndarray, float]]:
    """Tool, cube, and width between the fingers."""
    xy = random.uniform(LIFT_CUBE.object_low_m, LIFT_CUBE.object_high_m)
    cube = np.array([*xy, CUBE_Z])
    start = np.array(LIFT_CUBE.start_position_m) + random.uniform(-0.03, 0.03, 3)
    aside = np.array([0.0, 0.045, 0.0]) if ending == "touched" else np.zeros(3)
    top = random.uniform(0.035, 0.075) if ending == "low" else random.uniform(0.105, 0.16)
    grasp = cube + aside + np.append(random.normal(0.0, 0.003, 2), 0.0)
    for share in np.linspace(0.0, 1.0, 8 * slow):
        yield start + share * (grasp - start), cube, OPEN_M
    holds = ending in ("lifted", "low", "dropped")
    closed_m = scene.CUBE_EDGE_M if holds or ending == "empty" else 0.002
    yield grasp, cube, closed_m if ending != "empty" else 0.06
    for share in np.linspace(0.0, 1.0, 6 * slow):
        up = np.array([0.0, 0.0, share * top])
        yield grasp + up, cube + up if holds else cube, closed_m if holds else 0.002
    for _ in range(8 * slow):
        up = np.array([0.0, 0.0, top]) + random.normal(0.0, 0.001, 3)
        if ending == "dropped":
            yield grasp + up, cube + np.append(random.normal(0.0, 0.01, 2), 0.0), OPEN_M
        else:
            yield grasp + up, cube + up if holds else cube, closed_m if holds else 0.002


def _recorded(
    ending: Ending, rows: list[tuple[np.ndarray, np.ndarray, float]], images: dict[str, list[bytes]], seed: int
) -> Episode:
    made = episode(len(rows), seed, ("wrist",))
    tools, cubes, widths = (np.array(column) for column in zip(*rows, strict=True))
    held = (np.abs(widths - scene.CUBE_EDGE_M) < 0.01) & (np.linalg.norm(tools - cubes, axis=-1) < 0.03)
    speed = np.gradient(tools, axis=0) * RATE_HZ
    steps = made.steps | {
        "pose_base_object": np.column_stack([cubes, np.tile([1.0, 0, 0, 0], (len(rows), 1))]),
        "object_held": held.astype(float),
        "v_base_tcp": np.column_stack([speed, np.zeros_like(speed)]),
        "gripper_width": widths,
    }
    told = about(success=ending == "lifted", seed=seed, policy=f"synthetic: put from pose to pose, {ending}")
    return replace(made, about=told, steps=steps, images=images, image_stamps=dict.fromkeys(images, steps["stamp"]))
