"""The bridge: the one process that moves the arm. `python -m robot_runtime.bridge_server --cell NAME_OR_FILE`

One loop does everything in turn: answer requests, read the arm, judge silence, move the reference on, publish. The
1 kHz control runs in franky's own thread and the gripper on its own threads, so nothing here may block.
"""

from __future__ import annotations

import secrets
import signal
import sys
import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import tyro
import zmq
from zmq.auth.thread import ThreadAuthenticator

from contract.messages import RobotState, Setpoint
from contract.poses import Pose
from contract.tasks import TASKS
from robot_runtime import wire
from robot_runtime.cell import Cell, CellError, load_cell
from robot_runtime.flight_recorder import FlightRecorder
from robot_runtime.franka import Arm, ArmFault, ArmState
from robot_runtime.gripper import Gripper, GripperUnreachable
from robot_runtime.reference import SmoothReference
from robot_runtime.wire import BridgeStatus, Counters, Executed
from safety.faults import ModeMachine, NotNow
from safety.guard import GuardLimits, judge, violations
from safety.watchdog import judge_silence

LOOP_S = 0.005
"""Period of the loop; 200 Hz references with twist track as well as 1 kHz ones."""
LEASE_S = 3.0
"""Wall time of silence (no heartbeat) after which the commander counts as gone."""
SILENT_ARM_S = 1.5
"""Wall time without a new state after which the arm counts as lost; franky itself gives up after about 1 s."""
CLEAR_HEIGHT_M = 0.20
"""Drives to a joint pose start at least this high above the table."""
RAISE_SPEED_M_S = 0.15
HOMING_DONE_RAD = 0.02
OVERSPEED_FACTOR = 2.0
"""Measured tool speed above this many times the limit is a fault in every mode."""
OUTSIDE_MARGIN_M = 0.05
"""So far outside the workspace the measured tool may swing before it is a fault."""
STOP_AT_EXIT_S = 4.0


class BridgeStartError(RuntimeError):
    """The bridge cannot start; the sentence says what to do."""


@dataclass
class Lease:
    """Who may command the arm."""

    session: str
    name: str
    seen_s: float


