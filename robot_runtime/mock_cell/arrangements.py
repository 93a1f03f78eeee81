"""What a labelled picture shows, before any renderer: random arm, object, distractors, looks and camera."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from contract.poses import Pose, quat_from_axis_angle, quat_from_yaw, quat_multiply, quat_rotate, rotation_between
from contract.task_spec import TaskSpec
from contract.tasks import LIFT_CUBE
from robot_runtime.mock_cell import looks, scene
from robot_runtime.mock_cell.rendering import mujoco

DISTRACTORS = 6
NOWHERE_M = np.array([0.0, 0.0, -5.0])
"""Where an object is that a picture does not show."""
_SOLVED = 5e-3
_GRASP_ALONG = 0.6
"""A held peg is taken at most this share of its half length from its middle."""


@dataclass(frozen=True)
class Distractor:
    """A thing that is not the object. size_m: half sides of a box; radius; radius and half length of a cylinder."""

    kind: Literal["box", "ball", "cylinder"]
    size_m: tuple[float, float, float]
    rgb: looks.Rgb
    pose_base: Pose


@dataclass(frozen=True)
class Arrangement:
    """One random scene, in the base frame.

    q_rad: Shape (7,). finger_width_m: opening. pose_base_object: below the floor where `is_empty`.
    held: the object is between the fingers. T_base_camera: optical frame. fovy_rad: vertical field of view.
    """

    q_rad: np.ndarray
    finger_width_m: float
    pose_base_object: Pose
    held: bool
    is_empty: bool
    T_base_camera: Pose
    fovy_rad: float
    looks: looks.Looks
    distractors: tuple[Distractor, ...]


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


@dataclass(frozen=True)
class _Scene:
    """Object and tool before the arm is known to reach it."""

    object: Pose
    tool: Pose
    width_m: float
    held: bool = False


def is_long(spec: TaskSpec) -> bool:
    """Whether the object is a peg rather than something compact."""
    return spec.half_size_m[0] > 2 * spec.half_size_m[1]


def _standing(rng: np.random.Generator, spec: TaskSpec) -> Pose:
    """On the table, anywhere it may start. A peg lies, or stands on either end."""
    x, _, z = spec.half_size_m
    xy = rng.uniform(spec.object_low_m, spec.object_high_m)
    turned = quat_from_yaw(rng.uniform(-np.pi, np.pi))
    if not is_long(spec) or rng.random() < 0.7:
        return Pose(np.array([*xy, z]), turned)
    upright = quat_from_axis_angle(np.array([0.0, rng.choice([-0.5, 0.5]) * np.pi, 0.0]))
    return Pose(np.array([*xy, x]), quat_multiply(turned, upright))


def _random_tool(rng: np.random.Generator, position: np.ndarray, yaw: float) -> Pose:
    """Pointing down, up to a few degrees, and turned by `yaw`."""
    tilt = quat_from_axis_angle(rng.normal(0.0, 0.03, 3))
    down = quat_multiply(quat_from_yaw(yaw), np.array(LIFT_CUBE.start_quaternion))
    return Pose(position, quat_multiply(tilt, down))


def _held_cube(rng: np.random.Generator, spec: TaskSpec, lifted: bool) -> _Scene:
    """Fingers around a compact object, open on the table or closed at any height."""
    thing = _standing(rng, spec)
    quarter = rng.integers(-1, 2) * np.pi / 2 if rng.random() < 0.3 else 0.0
    yaw = np.arctan2(thing.quaternion[3], thing.quaternion[0]) * 2
    aligned = (yaw + np.pi / 4) % (np.pi / 2) - np.pi / 4 + quarter
    thing = replace(thing, position=thing.position + np.array([0.0, 0.0, rng.uniform(0.0, 0.30) if lifted else 0.0]))
    position = thing.position + np.array([*rng.normal(0.0, 0.004, 2), rng.uniform(-0.008, 0.012)])
    position[2] = max(position[2], 0.012)
    tool = _random_tool(rng, position, aligned + rng.normal(0.0, 0.04))
    if not lifted:
        return _Scene(thing, tool, rng.uniform(spec.object_width_m + 0.004, spec.gripper_open_m))
    lean = quat_from_axis_angle(rng.normal(0.0, 0.05, 3))
    thing = replace(thing, quaternion=quat_multiply(lean, thing.quaternion))
    return _Scene(thing, tool, spec.object_width_m + 0.001, held=True)


def _held_peg(rng: np.random.Generator, spec: TaskSpec, lifted: bool) -> _Scene:
    """Fingers across a peg; lifted, it is tilted anywhere between lying and standing, the hand rolled part of it."""
    x, _, z = spec.half_size_m
    yaw = rng.uniform(-np.pi / 2, np.pi / 2)
    tilt = rng.uniform(0.0, np.pi / 2) * rng.choice([-1.0, 1.0]) if lifted else 0.0
    across = np.array([-np.sin(yaw), np.cos(yaw), 0.0])
    tilted = quat_from_axis_angle(across * tilt)
    quaternion = quat_multiply(tilted, quat_from_yaw(yaw))
    lowest = x * abs(np.sin(tilt)) + z * np.cos(tilt)
    xy = rng.uniform(spec.object_low_m, spec.object_high_m)
    centre = np.array([*xy, lowest + (rng.exponential(0.08) if lifted else 0.0)])
    along = rng.uniform(-_GRASP_ALONG, _GRASP_ALONG) * x
    position = centre + quat_rotate(quaternion, np.array([along, 0.0, 0.0])) + rng.normal(0.0, 0.003, 3)
    position[2] = max(position[2], 0.012)
    down = quat_multiply(quat_from_yaw(yaw + rng.normal(0.0, 0.04)), np.array(LIFT_CUBE.start_quaternion))
    roll = quat_from_axis_angle(across * tilt * rng.uniform(0.0, 1.0))
    if not lifted:
        width = rng.uniform(spec.object_width_m + 0.004, spec.gripper_open_m)
        return _Scene(Pose(centre, quaternion), Pose(position, down), width)
    return _Scene(Pose(centre, quaternion), Pose(position, quat_multiply(roll, down)), 0.041, held=True)


def _random_scene(rng: np.random.Generator, spec: TaskSpec) -> _Scene:
    """The hand anywhere over the table, near the object, around it, or holding it."""
    case = rng.choice(["anywhere", "near", "grasp", "held"], p=[0.3, 0.35, 0.1, 0.25])
    if case in ("grasp", "held"):
        return (_held_peg if is_long(spec) else _held_cube)(rng, spec, lifted=case == "held")
    thing = _standing(rng, spec)
    yaw = rng.uniform(-1.2, 1.2)
    if case == "anywhere":
        tool = _random_tool(rng, rng.uniform([0.35, -0.3, 0.10], [0.72, 0.3, 0.45]), yaw)
        return _Scene(thing, tool, rng.uniform(0.0, spec.gripper_open_m))
    # Above it, low enough to hide parts of it and high enough not to pass through it.
    offset = np.array([*rng.normal(0.0, 0.04, 2), thing.position[2] + 0.01 + rng.exponential(0.06)])
    tool = _random_tool(rng, thing.position + offset, yaw)
    return _Scene(thing, tool, rng.uniform(spec.object_width_m + 0.004, spec.gripper_open_m))


def random_distractors(rng: np.random.Generator, is_free: Callable[[np.ndarray, float], bool]) -> Iterator[Distractor]:
    """Boxes, balls and cylinders standing on the table. is_free: whether one of that radius (m) may be at xy (2,)."""
    for _ in range(rng.integers(0, DISTRACTORS + 1)):
        kind: Literal["box", "ball", "cylinder"] = rng.choice(["box", "ball", "cylinder"])
        size = rng.uniform(0.012, 0.05, 3)
        xy = rng.uniform([0.25, -0.45], [0.90, 0.45])
        rgb = looks.distractor_rgb(rng)
        if is_free(xy, 1.45 * size[:2].max()):
            height = {"box": size[2], "ball": size[0], "cylinder": size[1]}[kind]
            pose = Pose(np.array([*xy, height]), quat_from_yaw(rng.uniform(-np.pi, np.pi)))
            yield Distractor(kind, (size[0], size[1], size[2]), rgb, pose)


def _clear_of(pose: Pose, reach_m: float) -> Callable[[np.ndarray, float], bool]:
    return lambda xy, radius_m: bool(np.linalg.norm(xy - pose.position[:2]) > reach_m + radius_m)


def _random_camera(rng: np.random.Generator) -> tuple[Pose, float]:
    """The camera moved by about 2 cm and 2 degrees, its field of view changed by 1 %."""
    nominal = scene.nominal_T_base_camera()
    turn = quat_from_axis_angle(rng.normal(0.0, np.deg2rad(1.5), 3))
    pose = Pose(nominal.position + rng.normal(0.0, 0.015, 3), quat_multiply(turn, nominal.quaternion))
    return pose, float(scene.CAMERA_FOVY_RAD * rng.normal(1.0, 0.01))


class Arranger:
    """Draws arrangements of one object, the same for the same seed."""

    def __init__(self, model: mujoco.MjModel, spec: TaskSpec, seed: int, empty_share: float = 0.0) -> None:
        """model: whose arm reaches. empty_share: of arrangements that lack the object."""
        self._rng = np.random.default_rng(seed)
        self._model, self._data = model, mujoco.MjData(model)
        self._spec, self._empty_share = spec, empty_share

    def draw(self) -> Arrangement:
        """The next one."""
        rng, long = self._rng, is_long(self._spec)
        look = looks.random_looks(rng, long) if rng.random() < 0.8 else looks.Looks()
        T_base_camera, fovy_rad = _random_camera(rng)
        drawn = _random_scene(rng, self._spec)
        while solve_tcp(self._model, self._data, drawn.tool) > _SOLVED:
            drawn = _random_scene(rng, self._spec)
        reach_m = float(np.hypot(*self._spec.half_size_m[:2])) if long else 0.045
        distractors = tuple(random_distractors(rng, _clear_of(drawn.object, reach_m)))
        is_empty = bool(rng.random() < self._empty_share)
        thing = Pose(NOWHERE_M, drawn.object.quaternion) if is_empty else drawn.object
        return Arrangement(
            self._data.qpos[:7].copy(), drawn.width_m, thing, drawn.held and not is_empty, is_empty,
            T_base_camera, fovy_rad, look, distractors,
        )  # fmt: skip


def arrangements(count: int, seed: int, spec: TaskSpec = LIFT_CUBE, empty_share: float = 0.0) -> Iterator[Arrangement]:
    """`count` random arrangements, the same for the same seed, for a renderer that has no arm to solve for."""
    arranger = Arranger(scene.build_model(), spec, seed, empty_share)
    for _ in range(count):
        yield arranger.draw()
