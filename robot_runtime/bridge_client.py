"""The policy side of the bridge: a synchronous client whose clock is the robot's."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

import numpy as np
import zmq

from contract.messages import GripperCommand, ObjectState, RobotState, Setpoint
from robot_runtime import wire
from robot_runtime.cell import Cell
from robot_runtime.wire import BridgeStatus, Executed
from safety.faults import LatchedFault

REPLY_TIMEOUT_S = 3.0
"""Wall time after which a silent bridge counts as dead; it answers within a few milliseconds otherwise."""
RECOVER_TIMEOUT_S = 10.0
"""Recovering may open a new connection to the arm."""
HEARTBEAT_S = 0.5
StateListener = Callable[[RobotState, BridgeStatus], None]


class BridgeLost(RuntimeError):
    """The bridge does not answer. Look at its terminal or run `launch/bridge.py status`, then connect again."""


class BridgeRefused(RuntimeError):
    """The bridge will not do this now; the sentence says why."""


class BridgeFaulted(RuntimeError):
    """The bridge stopped the arm; the sentence says why. Remove the cause, then `recover` and `arm`."""


class BridgeClient:
    """One connection to one bridge; use as a context manager or call `close`.

    on_state: called from the receiving thread for every state the bridge publishes (several hundred per second).
    """

    def __init__(self, cell: Cell, name: str | None = None, on_state: StateListener | None = None) -> None:
        self.cell = cell
        self.name = name or f"{os.path.basename(sys.argv[0]) or 'python'} (process {os.getpid()})"
        self._keys = wire.load_keys(cell.keys_folder, "client")
        self._context = zmq.Context()
        self._commands = self._socket(zmq.DEALER, cell.command_endpoint)
        self._calling = threading.Lock()
        self._requests = 0
        self._answered_turn = -1
        self._answered_fault: LatchedFault | None = None
        self._session: str | None = None
        self._on_state = on_state
        self._changed = threading.Condition()
        self._state: RobotState | None = None
        self._status: BridgeStatus | None = None
        self._turn = -1
        self._heard_s = self._advanced_s = time.monotonic()
        self._closing = False
        self._receiver = threading.Thread(target=self._receive, name="bridge-state", daemon=True)
        self._receiver.start()

    def connect(self, contract_hash: str, period_s: float = 0.05) -> None:
        """Take the lease: from now on only this client may move the arm.

        contract_hash: of the task card, so that both ends mean the same by their numbers. period_s: between setpoints.
        Raises BridgeLost, or BridgeRefused when another program holds the lease or versions differ.
        """
        reply = self._call("connect", name=self.name, contract=contract_hash, period_s=period_s)
        self._session = reply["session"]
        self.latest()

    @property
    def session(self) -> str:
        """What proves on the wire that this client holds the lease. Raises BridgeRefused before `connect`."""
        if self._session is None:
            raise BridgeRefused("There is no session before connect().")
        return self._session

    # --- state ----------------------------------------------------------------------------------------------------

    def latest(self) -> RobotState:
        """The newest robot state. Raises BridgeLost if the bridge has been silent for a while."""
        return self._wait(lambda: True)[0]

    def status(self) -> BridgeStatus:
        """What the bridge was doing at the newest state."""
        return self._wait(lambda: True)[1]

    def wait_until(self, robot_time: float) -> RobotState:
        """The first state whose stamp is not before `robot_time` (seconds).

        Raises BridgeLost if the bridge is silent, BridgeFaulted if the arm is and robot time stands still.
        """
        return self._wait(lambda: self._state is not None and self._state.stamp >= robot_time)[0]

    def check(self) -> None:
        """Raise BridgeFaulted if the bridge has stopped the arm, as of its last answer or state."""
        fault = self._answered_fault or self.status().fault
        if fault is not None:
            raise BridgeFaulted(f"{fault.cause} ({fault.name})")

    # --- motion ---------------------------------------------------------------------------------------------------

    def arm(self) -> None:
        """Start the impedance controller where the arm is; returns when it holds.

        Raises BridgeRefused, BridgeFaulted.
        """
        self._call_leased("arm")
        self._wait_for_mode("armed")

    def send(self, setpoint: Setpoint) -> Executed:
        """Ask for one setpoint; the answer is what is executed instead, and why.

        A refused setpoint is an answer (`refused`), not an exception: the caller decides. Call `check` to see faults.
        """
        return wire.executed_from_wire(
            self._call_leased("setpoint", setpoint=wire.setpoint_to_wire(setpoint))["executed"]
        )

    def gripper(self, command: GripperCommand) -> None:
        """Tell the gripper; returns at once, the width in `latest` tells what happens. The newest command wins."""
        self._call_leased("gripper", command={"closed": bool(command.closed), "force": float(command.force)})

    def saw(self, seen: ObjectState) -> None:
        """Let the flight record know where the object is believed to be. Wants no answer; lost if the bridge is."""
        head = {"version": wire.PROTOCOL_VERSION, "id": 0, "op": "saw", "session": self._session}
        with self._calling, contextlib.suppress(zmq.Again):
            self._commands.send(wire.encode(head | {"seen": wire.seen_to_wire(seen)}), zmq.NOBLOCK)

    def move_home(self, q_rad: np.ndarray | tuple[float, ...]) -> None:
        """Slow guarded motion: straight up to a clear height, then to that joint pose; returns there, disarmed.

        Raises BridgeRefused (bad pose) or BridgeFaulted (it did not get there).
        """
        self._call_leased("move_home", q=[float(x) for x in q_rad])
        self._wait_for_mode("disarmed")

    def stop(self) -> None:
        """Bring the arm to rest and leave it disarmed, whatever it was doing; returns at rest. Keeps latched faults."""
        self._call("stop")
        self._wait_for_mode("disarmed", "faulted")

    disarm = stop

    def recover(self, by_person: bool = False) -> None:
        """Clear latched faults after their cause has been removed. The arm is disarmed afterwards.

        by_person: somebody has looked at the arm; `safety.faults.FAULTS` says which faults need that.
        Raises BridgeRefused.
        """
        self._call_leased("recover", by_person=by_person)
        self._heard_s = self._advanced_s = time.monotonic()  # an arm that was lost has only now come back
        self._wait_for_mode("disarmed")

    # --- connection -----------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Stop the arm if this client moves it, give the lease back, and end the threads."""
        if self._closing:
            return
        if self._session is not None:
            # If this fails the bridge stops the arm by itself when the lease runs out.
            with contextlib.suppress(BridgeLost, BridgeRefused):
                self._call("disconnect")
        self._closing = True
        self._receiver.join(timeout=2.0)
        self._commands.close(linger=0)
        self._context.term()

    def __enter__(self) -> BridgeClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _socket(self, kind: int, endpoint: str) -> zmq.Socket[bytes]:
        socket: zmq.Socket[bytes] = self._context.socket(kind)
        socket.linger = 0
        wire.secure_client(socket, self._keys)
        if kind == zmq.SUB:
            socket.subscribe(b"")
            socket.rcvhwm = 1000
        socket.connect(endpoint)
        return socket

    def _call_leased(self, operation: str, **arguments: Any) -> dict[str, Any]:
        if self._session is None:
            raise BridgeRefused(f"'{operation}' needs the lease: call connect() first.")
        return self._call(operation, **arguments)

    def _call(self, operation: str, **arguments: Any) -> dict[str, Any]:
        with self._calling:
            self._requests += 1
            head = {"version": wire.PROTOCOL_VERSION, "id": self._requests, "op": operation, "session": self._session}
            self._commands.send(wire.encode(head | arguments))
            timeout_s = RECOVER_TIMEOUT_S if operation == "recover" else REPLY_TIMEOUT_S
            deadline = time.monotonic() + timeout_s
            while True:
                left_ms = int(1000 * (deadline - time.monotonic()))
                if left_ms <= 0 or not self._commands.poll(left_ms):
                    raise BridgeLost(self._lost(f"No answer to '{operation}' within {timeout_s:.0f} s"))
                reply = wire.decode(self._commands.recv())
                if reply.get("id") == self._requests:  # older ones are answers to calls that were given up
                    break
        self._answered_fault = None if reply["fault"] is None else LatchedFault(**reply["fault"])
        if reply["error"] is not None:
            raise BridgeRefused(reply["error"])
        self._answered_turn = reply["turn"]
        return reply

    def _wait_for_mode(self, *wanted: str) -> None:
        """Wait until the bridge has reached a mode after the last call. Raises BridgeFaulted."""
        reached = wanted + ("faulted",)
        status = self._wait(
            lambda: self._turn > self._answered_turn and self._status is not None and self._status.mode in reached
        )[1]
        if status.mode not in wanted and status.fault is not None:
            raise BridgeFaulted(f"{status.fault.cause} ({status.fault.name})")

    def _wait(self, done: Callable[[], bool]) -> tuple[RobotState, BridgeStatus]:
        """Wait for a state that satisfies `done`."""
        with self._changed:
            while True:
                now_s = time.monotonic()
                if self._state is not None and self._status is not None and done() and self._heard(now_s):
                    return self._state, self._status
                if not self._heard(now_s):
                    raise BridgeLost(self._lost(f"Nothing for {now_s - self._heard_s:.1f} s"))
                if now_s - self._advanced_s > REPLY_TIMEOUT_S:
                    fault = self._status.fault if self._status is not None else None
                    cause = f"{fault.cause} ({fault.name})" if fault is not None else "The arm's time stands still."
                    raise BridgeFaulted(cause)
                self._changed.wait(0.5)

    def _heard(self, now_s: float) -> bool:
        return now_s - self._heard_s <= REPLY_TIMEOUT_S

    def _lost(self, what: str) -> str:
        return (
            f"{what} from the bridge at {self.cell.command_endpoint}; see its terminal, "
            f"or run `launch/bridge.py status --cell {self.cell.name}`."
        )

    def _receive(self) -> None:
        states = self._socket(zmq.SUB, self.cell.state_endpoint)
        beats = self._socket(zmq.DEALER, self.cell.command_endpoint)
        next_beat_s = 0.0
        while not self._closing:
            now_s = time.monotonic()
            if self._session is not None and now_s >= next_beat_s:
                next_beat_s = now_s + HEARTBEAT_S
                beat = {"version": wire.PROTOCOL_VERSION, "id": 0, "op": "heartbeat", "session": self._session}
                beats.send(wire.encode(beat), zmq.NOBLOCK)
            if not states.poll(100):
                continue
            message = wire.decode(states.recv())
            state, status = wire.state_from_wire(message["state"]), wire.status_from_wire(message["status"])
            if self._on_state is not None:
                self._on_state(state, status)
            with self._changed:
                self._heard_s = time.monotonic()
                if self._state is None or state.stamp > self._state.stamp:
                    self._advanced_s = self._heard_s
                self._state, self._status, self._turn = state, status, message["turn"]
                self._changed.notify_all()
        states.close(linger=0)
        beats.close(linger=0)
