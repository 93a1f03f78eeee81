"""What goes wrong in the cell, on command: each method is one disturbance, its parameters are the command's values."""

from __future__ import annotations

import difflib
import inspect
import math
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, get_args

import numpy as np

from calibration.board import Board, UnknownBoard
from robot_runtime.mock_cell import variants
from robot_runtime.mock_cell.clock import RobotClock, ticks
from robot_runtime.mock_cell.external_forces import ExternalForces
from robot_runtime.mock_cell.fci import CellRobotServer
from robot_runtime.mock_cell.referee import Referee
from robot_runtime.mock_cell.reflexes import error_index
from robot_runtime.mock_cell.snapshots import CameraFault, FrameClock, PlainPose, ShownBoard, View

_FAR_AWAY_M = (0.45, 0.30)
"""Where an object goes that is taken away: a corner of the table, on the side where the hand is not."""


class UnknownDisturbance(ValueError):
    """The mock cell knows no such disturbance, or not with such values."""


class Disturbances:
    """Of one running cell. Robot time unless said otherwise; everything lasts until its time is over or `calm`."""

    def __init__(
        self, clock: RobotClock, server: CellRobotServer, forces: ExternalForces, referee: Referee, frames: FrameClock
    ) -> None:
        self._clock, self._server, self._forces = clock, server, forces
        self._referee, self._frames = referee, frames
        self._push_n, self._push_until = np.zeros(3), 0
        self._object_velocity, self._object_until = np.zeros(2), 0
        self._silent_until_s = 0.0

    # --- what the physics loop asks -----------------------------------------------------------------------------------

    @property
    def silent(self) -> bool:
        """Whether the robot neither steps nor sends."""
        return time.monotonic() < self._silent_until_s

    def before_step(self) -> None:
        """Keeps pushing, or lets go."""
        if self._clock.tick < self._object_until:
            self._referee.push_cube(self._object_velocity)
        elif self._object_until:
            self._leave_object()
        if self._clock.tick < self._push_until:
            self._forces.push(self._push_n, self._server.robot.tool_position)
        elif self._push_until:
            self._let_go()

    def command(self, name: str, values: dict[str, Any]) -> None:
        """Does what a method of that name does. Raises UnknownDisturbance, and nothing has changed then."""
        if name not in DISTURBANCES:
            near = difflib.get_close_matches(name, DISTURBANCES, n=1, cutoff=0.0)[0]
            raise UnknownDisturbance(f"There is no disturbance '{name}'; did you mean '{near}'?")
        signature = inspect.signature(DISTURBANCES[name])
        known = list(signature.parameters)[1:]
        for value in values:
            if value not in known:
                near = difflib.get_close_matches(value, known, n=1, cutoff=0.0)
                hint = f"did you mean '{near[0]}'?" if near else "it takes none."
                raise UnknownDisturbance(f"Disturbance '{name}' has no value '{value}'; {hint}")
        try:
            signature.bind(self, **values)
        except TypeError as error:
            raise UnknownDisturbance(f"Disturbance '{name}' needs {', '.join(known)}.") from error
        DISTURBANCES[name](self, **values)

    # --- disturbances -------------------------------------------------------------------------------------------------

    def push(self, force_n: list[float], seconds: float) -> None:
        """A hand pushes on the tool centre point: newtons, base frame (3,)."""
        if not isinstance(force_n, list) or len(force_n) != 3:
            raise UnknownDisturbance("Value 'force_n' must be three numbers.")
        force = np.array([_number("force_n", part, -500.0, 500.0) for part in force_n])
        self._push_until = self._clock.tick + ticks(_number("seconds", seconds, 0.0, 3600.0))
        self._push_n = force

    def payload(self, mass_kg: float) -> None:
        """The hand becomes heavier by this much and nobody tells the controller."""
        self._forces.set_payload(_number("mass_kg", mass_kg, 0.0, 5.0))

    def user_stop(self, pressed: bool) -> None:
        """Presses or releases it."""
        if not isinstance(pressed, bool):
            raise UnknownDisturbance("Value 'pressed' must be true or false.")
        self._server.press_user_stop(pressed)

    def reflex(self, error: str) -> None:
        """The arm stops itself with that error."""
        error_index(error)
        self._server.reflex(error)

    def lose_packets(self, count: int) -> None:
        """The next answers of the client, in a row, are lost."""
        self._server.link.lose(int(_number("count", count, 0, 1_000_000)))

    def packet_loss(self, share: float, seed: int) -> None:
        """That share of the client's answers is lost, at random."""
        self._server.link.lose_share(_number("share", share, 0.0, 1.0), int(_number("seed", seed, 0, 2**31)))

    def delay(self, seconds: float) -> None:
        """States and answers take so long on their way, each."""
        self._server.link.delay_ticks = ticks(_number("seconds", seconds, 0.0, 10.0))

    def silence(self, seconds: float) -> None:
        """The robot neither sends nor steps for that wall time: its own does not go on."""
        self._silent_until_s = time.monotonic() + _number("seconds", seconds, 0.0, 60.0)

    def restart(self) -> None:
        """The controller reboots: connections drop, its time and settings begin anew, errors are gone."""
        self._server.restart()
        self._referee.begin(0.0)
        self._frames.restart()
        self._server.gripper_server.stuck_until = 0
        self._leave_object()
        self._let_go()

    def gripper_stuck(self, seconds: float) -> None:
        """The hand answers nothing and does not move."""
        self._server.gripper_server.stuck_until = self._clock.tick + ticks(_number("seconds", seconds, 0.0, 3600.0))

    def push_object(self, velocity_m_s: list[float], seconds: float) -> None:
        """A finger pushes the cube along the table with 3 N at most: metres per second, base frame (2,)."""
        if not isinstance(velocity_m_s, list) or len(velocity_m_s) != 2:
            raise UnknownDisturbance("Value 'velocity_m_s' must be two numbers.")
        velocity = np.array([_number("velocity_m_s", part, -1.0, 1.0) for part in velocity_m_s])
        self._object_until = self._clock.tick + ticks(_number("seconds", seconds, 0.0, 10.0))
        self._object_velocity = velocity

    def take_object(self) -> None:
        """The cube is taken out of the fingers, and lies far away on the table."""
        side = -1.0 if self._server.robot.tool_position[1] > 0.0 else 1.0
        self._referee.move_cube(np.array([_FAR_AWAY_M[0], side * _FAR_AWAY_M[1]]), on_table=True)

    def move_object(self, dx: float, dy: float) -> None:
        """The cube jumps by so many metres."""
        jump = np.array([_number("dx", dx, -1.0, 1.0), _number("dy", dy, -1.0, 1.0)])
        self._referee.move_cube(self._referee.cube_xy + jump)

    def place_object(self, x: float, y: float, yaw_rad: float) -> None:
        """The cube lies there on the table, m, turned by that."""
        at = np.array([_number("x", x, -1.0, 1.0), _number("y", y, -1.0, 1.0)])
        self._referee.place_cube(at, _number("yaw_rad", yaw_rad, -7.0, 7.0))

    def camera(self, kind: str) -> None:
        """The camera fails in one way (snapshots.View), or in none."""
        if kind not in get_args(CameraFault):
            near = difflib.get_close_matches(str(kind), get_args(CameraFault), n=1, cutoff=0.0)[0]
            raise UnknownDisturbance(f"There is no camera fault '{kind}'; did you mean '{near}'?")
        self._frames.view = replace(self._frames.view, fault=kind)  # type: ignore[arg-type]

    def lookalike(self, x: float | None = None, y: float | None = None) -> None:
        """A second cube of the same looks, which only the camera sees, stands there (m); without values it goes."""
        standing = None
        if x is not None or y is not None:
            standing = _number("x", x, -2.0, 2.0), _number("y", y, -2.0, 2.0)
        self._frames.view = replace(self._frames.view, lookalike=standing)

    def looks(self, seed: int | None = None) -> None:
        """The camera sees another laboratory: colours, textures, light, things on the table; its own without a seed."""
        drawn = None if seed is None else int(_number("seed", seed, 0, 2**31))
        self._frames.view = replace(self._frames.view, looks=drawn)

    def variant(self, kind: str | None = None) -> None:
        """Another cube lies there (variants.VARIANTS); without a kind the one that belongs to the looks."""
        try:
            edge_m = variants.variant(variants.NOMINAL if kind is None else str(kind)).edge_m
        except variants.UnknownVariant as error:
            raise UnknownDisturbance(str(error)) from error
        self._referee.become(edge_m)
        self._frames.view = replace(self._frames.view, variant=kind)

    def place_camera(self, pose: list[float] | None = None, wrist: bool = False) -> None:
        """Somebody puts the fixed camera elsewhere (T_base_camera), or the `wrist` camera on the hand (T_tcp_camera).

        pose: position, m, and quaternion wxyz of the optical frame; without it the camera goes back to where it was.
        """
        place = None if pose is None else _pose("pose", pose)
        changed: dict[str, Any] = {"wrist" if wrist else "camera": place}
        self._frames.view = replace(self._frames.view, **changed)

    def show_board(self, board: str | None = None, on: str = "tool", pose: list[float] | None = None) -> None:
        """A calibration board, which only the cameras see, on the `tool` or the `table`; without values it goes.

        board: as `Board.parse` reads it. pose: position, m, and quaternion wxyz in that frame.
        """
        if board is None:
            self._frames.view = replace(self._frames.view, board=None)
            return
        if on not in ("tool", "table"):
            raise UnknownDisturbance("Value 'on' must be 'tool' or 'table'.")
        try:
            Board.parse(str(board))
        except UnknownBoard as error:
            raise UnknownDisturbance(str(error)) from error
        shown = ShownBoard(board, on, _pose("pose", pose))  # type: ignore[arg-type]
        self._frames.view = replace(self._frames.view, board=shown)

    def calm(self) -> None:
        """Ends all of them. Errors of the arm wait for their recovery; an object, a camera, a board stay where put."""
        self._silent_until_s, self._server.gripper_server.stuck_until = 0.0, 0
        self._leave_object()
        self._let_go()
        self._forces.set_payload(0.0)
        self._server.press_user_stop(False)
        self._server.link.calm()
        view = self._frames.view
        self._frames.view = View(variant=view.variant, camera=view.camera, wrist=view.wrist, board=view.board)

    def _leave_object(self) -> None:
        self._object_until = 0
        self._referee.leave_cube()

    def _let_go(self) -> None:
        self._push_until = 0
        self._forces.push(np.zeros(3), np.zeros(3))


