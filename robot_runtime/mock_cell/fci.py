"""franky-sim's robot server, with what a real controller does beyond it: clock, waiting, reflexes, user stop, loss.

It reaches into franky-sim 1.0.4 (names with underscores) because it offers no other way; the version is pinned.
"""

from __future__ import annotations

import select
import struct
from typing import Any

import numpy as np
from franky_sim.franka_robot_protocol import MoveCommandControllerMode, MoveStatus, RobotCommand, RobotMode
from franky_sim.franka_robot_server import ControlMode, FrankaRobotServer
from franky_sim.franka_server import BaseCommand

from robot_runtime.mock_cell.arm import STATE_RECORD, CellArm
from robot_runtime.mock_cell.clock import RobotClock
from robot_runtime.mock_cell.commands import COMMANDS
from robot_runtime.mock_cell.external_forces import ExternalForces
from robot_runtime.mock_cell.hand import CellGripperServer
from robot_runtime.mock_cell.one_client import OneClient
from robot_runtime.mock_cell.packets import MOST_LOST_IN_A_ROW, Link
from robot_runtime.mock_cell.reflexes import Reflexes, motion_errors, torque_jumped

_WAIT_S = 0.02
_MOST_WAITS = 40
"""In a row for an answer: together less than the second of wall time after which libfranka gives a silent robot up.

They are counted, not timed: a machine that stood still for a second has waited once.
"""

_START_TICKS = 500
"""A client that has started a motion may take so long to enter its loop."""


