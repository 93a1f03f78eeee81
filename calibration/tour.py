"""Where the arm goes to show the board, or to look at it: tool poses with turns about all axes, each checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from calibration import kinematics
from calibration.board import Board
from calibration.hand_eye import Mount
from contract.poses import Pose, quat_from_axis_angle, quat_multiply, quat_rotate, rotation_between, slerp
from safety.joints import JointLimits
from safety.workspace import Workspace

POSES = 20
LEAST_POSES = 15
CLEAR_M = 0.05
"""Kept between the lowest corner of board or hand and the table."""
GRIP_M = 0.02
"""From the tool centre point to the upper edge of a board that the fingers hold."""
TILT_RAD, ROLL_RAD = np.deg2rad(45.0), np.deg2rad(45.0)
WRIST_CONE_RAD = np.deg2rad(40.0)
_WRIST_DISTANCE_M = (0.24, 0.42)
_STEEPEST_RAD = np.deg2rad(52.0)
_LOOK_UP_RAD = np.deg2rad(25.0)
_PICTURE_EDGE = 0.05
"""Of the picture's height, kept free around the board: where the camera is, is known roughly."""
_CANDIDATES, _REACHABLE = 6000, 50
_JOINT_MARGIN_RAD = 0.1
_SINGULAR_FACTOR = 2.0
_PATH_STEPS = 6
_HAND = np.array([[x, y, z] for x in (-0.035, 0.035) for y in (-0.105, 0.105) for z in (-0.045, -0.13)])
"""Corners of the Franka Hand's body in the tool's frame, metres (Franka Hand product manual)."""


class NoTour(RuntimeError):
    """There are too few poses at which arm, workspace and picture all allow a look at the board."""


@dataclass(frozen=True)
class Eye:
    """What is known beforehand. T_reference_camera, T_other_board: roughly (see `hand_eye`). K: (3, 3) for size_px."""

    mount: Mount
    T_reference_camera: Pose
    T_other_board: Pose
    K: np.ndarray
    size_px: tuple[int, int]


@dataclass(frozen=True)
class Room:
    """What the arm may use. q_near: joints (7,) it starts from and stays near."""

    workspace: Workspace
    joints: JointLimits
    q_near: np.ndarray


def held_board(board: Board) -> Pose:
    """T_tcp_board of a plate clamped upright between the fingers, hanging down, seen from the side of the tool's +y."""
    T = np.eye(4)
    T[:3, :3] = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])
    T[2, 3] = GRIP_M + board.plate_m[1] / 2
    return Pose.from_matrix(T)


def wrist_mount() -> Pose:
    """T_tcp_camera of a camera before the hand that looks along the fingers, for want of anything better."""
    T = np.eye(4)
    T[:3, :3] = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    T[:3, 3] = (0.07, 0.0, -0.07)
    return Pose.from_matrix(T)


def first_looks(mount: Mount, board: Board, room: Room) -> list[tuple[Pose, np.ndarray]]:
    """Tool poses, and joints, from which to look for the board before anything is known. Raises NoTour."""
    low, high = np.array(room.workspace.low_m), np.array(room.workspace.high_m)
    middle = np.clip([0.5, 0.0], low[:2] + 0.05, high[:2] - 0.05)
    if mount == "fixed":
        height = min(low[2] + CLEAR_M + GRIP_M + board.plate_m[1] + 0.06, high[2] - 0.01)
        wanted = [_facing(middle, height, np.deg2rad(yaw), board) for yaw in (0, 45, -45, 90, -90, 135, -135)]
    else:
        down = np.array([0.0, 1.0, 0.0, 0.0])
        height = min(low[2] + 0.36, high[2] - 0.01)
        places = [middle + off for off in ([0, 0], [0.08, 0], [-0.08, 0], [0, 0.12], [0, -0.12])]
        wanted = [Pose(np.array([*place, height]), down) for place in places]
    found = [(pose, _joints(pose, room)) for pose in wanted if room.workspace.outside_m(pose.position) <= 0]
    reached = [(pose, q) for pose, q in found if q is not None]
    if not reached:
        raise NoTour("The arm cannot hold the board up anywhere in the middle of the workspace: make that larger.")
    return reached


