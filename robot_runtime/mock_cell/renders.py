"""Labelled pictures of the scene without physics: random arm, cube, distractors, looks and camera."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from contract.poses import Pose, quat_from_axis_angle, quat_from_yaw, quat_multiply, rotation_between
from contract.tasks import LIFT_CUBE
from robot_runtime.mock_cell import looks, rendering, scene
from robot_runtime.mock_cell.rendering import mujoco

DISTRACTORS = 6


@dataclass(frozen=True)
class Sample:
    """One labelled picture.

    rgb: (H, W, 3) uint8. depth_m: along the optical axis, (H, W) float32. mask: the cube as seen, (H, W) bool;
    all False when it is hidden. K: (3, 3). held: the cube is between the fingers.
    """

    rgb: np.ndarray
    depth_m: np.ndarray
    mask: np.ndarray
    pose_base_object: Pose
    T_base_camera: Pose
    K: np.ndarray
    held: bool


def solve_tcp(model: mujoco.MjModel, data: mujoco.MjData, target_base_tcp: Pose) -> float:
    """Moves the arm's qpos so that the tool is at the target; returns what remains, metres plus radians.

    Damped least squares from the task's start pose, the start posture as weak second goal.
    """
    hand = model.body("robot0_hand").id
    q_start = np.array(LIFT_CUBE.start_q_rad)
    low, high = model.jnt_range[:7].T
    data.qpos[:7] = q_start
    linear, angular = np.zeros((3, model.nv)), np.zeros((3, model.nv))
    error = np.full(6, np.inf)
    for _ in range(30):
        mujoco.mj_kinematics(model, data)
        mujoco.mj_comPos(model, data)
        tcp = data.xpos[hand] + data.xmat[hand].reshape(3, 3)[:, 2] * scene.TCP_FROM_HAND_M
        error = np.concatenate(
            [target_base_tcp.position - tcp, rotation_between(data.xquat[hand], target_base_tcp.quaternion)]
        )
        if np.linalg.norm(error) < 1e-4:
            break
        mujoco.mj_jac(model, data, linear, angular, tcp, hand)
        J = np.concatenate([linear[:, :7], angular[:, :7]])
        step = J.T @ np.linalg.solve(J @ J.T + 1e-4 * np.eye(6), error)
        data.qpos[:7] = np.clip(data.qpos[:7] + np.clip(step, -0.3, 0.3), low, high)
    return float(np.linalg.norm(error))


def _random_cube(rng: np.random.Generator) -> Pose:
    position = np.array([*rng.uniform(LIFT_CUBE.object_low_m, LIFT_CUBE.object_high_m), scene.CUBE_EDGE_M / 2])
    return Pose(position, quat_from_yaw(rng.uniform(-np.pi, np.pi)))


def _random_tool(rng: np.random.Generator, position: np.ndarray, yaw: float) -> Pose:
    """Pointing down, up to a few degrees, and turned by `yaw`."""
    tilt = quat_from_axis_angle(rng.normal(0.0, 0.03, 3))
    down = quat_multiply(quat_from_yaw(yaw), np.array(LIFT_CUBE.start_quaternion))
    return Pose(position, quat_multiply(tilt, down))


def _pose_arm_and_cube(model: mujoco.MjModel, data: mujoco.MjData, rng: np.random.Generator) -> tuple[Pose, bool]:
    """Writes qpos of arm, fingers and cube: over the table, reaching for the cube, or holding it."""
    cube = _random_cube(rng)
    case = rng.choice(["anywhere", "near", "grasp", "held"], p=[0.3, 0.35, 0.1, 0.25])
    width = rng.uniform(scene.CUBE_EDGE_M + 0.004, LIFT_CUBE.gripper_open_m)
    quarter = rng.integers(-1, 2) * np.pi / 2 if rng.random() < 0.3 else 0.0
    cube_yaw = np.arctan2(cube.quaternion[3], cube.quaternion[0]) * 2
    aligned = (cube_yaw + np.pi / 4) % (np.pi / 2) - np.pi / 4 + quarter
    if case == "anywhere":
        position = rng.uniform([0.35, -0.3, 0.10], [0.72, 0.3, 0.45])
        tool = _random_tool(rng, position, rng.uniform(-1.2, 1.2))
        width = rng.uniform(0.0, LIFT_CUBE.gripper_open_m)
    elif case == "near":
        # Above the cube, low enough to hide parts of it and high enough not to pass through it.
        offset = np.array([*rng.normal(0.0, 0.04, 2), scene.CUBE_EDGE_M / 2 + 0.01 + rng.exponential(0.06)])
        tool = _random_tool(rng, cube.position + offset, rng.uniform(-1.2, 1.2))
    else:
        height = 0.0 if case == "grasp" else rng.uniform(0.0, 0.30)
        cube = Pose(cube.position + np.array([0.0, 0.0, height]), cube.quaternion)
        slip = np.array([*rng.normal(0.0, 0.004, 2), rng.uniform(-0.008, 0.012)])
        position = cube.position + slip
        position[2] = max(position[2], 0.012)
        tool = _random_tool(rng, position, aligned + rng.normal(0.0, 0.04))
        if case == "held":
            width = scene.CUBE_EDGE_M + 0.001
            lean = quat_from_axis_angle(rng.normal(0.0, 0.05, 3))
            cube = Pose(cube.position, quat_multiply(lean, cube.quaternion))
    if solve_tcp(model, data, tool) > 5e-3:
        return _pose_arm_and_cube(model, data, rng)
    data.qpos[7:9] = width / 2
    data.qpos[9:12], data.qpos[12:16] = cube.position, cube.quaternion
    return cube, case == "held"


def _place_distractors(model: mujoco.MjModel, data: mujoco.MjData, rng: np.random.Generator, cube: Pose) -> None:
    """Boxes, balls and cylinders standing on the table, clear of the cube."""
    shown = rng.integers(0, DISTRACTORS + 1)
    for i in range(DISTRACTORS):
        geom, mocap = model.geom(f"distractor_{i}"), model.body(f"distractor_{i}").mocapid[0]
        kind = rng.choice([mujoco.mjtGeom.mjGEOM_BOX, mujoco.mjtGeom.mjGEOM_SPHERE, mujoco.mjtGeom.mjGEOM_CYLINDER])
        size = rng.uniform(0.012, 0.05, 3)
        xy = rng.uniform([0.25, -0.45], [0.90, 0.45])
        if i >= shown or np.linalg.norm(xy - cube.position[:2]) < 0.045 + 1.45 * size[:2].max():
            data.mocap_pos[mocap] = (0.0, 0.0, -5.0)
            continue
        model.geom_type[geom.id] = kind
        model.geom_size[geom.id] = size
        # Culling in the renderer goes by this radius.
        model.geom_rbound[geom.id] = np.linalg.norm(size)
        geom.rgba[:3] = looks.distractor_rgb(rng)
        height = {mujoco.mjtGeom.mjGEOM_SPHERE: size[0], mujoco.mjtGeom.mjGEOM_CYLINDER: size[1]}.get(kind, size[2])
        data.mocap_pos[mocap] = (*xy, height)
        data.mocap_quat[mocap] = quat_from_yaw(rng.uniform(-np.pi, np.pi))


def _jitter_camera(model: mujoco.MjModel, rng: np.random.Generator) -> float:
    """Moves the camera by about 2 cm and 2 degrees, changes its field of view by 1 %; returns the latter, radians."""
    nominal = scene.nominal_T_base_camera()
    turn = quat_from_axis_angle(rng.normal(0.0, np.deg2rad(1.5), 3))
    scene.set_camera_pose(
        model, Pose(nominal.position + rng.normal(0.0, 0.015, 3), quat_multiply(turn, nominal.quaternion))
    )
    fovy = scene.CAMERA_FOVY_RAD * rng.normal(1.0, 0.01)
    model.camera(scene.CAMERA_NAME).fovy[:] = np.rad2deg(fovy)
    return float(fovy)


def render_samples(
    count: int, seed: int, width: int = scene.CAMERA_WIDTH, height: int = scene.CAMERA_HEIGHT
) -> Iterator[Sample]:
    """`count` labelled pictures, the same for the same seed. Raises NoOffscreenRendering."""
    rng = np.random.default_rng(seed)
    model = scene.build_model(DISTRACTORS)
    data = mujoco.MjData(model)
    renderer = rendering.SceneRenderer(model, width, height)
    try:
        for _ in range(count):
            looks.apply(model, looks.random_looks(rng) if rng.random() < 0.8 else looks.Looks())
            renderer.reload_looks()
            fovy = _jitter_camera(model, rng)
            cube, held = _pose_arm_and_cube(model, data, rng)
            _place_distractors(model, data, rng, cube)
            mujoco.mj_kinematics(model, data)
            mujoco.mj_camlight(model, data)
            rgb, depth_m = renderer.render(data)
            mask = renderer.segment(data, "cube")
            K = scene.intrinsics(width, height, fovy).matrix()
            yield Sample(rgb, depth_m, mask, cube, scene.camera_pose(model), K, held)
    finally:
        renderer.close()
