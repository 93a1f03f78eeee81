"""franky-sim's gripper server, corrected where a policy would notice: clock, grasp force, a lost object.

It reaches into franky-sim 1.0.4 (names with underscores) because it offers no other way; the version is pinned.
"""

from __future__ import annotations

import socket
from typing import Any

from franky_sim.franka_gripper_protocol import GripperCommandStatus, GripperState
from franky_sim.franka_gripper_server import FrankaGripperServer
from franky_sim.franka_server import BaseCommand

from robot_runtime.mock_cell.arm import CellArm
from robot_runtime.mock_cell.clock import RobotClock
from robot_runtime.mock_cell.one_client import OneClient


class CellGripperServer(FrankaGripperServer):
    """Franka Hand whose grasp pushes with the force asked for, whatever the width, and that notices a lost object.

    stuck_until: tick up to which it answers nothing and does not move.
    """

    def __init__(self, robot: CellArm, hostname: str, clock: RobotClock) -> None:
        super().__init__(robot, hostname)
        self._clock = clock
        self._is_grasping = False
        self.stuck_until = 0
        self._door = OneClient(self)

    def process_commands(self) -> None:
        """Takes commands, unless it is stuck."""
        self._robot.blocked = self._clock.tick < self.stuck_until
        if not self._robot.blocked:
            super().process_commands()
            self._door.turn_others_away(self._clock.tick)

    def send_state(self) -> None:
        """Tells its state, unless it is stuck."""
        if not self._robot.blocked:
            super().send_state()

    def start_grasp(
        self, width: float, speed: float, force: float, epsilon_inner: float, epsilon_outer: float, *reply: Any
    ) -> None:
        """Closes at `speed` (each finger, at most the hand's own limit) and keeps pushing with `force`."""
        super().start_grasp(width, speed, force, epsilon_inner, epsilon_outer, *reply)
        self._robot.grasp = max(1.0, self._robot._hand_goal_force), max(0.005, self._robot._hand_goal_velocity)

    def start_move(self, *args: Any) -> None:
        """Releases whatever is held and moves to a width."""
        self._robot.grasp = None
        super().start_move(*args)

    def start_homing(self, *args: Any) -> None:
        """Releases whatever is held and measures the stroke."""
        self._robot.grasp = None
        super().start_homing(*args)

    def stop(self, command_id: int, tcp_socket: socket.socket) -> None:
        """Holds the present width; a command still under way is answered as aborted, so that nobody waits for ever."""
        self._robot.grasp = None
        if self._pending_command_id is not None and self._pending_tcp_socket is not None:
            BaseCommand.send_response(
                self._pending_tcp_socket,
                self._pending_command_type,
                self._pending_command_id,
                GripperCommandStatus.kAborted,
                command_type_struct="H",
                status_type_struct="H",
            )
        super().stop(command_id, tcp_socket)

    def _reset_state(self) -> None:
        """Without a client nobody waits for an answer; a motion under way goes on."""
        self._pending_command_id = self._pending_tcp_socket = self._pending_command_type = None

    def _get_state_bytes(self) -> bytes:
        width = self._robot.hand_width
        low, high = self._goal_width - self._goal_epsilon_inner, self._goal_width + self._goal_epsilon_outer
        self._is_grasping = self._is_grasping and self._robot.grasp is not None and low <= width <= high
        return GripperState(width, self._max_width, self._is_grasping, 20).pack()

    def _setup_udp_connection(self, network_udp_port: int) -> None:
        super()._setup_udp_connection(network_udp_port)
        self._FrankaServer__message_id = self._clock.tick + 1