def _facing(middle: np.ndarray, height: float, yaw: float, board: Board) -> Pose:
    """The board's face towards that side, and somewhat up, where most cameras are."""
    c, s = np.cos(_LOOK_UP_RAD), np.sin(_LOOK_UP_RAD)
    viewer = np.array([c * np.cos(yaw), c * np.sin(yaw), s])
    down = np.array([s * np.cos(yaw), s * np.sin(yaw), -c])
    T = np.eye(4)
    T[:3, :3] = np.stack([np.cross(down, -viewer), down, -viewer], axis=1)
    turned = Pose.from_matrix(T) @ held_board(board).inverse()
    return Pose(np.array([*middle, height]), turned.quaternion)


def plan(eye: Eye, board: Board, room: Room, first: Pose, count: int = POSES, seed: int = 0) -> list[Pose]:
    """`count` tool poses in the order to be driven, beginning near `first`. The same for the same arguments.

    Raises NoTour with fewer than LEAST_POSES, or than `count` if that is less.
    """
    random = np.random.default_rng(seed)
    make = _held_candidate if eye.mount == "fixed" else _looking_candidate
    reachable: list[Pose] = []
    for _ in range(_CANDIDATES):
        pose = make(eye, room, first, random)
        if allowed(pose, eye, board, room) and _joints(pose, room) is not None:
            reachable.append(pose)
            if len(reachable) == _REACHABLE:
                break
    if len(reachable) < min(count, LEAST_POSES):
        raise NoTour(
            f"Only {len(reachable)} poses show the whole board inside the workspace: point the camera at the middle of"
            " the workspace from 0.6 to 1.1 m, or use a smaller board."
        )
    return _ordered(_spread(reachable, first, count), first, eye, board, room)


def _held_candidate(eye: Eye, room: Room, first: Pose, random: np.random.Generator) -> Pose:
    """The board's face to the camera, then tilted and rolled, at any place."""
    position = random.uniform(room.workspace.low_m, room.workspace.high_m)
    camera = eye.T_reference_camera
    facing = _facing_rotation(camera, position - camera.position)
    turned = quat_multiply(facing, quat_multiply(_tilt(random, TILT_RAD), _roll(random)))
    return Pose(position, np.asarray(quat_multiply(turned, eye.T_other_board.inverse().quaternion)))


def _looking_candidate(eye: Eye, room: Room, first: Pose, random: np.random.Generator) -> Pose:
    """The camera somewhere in a cone over the board, looking at it, rolled."""
    camera_first = first @ eye.T_reference_camera
    board = eye.T_other_board
    over = quat_multiply(board.quaternion, _tilt(random, WRIST_CONE_RAD))
    away = quat_rotate(over, np.array([0.0, 0.0, -1.0])) * random.uniform(*_WRIST_DISTANCE_M)
    aim = board.apply(np.array([*random.uniform(-0.03, 0.03, 2), 0.0]))
    facing = _facing_rotation(camera_first, -away)
    turned = quat_multiply(facing, quat_multiply(_tilt(random, 0.15), _roll(random)))
    return Pose(aim + away, turned) @ eye.T_reference_camera.inverse()


def _facing_rotation(camera: Pose, forward: np.ndarray) -> np.ndarray:
    """Quaternion of a frame whose z is `forward` and whose x is as near to the camera's as that allows."""
    z = forward / np.linalg.norm(forward)
    x = camera.matrix()[:3, 0]
    x = x - z * (x @ z)
    x /= np.linalg.norm(x)
    T = np.eye(4)
    T[:3, :3] = np.stack([x, np.cross(z, x), z], axis=1)
    return np.asarray(Pose.from_matrix(T).quaternion)


def _tilt(random: np.random.Generator, most_rad: float) -> np.ndarray:
    """About an axis in the plane; larger tilts as often as smaller ones."""
    about, angle = random.uniform(-np.pi, np.pi), random.uniform(0.0, most_rad)
    return np.asarray(quat_from_axis_angle(angle * np.array([np.cos(about), np.sin(about), 0.0])))


def _roll(random: np.random.Generator) -> np.ndarray:
    return np.asarray(quat_from_axis_angle(np.array([0.0, 0.0, random.uniform(-ROLL_RAD, ROLL_RAD)])))


