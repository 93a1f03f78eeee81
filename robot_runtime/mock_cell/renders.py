"""Labelled pictures of random arrangements in the mock cell's scene, without physics."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from contract.poses import Pose
from contract.task_spec import TaskSpec
from contract.tasks import LIFT_CUBE
from robot_runtime.mock_cell import looks, rendering, scene
from robot_runtime.mock_cell.arrangements import DISTRACTORS, NOWHERE_M, Arrangement, Arranger, Distractor, is_long
from robot_runtime.mock_cell.rendering import mujoco

_HEAD = f"distractor_{DISTRACTORS}"
"""The spare body that is the second half of a peg of two colours."""


@dataclass(frozen=True)
class Sample:
    """One labelled picture.

    rgb: (H, W, 3) uint8. depth_m: along the optical axis, (H, W) float32. mask: the object as seen, (H, W) bool;
    all False when it is hidden or not there. K: (3, 3). held: the object is between the fingers.
    """

    rgb: np.ndarray
    depth_m: np.ndarray
    mask: np.ndarray
    pose_base_object: Pose
    T_base_camera: Pose
    K: np.ndarray
    held: bool


def place_distractor(model: mujoco.MjModel, data: mujoco.MjData, name: str, shown: Distractor | None) -> None:
    """Makes a spare body what is to be shown, or takes it away."""
    geom, mocap = model.geom(name), model.body(name).mocapid[0]
    if shown is None:
        data.mocap_pos[mocap] = NOWHERE_M
        return
    kinds = mujoco.mjtGeom.mjGEOM_BOX, mujoco.mjtGeom.mjGEOM_SPHERE, mujoco.mjtGeom.mjGEOM_CYLINDER
    model.geom_type[geom.id] = kinds[("box", "ball", "cylinder").index(shown.kind)]
    model.geom_size[geom.id] = shown.size_m
    # Culling in the renderer goes by this radius.
    model.geom_rbound[geom.id] = np.linalg.norm(shown.size_m)
    geom.rgba[:3] = shown.rgb
    data.mocap_pos[mocap], data.mocap_quat[mocap] = shown.pose_base.position, shown.pose_base.quaternion


def _place_object(model: mujoco.MjModel, data: mujoco.MjData, spec: TaskSpec, shown: Arrangement) -> None:
    """The object; of a peg, which has two colours, this is the tail, and the spare body the head."""
    pose, half = shown.pose_base_object, np.array(spec.half_size_m)
    if is_long(spec):
        half[0] /= 2
        head = pose.apply(np.array([half[0], 0.0, 0.0]))
        rgb = shown.looks.peg_head_rgb
        place_distractor(model, data, _HEAD, Distractor("box", tuple(half), rgb, Pose(head, pose.quaternion)))
        pose = Pose(pose.apply(np.array([-half[0], 0.0, 0.0])), pose.quaternion)
    geom = model.geom("cube").id
    model.geom_size[geom], model.geom_rbound[geom] = half, np.linalg.norm(half)
    data.qpos[9:12], data.qpos[12:16] = pose.position, pose.quaternion


def render_samples(
    count: int,
    seed: int,
    width: int = scene.CAMERA_WIDTH,
    height: int = scene.CAMERA_HEIGHT,
    spec: TaskSpec = LIFT_CUBE,
    empty_share: float = 0.0,
) -> Iterator[Sample]:
    """`count` labelled pictures, the same for the same seed. Raises NoOffscreenRendering.

    spec: whose object is shown, a cube or a peg. empty_share: of pictures without it, for counting false detections.
    """
    model = scene.build_model(DISTRACTORS + 1)
    scene.dress_as_cube(model, _HEAD)
    data = mujoco.MjData(model)
    arranger = Arranger(model, spec, seed, empty_share)
    renderer = rendering.SceneRenderer(model, width, height)
    parts = ["cube", _HEAD] if is_long(spec) else ["cube"]
    try:
        for _ in range(count):
            shown = arranger.draw()
            looks.apply(model, shown.looks)
            renderer.reload_looks()
            scene.set_camera_pose(model, shown.T_base_camera)
            model.camera(scene.CAMERA_NAME).fovy[:] = np.rad2deg(shown.fovy_rad)
            data.qpos[:7], data.qpos[7:9] = shown.q_rad, shown.finger_width_m / 2
            for i in range(DISTRACTORS + 1):
                there = shown.distractors[i] if i < len(shown.distractors) else None
                place_distractor(model, data, f"distractor_{i}", there)
            _place_object(model, data, spec, shown)
            mujoco.mj_kinematics(model, data)
            mujoco.mj_camlight(model, data)
            rgb, depth_m = renderer.render(data)
            mask = np.any([renderer.segment(data, part) for part in parts], axis=0)
            K = scene.intrinsics(width, height, shown.fovy_rad).matrix()
            yield Sample(rgb, depth_m, mask, shown.pose_base_object, shown.T_base_camera, K, shown.held)
    finally:
        renderer.close()