def _number(name: str, value: Any, low: float, high: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise UnknownDisturbance(f"Value '{name}' must be a number.")
    if not low <= value <= high:
        raise UnknownDisturbance(f"Value '{name}' must lie between {low:g} and {high:g}.")
    return value


def _pose(name: str, values: Any) -> PlainPose:
    if not isinstance(values, list) or len(values) != 7:
        raise UnknownDisturbance(f"Value '{name}' must be seven numbers: position and quaternion wxyz.")
    pose = [_number(name, value, -5.0, 5.0) for value in values]
    if abs(math.hypot(*pose[3:]) - 1.0) > 1e-3:
        raise UnknownDisturbance(f"Value '{name}' must end in a quaternion of unit length.")
    return (pose[0], pose[1], pose[2], pose[3], pose[4], pose[5], pose[6])


DISTURBANCES: dict[str, Callable[..., None]] = {
    method.__name__: method
    for method in (
        Disturbances.push, Disturbances.payload, Disturbances.user_stop, Disturbances.reflex,
        Disturbances.lose_packets, Disturbances.packet_loss, Disturbances.delay, Disturbances.silence,
        Disturbances.restart, Disturbances.gripper_stuck, Disturbances.push_object, Disturbances.take_object,
        Disturbances.move_object, Disturbances.place_object, Disturbances.camera, Disturbances.lookalike,
        Disturbances.looks, Disturbances.variant, Disturbances.place_camera, Disturbances.show_board, Disturbances.calm,
    )
}  # fmt: skip
