"""What may move the arm and what stops it: modes, guard, watchdog, reference and homing. One turn per `tick`.

Knows nothing of sockets and clients; everything is decided on robot time.
"""

from __future__ import annotations

import contextlib
import time
from dataclasses import replace
from typing import Any

import numpy as np

from contract.messages import GripperCommand, RobotState, Setpoint
from contract.poses import Pose
from robot_runtime.cell import Cell
from robot_runtime.cell_limits import guard_limits, reference_limits
from robot_runtime.flight_recorder import Decision, FlightRecorder
from robot_runtime.franka import Arm, ArmFault, ArmState
from robot_runtime.gripper import Gripper, GripperUnreachable
from robot_runtime.reference import SmoothReference
from robot_runtime.wire import BridgeStatus, Counters, Executed
from safety.faults import LatchedFault, Mode, ModeMachine, NotNow
from safety.grasp import Grasp
from safety.guard import GuardLimits, Measured, Trail, judge, violations
from safety.watchdog import judge_silence

SILENT_ARM_S = 1.5
"""Wall time without a new state after which the arm counts as lost; franky itself gives up after about 1 s."""
SILENT_GRIPPER_S = 1.0
"""Robot time without a new width after which the gripper counts as lost."""
CLEAR_HEIGHT_M = 0.20
"""Drives to a joint pose start at least this high above the table."""
RAISE_SPEED_M_S = 0.15
HOMING_DONE_RAD = 0.02
OVERSPEED_FACTOR = 2.0
"""Measured tool speed above this many times the limit is a fault in every mode."""
PRESSED_S = 0.015
"""Force that is gone sooner is an impact, not a press: the arm's own reflex judges those, in a millisecond."""
RECORD_WITHIN_S = 0.7
"""A fault's record waits no longer for the arm to come to rest."""
OUTSIDE_MARGIN_M = 0.05
"""So far outside the workspace the measured tool may swing before it is a fault."""


