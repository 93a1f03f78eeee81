"""franky-sim's robot and gripper servers, corrected where a policy would notice: clock, answers awaited, grasp force.

They reach into franky-sim 1.0.4 (names with underscores) because it offers no other way; the version is pinned.
"""

from __future__ import annotations

import select
import socket
import time
from typing import Any

import numpy as np
from franky_sim.franka_gripper_protocol import GripperCommandStatus, GripperState
from franky_sim.franka_gripper_server import FrankaGripperServer
from franky_sim.franka_robot_protocol import MoveCommandControllerMode
from franky_sim.franka_robot_server import ControlMode, FrankaRobotServer
from franky_sim.franka_server import BaseCommand

from robot_runtime.mock_cell.arm import STATE_RECORD, CellArm

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

    def __init__(self, robot: CellArm, hostname: str, clock: RobotClock) -> None:
        super().__init__(robot, hostname)
        self._clock = clock
        self._is_grasping = False

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

    def _get_state_bytes(self) -> bytes:
        width = self._robot.hand_width
        low, high = self._goal_width - self._goal_epsilon_inner, self._goal_width + self._goal_epsilon_outer
        self._is_grasping = self._is_grasping and self._robot.grasp is not None and low <= width <= high
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

    def __init__(self, robot: CellArm, hostname: str, clock: RobotClock) -> None:
        super().__init__(robot, [hostname])
        self._clock = clock
        self._torque_state: tuple[int, np.ndarray] | None = None
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

    def _get_state_bytes(self) -> bytes:
        motion = self.current_motion_id
        if self._FrankaRobotServer__control_mode is not ControlMode.TORQUE:
            self._torque_state = None
            record = np.frombuffer(bytearray(super()._get_state_bytes()), STATE_RECORD)
        elif self._torque_state is None or self._torque_state[0] != motion:
            record = np.frombuffer(bytearray(super()._get_state_bytes()), STATE_RECORD)
            self._torque_state = motion, record
        else:
            record = self._torque_state[1]
            self.robot.write_torque_mode_state(record[0])
            record[0]["tau_J_d"] = self._FrankaRobotServer__current_control_command.tau_J_d
        # franky-sim reports the torque it applies, gravity included; nothing external acts unless something is touched.
        record[0]["tau_ext_hat_filtered"] = 0.0
        return record.tobytes()