class BridgeServer:
    """Owns the arm, the gripper, the lease and the latched faults."""

    def __init__(self, cell: Cell) -> None:
        self.cell = cell
        self._running = True
        self._turn = 0
        self._machine = ModeMachine()
        self._counters = Counters()
        self._lease: Lease | None = None
        self._recorder = FlightRecorder(cell.flight_records_folder)
        self._dumped = True
        self._limits = self._guard_limits(0.05)
        self._now = 0.0
        self._advanced_s = time.monotonic()
        self._homing_q: np.ndarray | None = None
        self._homing_goal = np.zeros(7)
        self._homing_raised = False
        self._arm = Arm(cell.robot, cell.gains, cell.limits)
        self._gripper = Gripper(cell.robot.address, lambda: self._now)
        self._open_sockets()
        try:
            self._arm.connect()
            self._arm_state = self._arm.read()
            self._now = self._arm_state.stamp
            self._gripper.connect()
        except BaseException:
            self._close_sockets()
            raise
        self._state = self._contract_state(self._arm_state)
        self._reference = self._fresh_reference()
        self._previous = self._start_setpoint()

    def run(self) -> None:
        """Serve until `finish` is called (SIGINT, SIGTERM), then bring the arm to rest and let go of everything."""
        next_s = time.monotonic()
        try:
            while self._running:
                next_s = max(next_s + LOOP_S, time.monotonic() - LOOP_S)
                while (left_s := next_s - time.monotonic()) > 0:
                    if self._commands.poll(max(1, int(1000 * left_s))):
                        self._answer()
                while self._commands.poll(0):  # on a busy machine the loop may never be ahead of its time
                    self._answer()
                self._tick()
        finally:
            self._shut_down()

    def finish(self, *_: Any) -> None:
        """Ask `run` to end; usable as a signal handler."""
        self._running = False

    # --- one turn of the loop -------------------------------------------------------------------------------------

    def _tick(self) -> None:
        try:
            self._look()
            if self._machine.mode != "faulted":
                self._act()
        except ArmFault as fault:
            self._trip(fault.name, str(fault), at_rest=True)
        self._check_lease()
        if self._machine.mode == "faulted" and not self._dumped:
            self._dumped = True
            assert self._machine.fault is not None
            print(
                f"fault: {self._machine.fault.cause} Record: {self._recorder.dump(self._machine.fault.name)}",
                flush=True,
            )
        self._turn += 1
        self._publish()

    def _look(self) -> None:
        """Read the arm and check that what it does is what it should."""
        if self._lost:
            return
        arm = self._arm.read()
        if arm.stamp > self._now:
            self._advanced_s = time.monotonic()
        elif time.monotonic() - self._advanced_s > SILENT_ARM_S:
            raise ArmFault("arm_silent", f"The arm has sent no new state for {SILENT_ARM_S} s.")
        self._now, self._arm_state = arm.stamp, arm
        self._state = self._contract_state(arm)
        self._recorder.state(self._state, self._reference.reference.pose_base_tcp)
        if not self._machine.in_motion:
            return
        speed = float(np.linalg.norm(arm.v_base_tcp[:3]))
        self._count(peak_speed_m_s=max(self._counters.peak_speed_m_s, speed))
        if speed > OVERSPEED_FACTOR * self.cell.limits.speed_m_s:
            self._trip("overspeed", f"The tool moved at {speed:.2f} m/s.")
        low, high = np.array(self._limits.low_m), np.array(self._limits.high_m)
        position = arm.pose_base_tcp.position
        outside = float(np.maximum(low - position, position - high).max())
        if outside > OUTSIDE_MARGIN_M and self._machine.mode in ("moving", "holding"):
            self._trip("left_workspace", f"The tool is {1e3 * outside:.0f} mm outside the workspace.")

    @property
    def _lost(self) -> bool:
        """Whether there is no arm to read: only `recover` connects again."""
        fault = self._machine.fault
        return self._machine.mode == "faulted" and fault is not None and fault.name in ("arm_unreachable", "arm_silent")

    def _act(self) -> None:
        """Move the arm on, according to the mode."""
        mode = self._machine.mode
        if mode in ("moving", "holding"):
            silence = judge_silence(
                self._now, self._previous.stamp, self.cell.timing.hold_after_s, self.cell.timing.stop_after_s
            )
            if silence == "stop":
                self._trip("setpoints_stopped", f"No setpoint came for {self.cell.timing.stop_after_s:g} s.")
            elif silence == "hold" and mode == "moving":
                self._to("holding")
        if mode in ("armed", "moving", "holding"):
            self._follow()
        elif mode == "stopping" and not self._arm.is_moving():
            self._to("disarmed")
        elif mode == "homing":
            self._home()

    def _follow(self) -> None:
        """Give the controller the reference of this instant."""
        if not self._arm.is_moving():
            raise ArmFault("control_ended", "The impedance controller ended without being asked to.")
        reference = self._reference.advance(self._now)
        speed = float(np.linalg.norm(reference.twist_base_tcp[:3]))
        self._count(peak_reference_speed_m_s=max(self._counters.peak_reference_speed_m_s, speed))
        self._arm.set_target(reference)

    def _home(self) -> None:
        """Straight up under impedance control, to rest, then the joint drive."""
        if not self._homing_raised:
            self._follow()
            if self._reference.settled:
                self._arm.start_stop()
                self._homing_raised = True
        elif self._homing_q is not None and not self._arm.is_moving():
            self._homing_goal, self._homing_q = self._homing_q, None
            self._arm.start_joint_motion(self._homing_goal)
        elif self._homing_q is None and not self._arm.is_moving():
            missing = float(np.abs(self._arm_state.q - self._homing_goal).max())
            if missing > HOMING_DONE_RAD:
                self._trip("home_not_reached", f"A joint is still {missing:.3f} rad from its goal.", at_rest=True)
            else:
                self._reference = self._fresh_reference()
                self._previous = self._start_setpoint()
                self._to("disarmed")

    # --- requests -------------------------------------------------------------------------------------------------

    def _answer(self) -> None:
        sender, packed = self._commands.recv_multipart()[:2]
        reply: dict[str, Any] = {"error": None, "turn": self._turn}
        try:
            request = wire.decode(packed)
            reply["id"] = request.get("id")
            if request.get("version") != wire.PROTOCOL_VERSION:
                raise NotNow(
                    f"The client speaks protocol {request.get('version')}, this bridge {wire.PROTOCOL_VERSION}; "
                    "install the same version on both machines."
                )
            if self._lease is not None and request.get("session") == self._lease.session:
                self._lease.seen_s = time.monotonic()
            reply.update(self._perform(str(request.get("op")), request))
        except (NotNow, wire.WireError, ArmFault) as error:
            reply["error"] = str(error)
            if isinstance(error, ArmFault):
                self._trip(error.name, str(error), at_rest=not self._machine.in_motion)
        fault = self._machine.fault
        reply["fault"] = None if fault is None else vars(fault)
        if reply.get("id") != 0:  # heartbeats want no answer
            self._commands.send_multipart([sender, wire.encode(reply)], zmq.NOBLOCK)

    def _perform(self, operation: str, request: dict[str, Any]) -> dict[str, Any]:
        if operation in ("heartbeat", "ping"):
            return {"stamp": self._now}
        if operation == "connect":
            return self._connect(request)
        if operation == "stop":  # anyone who is allowed in may stop the arm
            self._record("stop", request.get("session"))
            self._stop()
            return {}
        if self._lease is None or request.get("session") != self._lease.session:
            raise NotNow("This client does not hold the lease (any more); connect again.")
        if operation == "setpoint":
            executed = self._take(wire.setpoint_from_wire(request.get("setpoint")))
            return {"executed": wire.executed_to_wire(executed)}
        if operation == "gripper":
            command = wire.gripper_from_wire(request.get("command"))
            self._record("gripper", {"closed": command.closed, "force": command.force})
            self._gripper.command(command)
        elif operation == "arm":
            self._start()
        elif operation == "move_home":
            self._start_homing(request.get("q"))
        elif operation == "recover":
            self._recover()
        elif operation == "disconnect":
            self._stop()
            self._lease = None
        else:
            raise NotNow(f"This bridge knows no operation '{operation}'.")
        return {}

    def _connect(self, request: dict[str, Any]) -> dict[str, Any]:
        if self._lease is not None:
            raise NotNow(f"The arm is commanded by {self._lease.name}; stop that program first.")
        if request.get("contract") not in {card.contract_hash() for card in TASKS.values()}:
            raise NotNow(
                "The client's task card is not one of this bridge's; install the same version on both machines."
            )
        period_s = request.get("period_s")
        if not isinstance(period_s, float) or not 0.01 <= period_s <= 0.2:
            raise NotNow("Setpoints must come every 0.01 to 0.2 s.")
        self._limits = self._guard_limits(period_s)
        self._lease = Lease(secrets.token_hex(16), str(request.get("name")), time.monotonic())
        self._record("connect", self._lease.name)
        return {"session": self._lease.session}

    def _start(self) -> None:
        """Arm: hold where the arm is."""
        position = self._arm_state.pose_base_tcp.position
        if (position < self._limits.low_m).any() or (position > self._limits.high_m).any():
            raise NotNow(f"The tool is outside the workspace at {np.round(position, 3).tolist()} m; move_home first.")
        self._machine.to("armed")
        self._reference = self._fresh_reference()
        self._previous = self._start_setpoint()
        self._arm.start_impedance(self._arm_state)
        self._record("mode", "armed")

    def _take(self, asked: Setpoint) -> Executed:
        """Judge one setpoint and, if it passes, make it the reference's goal."""
        self._count(setpoints=self._counters.setpoints + 1)
        kept = self._previous.pose_base_tcp
        if self._machine.mode not in ("armed", "moving", "holding"):
            why = self._machine.fault.cause if self._machine.fault else f"The arm is {self._machine.mode}."
            self._count(refused=self._counters.refused + 1)
            return Executed(asked.sequence, self._now, kept, refused=why)
        measured = self._arm_state.pose_base_tcp
        verdict = judge(self._limits, asked, self._previous, measured, self._now)
        if verdict.setpoint is None:
            assert verdict.refusal is not None
            self._count(refused=self._counters.refused + 1)
            self._record("refused", verdict.refusal.cause)
            if verdict.refusal.latches:
                self._trip(verdict.refusal.name, verdict.refusal.cause)
            return Executed(asked.sequence, self._now, kept, refused=verdict.refusal.cause)
        broken = violations(self._limits, verdict.setpoint, self._previous, measured)
        self._count(
            clipped=self._counters.clipped + bool(verdict.clipped),
            limit_violations=self._counters.limit_violations + bool(broken),
        )
        executed = verdict.setpoint
        self._record(
            "setpoint",
            {
                "asked": wire.setpoint_to_wire(asked),
                "executed": wire.pose_to_wire(executed.pose_base_tcp),
                "clipped": list(verdict.clipped),
            },
        )
        self._machine.to("moving")
        # Silence is counted from when the setpoint was meant, never from later than now.
        self._previous = replace(executed, stamp=min(executed.stamp, self._now))
        self._reference.advance(self._now)
        self._reference.set_goal(executed.pose_base_tcp, self._now, self._limits.period_s)
        return Executed(asked.sequence, self._now, executed.pose_base_tcp, clipped=verdict.clipped)

    def _start_homing(self, q: Any) -> None:
        goal = np.array(q, dtype=float)
        if goal.shape != (7,) or not np.isfinite(goal).all() or not self._arm.allows(goal):
            raise NotNow("move_home needs seven joint angles inside the arm's limits.")
        holding = self._machine.mode in ("armed", "moving", "holding")
        self._machine.to("homing")
        self._record("mode", "homing")
        self._homing_q = goal
        self._homing_raised = not holding and self._arm_state.pose_base_tcp.position[2] >= CLEAR_HEIGHT_M
        if self._homing_raised:
            return
        if not holding:
            self._reference = self._fresh_reference()
            self._arm.start_impedance(self._arm_state)
        here = self._reference.reference.pose_base_tcp
        up = np.array([here.position[0], here.position[1], max(CLEAR_HEIGHT_M, here.position[2])])
        seconds = float(up[2] - here.position[2]) / RAISE_SPEED_M_S
        self._reference.set_goal(Pose(up, here.quaternion), self._now, seconds)

    def _stop(self) -> None:
        if self._machine.mode in ("armed", "moving", "holding", "homing"):
            self._arm.start_stop()
            self._to("stopping")

    def _recover(self) -> None:
        if self._machine.in_motion:
            raise NotNow(f"The arm is {self._machine.mode}; recover when it has stopped.")
        self._arm.recover()
        self._machine.recover()
        self._advanced_s = time.monotonic()
        self._record("recover", None)

    # --- bookkeeping ----------------------------------------------------------------------------------------------

    def _trip(self, name: str, cause: str, at_rest: bool = False) -> None:
        """Latch a fault and bring the arm to rest."""
        moving = self._machine.in_motion and self._machine.mode != "stopping"
        self._record("fault", {"name": name, "cause": cause})
        self._machine.trip(name, cause, self._now, at_rest)
        self._count(faults=self._counters.faults + 1)
        self._dumped = False
        if moving and not at_rest:
            try:
                self._arm.start_stop()
            except ArmFault as fault:
                self._record("fault", {"name": fault.name, "cause": str(fault)})
                self._machine.trip(fault.name, str(fault), self._now, at_rest=True)

    def _check_lease(self) -> None:
        if self._lease is None or time.monotonic() - self._lease.seen_s < LEASE_S:
            return
        name, self._lease = self._lease.name, None
        self._record("lease_expired", name)
        if self._machine.in_motion and self._machine.mode != "stopping":
            self._trip("commander_lost", f"{name} has been silent for {LEASE_S:g} s.")

    def _to(self, mode: Any) -> None:
        self._machine.to(mode)
        self._record("mode", self._machine.mode)

    def _record(self, kind: str, detail: Any) -> None:
        self._recorder.event(self._now, kind, detail)

    def _count(self, **changes: Any) -> None:
        self._counters = replace(self._counters, **changes)

    def _publish(self) -> None:
        fault = self._machine.fault
        status = BridgeStatus(
            mode=self._machine.mode,
            fault=fault,
            counters=self._counters,
            command_base_tcp=self._previous.pose_base_tcp,
            reference_base_tcp=self._reference.reference.pose_base_tcp,
            commander=None if self._lease is None else self._lease.name,
        )
        message = {"turn": self._turn, "state": wire.state_to_wire(self._state), "status": wire.status_to_wire(status)}
        self._states.send(wire.encode(message), zmq.NOBLOCK)

    def _guard_limits(self, period_s: float) -> GuardLimits:
        limits, box, timing = self.cell.limits, self.cell.workspace, self.cell.timing
        return GuardLimits(
            speed_m_s=limits.speed_m_s,
            rotation_rad_s=limits.rotation_rad_s,
            period_s=period_s,
            low_m=box.low_m,
            high_m=box.high_m,
            lead_m=limits.lead_m,
            lead_rad=limits.lead_rad,
            max_age_s=timing.setpoint_max_age_s,
            max_ahead_s=2 * period_s,
        )

    def _fresh_reference(self) -> SmoothReference:
        limits = self.cell.limits
        return SmoothReference(self._arm_state.pose_base_tcp, self._now, limits.speed_m_s, limits.rotation_rad_s)

    def _start_setpoint(self) -> Setpoint:
        return Setpoint(self._now - self._limits.period_s, -1, self._arm_state.pose_base_tcp, np.zeros(6))

    def _contract_state(self, arm: ArmState) -> RobotState:
        gripper = self._gripper.reading
        return RobotState(
            stamp=arm.stamp,
            q=arm.q,
            dq=arm.dq,
            pose_base_tcp=arm.pose_base_tcp,
            v_base_tcp=arm.v_base_tcp,
            wrench_base=arm.wrench_base,
            gripper_width=gripper.width,
            gripper_stamp=gripper.stamp,
            gripper_closed=gripper.closed,
        )

    def _open_sockets(self) -> None:
        cell = self.cell
        if cell.bridge.host.startswith("127."):
            wire.make_keys(cell.keys_folder)  # on one machine both sides read the same folder
        keys = wire.load_keys(cell.keys_folder, "server")
        self._context = zmq.Context()
        self._authenticator = ThreadAuthenticator(self._context)
        self._authenticator.start()
        self._authenticator.configure_curve(domain="*", location=str(keys.allowed_folder))
        self._commands: zmq.Socket[bytes] = self._context.socket(zmq.ROUTER)
        self._states: zmq.Socket[bytes] = self._context.socket(zmq.PUB)
        for socket, endpoint in ((self._commands, cell.command_endpoint), (self._states, cell.state_endpoint)):
            socket.linger = 0
            wire.secure_server(socket, keys)
            try:
                socket.bind(endpoint)
            except zmq.ZMQError as error:
                self._close_sockets()
                raise BridgeStartError(
                    f"{endpoint} cannot be used ({error}): another bridge serves this cell; "
                    "stop it, or give this cell other ports."
                ) from error

    def _close_sockets(self) -> None:
        for socket in (self._commands, self._states):
            socket.close(linger=0)
        self._authenticator.stop()
        self._context.term()

    def _shut_down(self) -> None:
        try:
            self._stop()
            deadline = time.monotonic() + STOP_AT_EXIT_S
            while self._machine.in_motion and time.monotonic() < deadline:
                self._tick()
                time.sleep(LOOP_S)
        except ArmFault as fault:
            print(f"fault: {fault}", flush=True)
        self._gripper.close()
        self._arm.close()
        self._close_sockets()


START_ERRORS = (CellError, BridgeStartError, ArmFault, GripperUnreachable, wire.KeysMissing)
"""What keeps a bridge from starting; each is one sentence."""


def serve(cell: Cell) -> None:
    """Serve one cell's arm until SIGINT or SIGTERM. Raises one of START_ERRORS."""
    server = BridgeServer(cell)
    signal.signal(signal.SIGINT, server.finish)
    signal.signal(signal.SIGTERM, server.finish)
    print(f"bridge: serving {cell.robot.address} ({cell.robot.model}) at {cell.command_endpoint}", flush=True)
    server.run()


@dataclass(frozen=True)
class Arguments:
    """Serve one cell's arm until interrupted."""

    cell: str = "mock"
    """Name of a cell under launch/cells, or a cell file."""


def main() -> None:
    """Start the bridge; one sentence and exit code 1 if it cannot."""
    try:
        serve(load_cell(tyro.cli(Arguments).cell))
    except START_ERRORS as error:
        sys.exit(f"bridge: {error}")


if __name__ == "__main__":
    main()