class CellRobotServer(FrankaRobotServer):
    """FR3 control server on one address whose clock never jumps back and which waits, within reason, for its client.

    A busy machine delays client and physics alike; waiting for the answer to the last state makes that slow robot time
    down instead of feeding the arm stale torques, which a lab's real-time kernel rules out. A client silent for longer
    is not waited for, and its answers count as lost.

    A reflex, the user stop or twenty lost answers end the motion; the arm then holds by itself, and new motions are
    refused until the error recovery or the stop's release, after which nothing more is needed. A second client is
    turned away. Not modelled: brakes, the button's and the recovery's own time, guiding, and safety functions.
    """

    def __init__(self, robot: CellArm, hostname: str, clock: RobotClock) -> None:
        self.reflexes, self.link = Reflexes(), Link()
        self.user_stopped = False
        self.reflex_stamp: float | None = None
        self.forces: ExternalForces
        self._clock = clock
        self._record_motion: int | None = None
        self._feels, self._felt, self._wrench_stiffness = False, False, np.zeros(6)
        self._answered_tick: int | None = None
        self._torque: np.ndarray | None = None
        self._sent_tick, self._torque_tick, self._motion_tick, self._waits = 0, 0, 0, 0
        self._door = OneClient(self)
        super().__init__(robot, [hostname])
        self._FrankaServer__command_class_map.update(COMMANDS)

    def attach(self, forces: ExternalForces) -> None:
        """Once the physics runs."""
        self.forces = forces

    # --- what may happen to it --------------------------------------------------------------------------------------

    @property
    def refuses_motion(self) -> bool:
        """Whether a reflex or the user stop forbids motions."""
        return self.user_stopped or self.reflexes.active

    def reflex(self, *errors: str) -> None:
        """Ends the motion, if there is one, with these errors."""
        self.reflexes.trip(*errors)
        self.reflex_stamp = self._clock.now_s
        self._abort(MoveStatus.kReflexAborted)

    def press_user_stop(self, pressed: bool) -> None:
        """Ends the motion and forbids others until it is released. The brakes are modelled as the arm's own holding."""
        self.user_stopped = pressed
        if pressed:
            self._abort(MoveStatus.kEmergencyAborted)

    def restart(self) -> None:
        """Drops every client and forgets what they set, as a rebooted controller; the arm holds where it is."""
        self.gripper_server.reset_state()
        self.reset_state()
        self.reflexes.reset()
        self.reflex_stamp = None
        self.robot.set_load(0.0, (0.0, 0.0, 0.0), (0.0,) * 9)
        self.robot.EE_T_K = tuple(np.eye(4).reshape(16).tolist())
        self.robot.set_NE_T_EE(self.robot.EE_T_K)
        self._clock.tick = 0

    def _abort(self, status: MoveStatus) -> None:
        if motion := self.current_motion_id:
            self.stop_motion(send_preemption_signal=False)
            BaseCommand.send_response(self._tcp_socket, RobotCommand.kMove, motion, status)
            self.reset_current_motion_id()

    # --- commands ---------------------------------------------------------------------------------------------------

    def start_motion(self, controller_mode: MoveCommandControllerMode, *args: Any) -> None:
        """Begins a motion; its first answer is not waited for, since the client still has to enter its loop."""
        self._forget_answers()
        self.link.begin_motion()
        self.reflexes.begin_motion()
        super().start_motion(controller_mode, *args)

    def process_commands(self) -> None:
        """Takes what clients sent and lets the controller of the motion act."""
        super().process_commands()
        self._door.turn_others_away(self._clock.tick)

    def _process_udp_commands(self) -> bool:
        super()._process_udp_commands()
        while self._awaits_answer() and self._waits < _MOST_WAITS:
            ready, _, _ = select.select([self._FrankaServer__udp_socket, self._tcp_socket], [], [], _WAIT_S)
            self._waits += not ready
            if self._tcp_socket in ready:
                self._FrankaServer__process_tcp_commands()  # the client may have gone, or ask for a stop
            super()._process_udp_commands()
        answers = self.link.arrived(self._clock.tick)
        for answer in answers:
            self._obey(answer)
        starting = self._answered_tick is None and self._clock.tick < self._motion_tick + _START_TICKS
        if self.current_motion_id > 0 and not starting:
            self.link.count(bool(answers))
            if self.link.lost_in_a_row >= MOST_LOST_IN_A_ROW:
                self.reflex("communication_constraints_violation")
        return False

    def _handle_udp_command(self, command_data: bytes) -> None:
        self._answered_tick, self._waits = int.from_bytes(command_data[:8], "little"), 0
        self.link.take(self._clock.tick, command_data)

    def _obey(self, command_data: bytes) -> None:
        super()._handle_udp_command(command_data)
        if self._control_mode is not ControlMode.TORQUE:
            return
        torque = np.array(self._command.tau_J_d)
        cycles = self._clock.tick - self._torque_tick
        if self._torque is not None and torque_jumped(self._torque, torque, max(1, cycles)):
            self.reflex("controller_torque_discontinuity")
        self._torque, self._torque_tick = torque, self._clock.tick

    def _awaits_answer(self) -> bool:
        return (
            self.udp_connected
            and self.current_motion_id > 0
            and self._answered_tick is not None
            and self._answered_tick < self._sent_tick
        )

    def _forget_answers(self) -> None:
        self._answered_tick, self._torque = None, None
        self._sent_tick, self._waits, self._motion_tick = 0, 0, self._clock.tick

    # --- states -----------------------------------------------------------------------------------------------------

    def look(self) -> None:
        """After each step: feels what acts on the arm, and ends the motion if it has to."""
        robot, forces = self.robot, self.forces
        motion, pose = robot.motion()
        forces.estimate(pose[:3, 3], robot.tool_jacobian, robot.m_load, robot.F_x_Cload)
        errors = motion_errors(motion) if self.current_motion_id > 0 else []
        self._feels, self._felt = forces.anything, self._feels
        if self._feels or self._felt:
            R_base_stiffness = pose[:3, :3] @ np.reshape(robot.EE_T_K, (4, 4), order="F")[:3, :3]
            self._wrench_stiffness = (forces.wrench_base.reshape(2, 3) @ R_base_stiffness).reshape(6)
            errors += self.reflexes.feel(forces.tau_ext, self._wrench_stiffness)
        if errors and self.current_motion_id > 0:
            self.reflex(*errors)

    def send_state(self) -> None:
        """The state of the last step to the client, and the hand's."""
        if self.udp_connected:
            address = self._FrankaServer__client_address, self._FrankaServer__client_udp_port
            for tick, state in self.link.send(self._clock.tick, self._get_state_bytes()):
                self._FrankaServer__udp_socket.sendto(struct.pack("<Q", tick) + state, address)
                self._sent_tick = tick
        self.gripper_server.send_state()

    def _get_state_bytes(self) -> bytes:
        motion, torque_mode = self.current_motion_id, self._control_mode is ControlMode.TORQUE
        fresh = not torque_mode or self._record_motion != motion
        if fresh:
            self._record = np.frombuffer(bytearray(super()._get_state_bytes()), STATE_RECORD)
            self._fields = {name: self._record[name] for name in STATE_RECORD.names or ()}
            self._record_motion = motion if torque_mode else None
            # franky-sim's poses share one buffer: its measured pose is that of the desired joints.
            self._fields["O_T_EE"][0] = self.robot.kinematics(self._fields["q"][0].astype(float)).homogeneous.T.ravel()
        else:
            self.robot.write_torque_mode_state(self._fields)
            self._fields["tau_J_d"][0] = self._command.tau_J_d
        if fresh or self._feels or self._felt:
            self._write_condition(self._fields)
        self._fields["control_command_success_rate"][0] = self.link.success_rate if motion > 0 else 0.0
        return self._record.tobytes()

    def _write_condition(self, fields: dict[str, np.ndarray]) -> None:
        """What franky-sim leaves out of the state. Errors come with the end of a motion: a fresh state."""
        reflexes, forces = self.reflexes, self.forces
        for name, value in (
            ("tau_ext_hat_filtered", forces.tau_ext),
            ("O_F_ext_hat_K", forces.wrench_base),
            ("K_F_ext_hat_K", self._wrench_stiffness),
            ("joint_contact", reflexes.joint_contact),
            ("joint_collision", reflexes.joint_collision),
            ("cartesian_contact", reflexes.tool_contact),
            ("cartesian_collision", reflexes.tool_collision),
            ("errors", reflexes.errors),
            ("reflex_reason", reflexes.reasons),
        ):
            fields[name][0] = value
        if self.user_stopped:
            fields["robot_mode"][0] = RobotMode.kUserStopped
        elif reflexes.active:
            fields["robot_mode"][0] = RobotMode.kReflex

    # --- what franky-sim hides --------------------------------------------------------------------------------------

    @property
    def _control_mode(self) -> ControlMode:
        return self._FrankaRobotServer__control_mode

    @property
    def _command(self) -> Any:
        return self._FrankaRobotServer__current_control_command

    def _bind_children(self, hostname: str) -> None:
        gripper = CellGripperServer(self.robot, hostname, self._clock)
        gripper.init()
        self._FrankaRobotServer__gripper_server = gripper

    def _setup_udp_connection(self, network_udp_port: int) -> None:
        super()._setup_udp_connection(network_udp_port)
        self.link.new_client()
        self._forget_answers()