class Authority:
    """Owns the arm, the gripper and the latched faults. Raises ArmFault or GripperUnreachable if it cannot connect."""

    def __init__(self, cell: Cell) -> None:
        self._cell = cell
        self._machine = ModeMachine()
        self._counters = Counters()
        self._recorder = FlightRecorder(cell)
        self._recorded: LatchedFault | None = None
        self._limits = guard_limits(cell, 0.05)
        self._homing_q: np.ndarray | None = None
        self._homing_goal = np.zeros(7)
        self._raised = False
        self._advanced_s = time.monotonic()
        self._arm = Arm(cell.robot, cell.gains, cell.limits)
        self._arm.connect()
        self._arm_state = self._arm.read()
        self._now = self._arm_state.stamp
        self._gripper = Gripper(cell.robot.address, lambda: self._now)
        self._gripper.connect()
        self._grasp = Grasp()
        self._unpressed_s = -np.inf
        self._state = self._contract_state()
        self._trail: Trail
        self._told_s: float
        self._reference: SmoothReference
        self._hold_here()

    @property
    def now(self) -> float:
        """Robot time of the newest state, seconds."""
        return self._now

    @property
    def state(self) -> RobotState:
        """The newest state."""
        return self._state

    @property
    def fault(self) -> LatchedFault | None:
        """The fault that is latched."""
        return self._machine.fault

    @property
    def in_motion(self) -> bool:
        """Whether the arm is or may be moving under our control, stopping included."""
        return self._machine.in_motion

    def status(self, commander: str | None) -> BridgeStatus:
        """What is going on."""
        return BridgeStatus(
            mode=self._machine.mode,
            fault=self._machine.fault,
            counters=replace(self._counters, records_lost=self._recorder.lost),
            command_base_tcp=self._trail.previous.pose_base_tcp,
            reference_base_tcp=self._reference.reference.pose_base_tcp,
            commander=commander,
        )

    def note(self, kind: str, detail: Any) -> None:
        """Put an event into the flight record."""
        self._recorder.event(self._now, kind, detail)

    # --- one turn -------------------------------------------------------------------------------------------------

    def tick(self) -> None:
        """Read the arm, judge silence, move the reference on. Never raises for what the arm does."""
        began_s = time.perf_counter()
        try:
            if not self._lost:
                self._look()
            if self._machine.mode != "faulted":
                self._act()
        except ArmFault as fault:
            if self._machine.mode != "faulted":  # what is gone is gone on every turn
                self._fail(fault)
        latched = self._machine.fault
        waited = latched is not None and self._now - latched.stamp > RECORD_WITHIN_S
        if latched is not None and latched is not self._recorded and (waited or self._machine.mode == "faulted"):
            self._recorded = latched
            self._recorder.dump(latched)
        self._recorder.busy_s = time.perf_counter() - began_s

    def _look(self) -> None:
        """Read the arm and check that what it does is what it should."""
        arm = self._arm.read()
        if arm.stamp > self._now:
            self._advanced_s = time.monotonic()
        elif time.monotonic() - self._advanced_s > SILENT_ARM_S:
            raise ArmFault("arm_silent", f"The arm has sent no new state for {SILENT_ARM_S} s.")
        self._now, self._arm_state = arm.stamp, arm
        self._state = self._contract_state()
        command = self._trail.previous.pose_base_tcp
        self._recorder.turn(self._state, self._reference.reference, command, self._machine.mode)
        height = float(arm.pose_base_tcp.position[2])
        reading = self._gripper.reading
        self._grasp = self._grasp.after(reading.stamp, reading.width, reading.closed, height)
        if arm.user_stopped and self._machine.fault is None:
            self.trip("user_stop", "The user stop was pressed.", at_rest=True)
        if self._machine.in_motion:
            speed = float(np.linalg.norm(arm.v_base_tcp[:3]))
            self._count(peak_speed_m_s=max(self._counters.peak_speed_m_s, speed))
            if self._machine.mode != "stopping":
                self._check_motion(arm, speed)

    def _check_motion(self, arm: ArmState, speed: float) -> None:
        if arm.stamp - self._state.gripper_stamp > SILENT_GRIPPER_S:
            self.trip("gripper_silent", self._gripper.fault or f"No gripper width for {SILENT_GRIPPER_S:g} s.")
        if speed > OVERSPEED_FACTOR * self._cell.limits.speed_m_s:
            self.trip("overspeed", f"The tool moved at {speed:.2f} m/s.")
        force = float(np.linalg.norm(arm.wrench_base[:3]))
        if force <= self._cell.limits.hard_force_n:
            self._unpressed_s = arm.stamp
        elif arm.stamp - self._unpressed_s > PRESSED_S:
            self.trip("contact_force", f"The tool is pressed with {force:.0f} N.")
        if self._grasp.lost:
            self.trip("object_lost", "The fingers have lost what they carried.")
        outside = self._limits.workspace.outside_m(arm.pose_base_tcp.position)
        if outside > OUTSIDE_MARGIN_M and self._machine.mode in ("moving", "holding"):
            self.trip("left_workspace", f"The tool is {1e3 * outside:.0f} mm outside the workspace.")

    @property
    def _lost(self) -> bool:
        """Whether there is no arm to read: only `recover` connects again."""
        fault = self._machine.fault
        return self._machine.mode == "faulted" and fault is not None and fault.name in ("arm_unreachable", "arm_silent")

    def _act(self) -> None:
        """Move the arm on, according to the mode."""
        if self._machine.mode in ("moving", "holding"):
            timing = self._cell.timing
            silence = judge_silence(self._now, self._told_s, timing.hold_after_s, timing.stop_after_s)
            if silence == "stop":
                self.trip("setpoints_stopped", f"No setpoint came for {timing.stop_after_s:g} s.")
            elif silence == "hold" and self._machine.mode == "moving":
                self._reference.hold()
                self._to("holding")
        if self._machine.mode in ("armed", "moving", "holding"):
            self._follow()
        elif self._machine.mode == "stopping" and not self._arm.is_moving():
            self._to("disarmed")
        elif self._machine.mode == "homing":
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
        if not self._raised:
            self._follow()
            if self._reference.settled:
                self._arm.start_stop()
                self._raised = True
        elif self._arm.is_moving():
            return
        elif self._homing_q is not None:
            self._homing_goal, self._homing_q = self._homing_q, None
            self._arm.start_joint_motion(self._homing_goal)
        else:
            missing = float(np.abs(self._arm_state.q - self._homing_goal).max())
            if missing > HOMING_DONE_RAD:
                self.trip("home_not_reached", f"A joint is still {missing:.3f} rad from its goal.", at_rest=True)
                return
            self._hold_here()
            self._to("disarmed")

    # --- what can be asked ----------------------------------------------------------------------------------------

    def begin_session(self, period_s: float) -> None:
        """Setpoints will come every `period_s` seconds. Raises NotNow if that is no rate for an arm."""
        if not 0.01 <= period_s <= 0.2:
            raise NotNow("Setpoints must come every 0.01 to 0.2 s.")
        self._limits = guard_limits(self._cell, period_s)

    def end_session(self, cause: str) -> None:
        """The commander is gone. Where setpoints are awaited the watchdog judges, on robot time; else stop here."""
        if self._machine.mode in ("armed", "homing"):
            self.trip("commander_lost", cause)

    def arm(self) -> None:
        """Hold where the arm is, ready for setpoints. Raises NotNow, ArmFault."""
        self._machine.check("armed")
        position = self._arm_state.pose_base_tcp.position
        if self._limits.workspace.outside_m(position) > 0.0:
            raise NotNow(f"The tool is outside the workspace at {np.round(position, 3).tolist()} m; move_home first.")
        weight, limit = float(np.linalg.norm(self._arm_state.wrench_base[:3])), self._cell.limits.payload_n
        if weight > limit:
            cause = (
                f"At rest the tool feels {weight:.1f} N, more than {limit:g}: take away what it carries or touches,"
                " or tell Desk of its load."
            )
            self.trip("wrong_payload", cause, at_rest=True)
            raise NotNow(cause)
        self._to("armed")
        self._hold_here()
        self._arm.start_impedance(self._arm_state)

    def take(self, asked: Setpoint) -> Executed:
        """Judge one setpoint and, if it passes, make it the reference's goal."""
        self._count(setpoints=self._counters.setpoints + 1)
        if self._machine.mode not in ("armed", "moving", "holding"):
            fault = self._machine.fault
            why = fault.cause if fault is not None else f"The arm is {self._machine.mode}."
            self.note("refused", why)
            return self._refused(asked, why)
        arm = self._arm_state
        measured = Measured(arm.pose_base_tcp, arm.q, arm.jacobian, arm.wrench_base[:3])
        limits = self._limits_now
        verdict = judge(limits, asked, self._trail, measured, self._now)
        self._recorder.decision(Decision(limits, asked, self._trail, measured, self._now, verdict))
        if verdict.refusal is not None:
            if verdict.refusal.latches:
                self.trip(verdict.refusal.name, verdict.refusal.cause)
            return self._refused(asked, verdict.refusal.cause)
        executed = verdict.setpoint
        assert executed is not None
        self._count(
            clipped=self._counters.clipped + bool(verdict.clipped),
            limit_violations=self._counters.limit_violations
            + bool(violations(limits, executed, self._trail, measured, self._now)),
        )
        answer = Executed(asked.sequence, self._now, executed.pose_base_tcp, clipped=verdict.clipped)
        self._to("moving")
        # Silence is counted from when the setpoint was meant, never from later than now.
        self._told_s = min(executed.stamp, self._now)
        self._trail = self._trail.extended(executed, self._now)
        self._reference.advance(self._now)
        at = max(executed.stamp, self._now)
        coast_s = self._now + self._cell.timing.hold_after_s - at
        self._reference.set_goal(executed.pose_base_tcp, at, executed.twist_base_tcp, max(0.0, coast_s))
        return answer

    def _refused(self, asked: Setpoint, why: str) -> Executed:
        self._count(refused=self._counters.refused + 1)
        return Executed(asked.sequence, self._now, self._trail.previous.pose_base_tcp, refused=why)

    def move_gripper(self, command: GripperCommand) -> None:
        """Tell the gripper; never blocks."""
        self.note("gripper", vars(command))
        self._gripper.command(command)

    def move_home(self, q: np.ndarray) -> None:
        """Start the slow drive to a joint pose (7,). Raises NotNow, ArmFault."""
        if not np.isfinite(q).all() or not self._arm.allows(q):
            raise NotNow("move_home needs seven joint angles inside the arm's limits.")
        following = self._machine.mode in ("armed", "moving", "holding")
        self._to("homing")
        self._homing_q = q
        self._raised = not following and self._arm_state.pose_base_tcp.position[2] >= CLEAR_HEIGHT_M
        if self._raised:
            return
        if not following:
            self._hold_here()
            self._arm.start_impedance(self._arm_state)
        here = self._reference.reference.pose_base_tcp
        up = np.array([here.position[0], here.position[1], max(CLEAR_HEIGHT_M, here.position[2])])
        seconds = float(up[2] - here.position[2]) / RAISE_SPEED_M_S
        self._reference.set_goal(Pose(up, here.quaternion), self._now + seconds)

    def stop(self) -> None:
        """Begin to bring the arm to rest, whatever it does; nothing to do at rest."""
        if self._machine.in_motion and self._machine.mode != "stopping":
            try:
                self._arm.start_stop()
                self._to("stopping")
            except ArmFault as fault:
                self._fail(fault)

    def recover(self, by_person: bool) -> None:
        """Clear latched faults, connecting again where a connection was lost. Raises NotNow if that fails."""
        self._machine.check_recovery(by_person)
        try:
            renewed = self._arm.recover()
            self._arm_state = self._arm.read()
            self._now = self._arm_state.stamp
            silent = self._now - self._gripper.reading.stamp > SILENT_GRIPPER_S
            if renewed or silent or self._gripper.fault is not None:
                self._gripper.connect()
        except (ArmFault, GripperUnreachable) as error:
            raise NotNow(str(error)) from error  # the latched fault stays as it is
        self._machine.recover(by_person)
        self._grasp = Grasp()
        self._hold_here()
        self._advanced_s = time.monotonic()
        self.note("recover", {"by_person": by_person})

    def trip(self, name: str, cause: str, at_rest: bool = False) -> None:
        """Latch a fault and bring the arm to rest. at_rest: it already is, or nothing can be sent to it any more."""
        self.note("fault", {"name": name, "cause": cause})
        if self._machine.in_motion and self._machine.mode != "stopping" and not at_rest:
            try:
                self._arm.start_stop()
            except ArmFault:
                at_rest = True
        self._machine.trip(name, cause, self._now, at_rest)
        self._count(faults=self._counters.faults + 1)

    def close(self) -> None:
        """Let go of arm and gripper."""
        self._gripper.close()
        self._arm.close()

    # --- bookkeeping ----------------------------------------------------------------------------------------------

    def _fail(self, fault: ArmFault) -> None:
        """The arm stopped itself or is gone; tell a controller that may still run to stop all the same."""
        with contextlib.suppress(ArmFault):
            self._arm.start_stop()
        self.trip(fault.name, str(fault), at_rest=True)

    def _to(self, mode: Mode) -> None:
        if mode != self._machine.mode:
            self._machine.to(mode)
            self.note("mode", self._machine.mode)

    def _count(self, **changes: Any) -> None:
        self._counters = replace(self._counters, **changes)

    def _hold_here(self) -> None:
        """Let reference and last setpoint begin where the arm is."""
        pose = self._arm_state.pose_base_tcp
        self._reference = SmoothReference(pose, self._now, reference_limits(self._cell))
        self._trail = Trail(Setpoint(self._now, -1, pose, np.zeros(6)))
        self._told_s = self._now

    @property
    def _limits_now(self) -> GuardLimits:
        """The guard's limits; with something in the fingers the tool stays as high as where that lay when taken."""
        taken = self._grasp.taken_height
        if taken is None:
            return self._limits
        return replace(self._limits, workspace=self._limits.workspace.above(taken))

    def _contract_state(self) -> RobotState:
        gripper, arm = self._gripper.reading, self._arm_state
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
