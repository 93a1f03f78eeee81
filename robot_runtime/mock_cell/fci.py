"""franky-sim's robot and gripper servers, corrected where a policy would notice: clock, answers awaited, grasp force.

They reach into franky-sim 1.0.4 (names with underscores) because it offers no other way; the version is pinned.
"""

from __future__ import annotations

import select
import socket
import time
from typing import Any

from franky_sim.franka_gripper_protocol import GripperCommandStatus, GripperState
from franky_sim.franka_gripper_server import FrankaGripperServer
from franky_sim.franka_robot_protocol import MoveCommandControllerMode
from franky_sim.franka_robot_server import FrankaRobotServer
from franky_sim.franka_server import BaseCommand
from franky_sim.mujoco_simulator import FrankaMujocoRobot

TICK_S = 0.001
"""The FCI's control period: one state and one physics step each."""

_ANSWER_DEADLINE_S = 0.02
_SILENT_AFTER_TICKS = 100


class RobotClock:
    """Counts control ticks since the cell started; states carry this as their time, over reconnections too."""

    def __init__(self) -> None:
        self.tick = 0

    @property
    def now_s(self) -> float:
        """Robot time of the last completed step."""
        return self.tick * TICK_S


class CellGripperServer(FrankaGripperServer):
    """Franka Hand whose grasp pushes with the force asked for, whatever the width, and that notices a lost object."""

    def __init__(self, robot: FrankaMujocoRobot, hostname: str, clock: RobotClock) -> None:
        super().__init__(robot, hostname)
        self._clock = clock
        self._grasp_force_n: float | None = None
        self._grasp_speed_m_s = 0.0
        self._is_grasping = False

    def start_grasp(
        self, width: float, speed: float, force: float, epsilon_inner: float, epsilon_outer: float, *reply: Any
    ) -> None:
        """Closes at `speed` (each finger, at most the hand's own limit) and keeps pushing with `force`."""
        super().start_grasp(width, speed, force, epsilon_inner, epsilon_outer, *reply)
        self._grasp_force_n = max(1.0, float(self._robot._hand_goal_force))
        self._grasp_speed_m_s = max(0.005, float(self._robot._hand_goal_velocity))

    def start_move(self, *args: Any) -> None:
        """Releases whatever is held and moves to a width."""
        self._grasp_force_n = None
        super().start_move(*args)

    def start_homing(self, *args: Any) -> None:
        """Releases whatever is held and measures the stroke."""
        self._grasp_force_n = None
        super().start_homing(*args)

    def stop(self, command_id: int, tcp_socket: socket.socket) -> None:
        """Holds the present width; a command still under way is answered as aborted, so that nobody waits for ever."""
        self._grasp_force_n = None
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

    def apply_grasp_force(self) -> None:
        """Before each physics step: constant closing force; damping makes the speed asked for its terminal velocity."""
        robot = self._robot
        damping = 0.21 if self._grasp_force_n is None else self._grasp_force_n / self._grasp_speed_m_s
        for dof in robot._finger_dof_addrs:
            robot.model.dof_damping[dof] = damping
            if self._grasp_force_n is not None:
                robot.data.qfrc_applied[dof] = -self._grasp_force_n

    def _get_state_bytes(self) -> bytes:
        width = self._robot.hand_width
        low, high = self._goal_width - self._goal_epsilon_inner, self._goal_width + self._goal_epsilon_outer
        self._is_grasping = self._is_grasping and self._grasp_force_n is not None and low <= width <= high
        return GripperState(width, self._max_width, self._is_grasping, 20).pack()

    def _setup_udp_connection(self, network_udp_port: int) -> None:
        super()._setup_udp_connection(network_udp_port)
        self._FrankaServer__message_id = self._clock.tick + 1


class CellRobotServer(FrankaRobotServer):
    """FR3 control server on one address whose clock never jumps back and which waits, within reason, for its client.

    A busy machine delays client and physics alike; waiting for the answer to the last state makes that slow robot time
    down instead of feeding the arm stale torques, which a lab's real-time kernel rules out. A client that stays silent
    is not waited for: its last torque is held, as before.
    """

    def __init__(self, robot: FrankaMujocoRobot, hostname: str, clock: RobotClock) -> None:
        super().__init__(robot, [hostname])
        self._clock = clock
        self._hostname = hostname
        self._answered_tick: int | None = None
        self._silent_ticks = 0

    def _bind_children(self, hostname: str) -> None:
        gripper = CellGripperServer(self.robot, hostname, self._clock)
        gripper.init()
        self._FrankaRobotServer__gripper_server = gripper

    def _setup_udp_connection(self, network_udp_port: int) -> None:
        super()._setup_udp_connection(network_udp_port)
        self._FrankaServer__message_id = self._clock.tick + 1

    def start_motion(self, controller_mode: MoveCommandControllerMode, *args: Any) -> None:
        """Begins a motion; its first answer is not waited for, since the client still has to enter its loop."""
        self._answered_tick = None
        self._silent_ticks = 0
        super().start_motion(controller_mode, *args)

    def _handle_udp_command(self, command_data: bytes) -> None:
        self._answered_tick = int.from_bytes(command_data[:8], "little")
        super()._handle_udp_command(command_data)

    def _process_udp_commands(self) -> bool:
        super()._process_udp_commands()
        deadline = time.monotonic() + _ANSWER_DEADLINE_S
        while self._awaits_answer() and (left := deadline - time.monotonic()) > 0:
            select.select([self._FrankaServer__udp_socket], [], [], left)
            super()._process_udp_commands()
        self._silent_ticks = self._silent_ticks + 1 if self._awaits_answer(even_if_silent=True) else 0
        return False

    def _awaits_answer(self, even_if_silent: bool = False) -> bool:
        return (
            self.udp_connected
            and self.current_motion_id > 0
            and self._answered_tick is not None
            and self._answered_tick < self._clock.tick
            and (even_if_silent or self._silent_ticks < _SILENT_AFTER_TICKS)
        )