def allowed(pose: Pose, eye: Eye, board: Board, room: Room) -> bool:
    """Inside the workspace, clear of the table, and the whole board in the picture and not too aslant."""
    if not clear(pose, eye, board, room):
        return False
    A = pose if eye.mount == "fixed" else pose.inverse()
    seen = eye.T_reference_camera.inverse() @ A @ eye.T_other_board
    corners = seen.apply(board.outline_board())
    if corners[:, 2].min() < 0.15:
        return False
    px = corners[:, :2] / corners[:, 2:] * eye.K[[0, 1], [0, 1]] + eye.K[:2, 2]
    edge, size = _PICTURE_EDGE * eye.size_px[1], np.array(eye.size_px)
    if (px < edge).any() or (px > size - 1 - edge).any():
        return False
    centre = seen.position / np.linalg.norm(seen.position)
    return bool(seen.matrix()[:3, 2] @ centre > np.cos(_STEEPEST_RAD))


def clear(pose: Pose, eye: Eye, board: Board, room: Room) -> bool:
    """The tool inside the workspace; hand, and board if it is held, too, and clear of the table."""
    space = room.workspace
    if space.outside_m(pose.position) > -0.005:
        return False
    if (pose.apply(_HAND)[:, 2] < space.low_m[2] + CLEAR_M).any():
        return False
    if eye.mount == "wrist":
        return bool(pose.position[2] > space.low_m[2] + CLEAR_M)
    corners = (pose @ eye.T_other_board).apply(board.outline_board())
    inside = space.above(space.low_m[2] + CLEAR_M)
    return all(inside.outside_m(corner) <= 0.0 for corner in corners)


def _joints(pose: Pose, room: Room) -> np.ndarray | None:
    """Joints that reach it clear of their ends and of singular poses, or None."""
    limits = room.joints
    low, high = limits.q_low + _JOINT_MARGIN_RAD, limits.q_high - _JOINT_MARGIN_RAD
    q = kinematics.joints_for(pose, np.clip(room.q_near, low, high), low, high)
    if q is None:
        return None
    least = np.linalg.svd(kinematics.tool_jacobian(q), compute_uv=False)[-1]
    return q if least > _SINGULAR_FACTOR * limits.singular_value else None


def _apart(a: Pose, b: Pose) -> float:
    """How different two poses are for a camera: radians, and half a radian for a quarter of a metre."""
    turn = np.linalg.norm(rotation_between(a.quaternion, b.quaternion))
    return float(turn + 2.0 * np.linalg.norm(a.position - b.position))


def _spread(poses: Sequence[Pose], first: Pose, count: int) -> list[Pose]:
    """Those that differ most from each other, beginning with the one nearest to `first`."""
    chosen = [min(poses, key=lambda pose: _apart(pose, first))]
    nearest = np.array([_apart(pose, chosen[0]) for pose in poses])
    while len(chosen) < min(count, len(poses)):
        k = int(np.argmax(nearest))
        chosen.append(poses[k])
        nearest = np.minimum(nearest, [_apart(pose, poses[k]) for pose in poses])
    return chosen


def seconds_between(a: Pose, b: Pose) -> float:
    """About as long as the arm takes."""
    turn = float(np.linalg.norm(rotation_between(a.quaternion, b.quaternion)))
    return max(float(np.linalg.norm(a.position - b.position)) / 0.22, turn / 1.15)


def _ordered(poses: list[Pose], first: Pose, eye: Eye, board: Board, room: Room) -> list[Pose]:
    """Always the nearest next; a way that would lead board or hand too low is no way. Drops what none leads to."""
    here, left, order = first, list(poses), list[Pose]()
    while left:
        ways = [pose for pose in left if not order or way_clear(here, pose, eye, board, room)]
        if not ways:
            break
        here = min(ways, key=lambda pose: seconds_between(here, pose))
        left = [pose for pose in left if pose is not here]
        order.append(here)
    if len(order) < min(len(poses), LEAST_POSES):
        raise NoTour("The ways between the poses lead too close to the table: raise the workspace's upper bound.")
    return order


def way_clear(a: Pose, b: Pose, eye: Eye, board: Board, room: Room) -> bool:
    """Whether the straight way between two poses keeps clear of the table and inside the workspace."""
    for share in np.linspace(0.0, 1.0, _PATH_STEPS)[1:-1]:
        between = Pose(a.position + share * (b.position - a.position), slerp(a.quaternion, b.quaternion, share))
        if not clear(between, eye, board, room):
            return False
    return True
