"""The bridge: the one process that moves the arm. `python -m robot_runtime.bridge_server --cell NAME_OR_FILE`

One loop does everything in turn: answer requests, let the authority take its turn, publish. The 1 kHz control runs in
franky's own thread and the gripper on its own threads, so nothing here may block.
"""

from __future__ import annotations

import contextlib
import gc
import secrets
import signal
import sys
import time
from dataclasses import dataclass
from typing import Any

import tyro
import zmq
from zmq.auth.thread import ThreadAuthenticator

from contract.tasks import TASKS
from robot_runtime import wire
from robot_runtime.authority import Authority
from robot_runtime.cell import Cell, CellError, load_cell
from robot_runtime.franka import ArmFault
from robot_runtime.gripper import GripperUnreachable
from robot_runtime.locks import Taken, exclusive
from safety.faults import NotNow

REQUESTS_PER_TURN = 20
"""A flood of requests must not keep the authority from its turn."""
LARGEST_REQUEST_BYTES = 16_384
LEASE_S = 3.0
"""Wall time of silence (no heartbeat) after which the commander counts as gone."""
STOP_AT_EXIT_S = 4.0


class BridgeStartError(RuntimeError):
    """The bridge cannot start; the sentence says what to do."""


START_ERRORS = (CellError, BridgeStartError, ArmFault, GripperUnreachable, wire.KeysUnusable)
"""What keeps a bridge from starting; each is one sentence."""


@dataclass
class Lease:
    """Who may command the arm."""

    session: str
    name: str
    seen_s: float


class BridgeServer:
    """Lets authenticated clients, one commander among them, talk to the authority. Raises one of START_ERRORS."""

    def __init__(self, cell: Cell) -> None:
        self._cell = cell
        self._period_s = 1.0 / cell.bridge.rate_hz
        self._running = True
        self._turn = 0
        self._lease: Lease | None = None
        self._open_sockets()
        try:
            self._authority = Authority(cell)
        except BaseException:
            self._close_sockets()
            raise

    def run(self) -> None:
        """Serve until `finish` is called (SIGINT, SIGTERM), then bring the arm to rest and let go of everything."""
        try:
            while self._running:
                self._turn_once()
            self._authority.stop()
            deadline = time.monotonic() + STOP_AT_EXIT_S
            while self._authority.in_motion and time.monotonic() < deadline:
                self._turn_once()
        finally:
            self._authority.close()
            self._close_sockets()

    def finish(self, *_: Any) -> None:
        """Ask `run` to end; usable as a signal handler."""
        self._running = False

    def _turn_once(self) -> None:
        end_s = time.monotonic() + self._period_s
        for _ in range(REQUESTS_PER_TURN):  # what waits is answered even where the machine is behind its time
            left_ms = max(0, round(1000 * (end_s - time.monotonic())))
            if not self._commands.poll(left_ms):
                break
            self._answer()
        self._authority.tick()
        self._check_lease()
        self._turn += 1
        self._publish()

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
            reply.update(self._perform(str(request.get("op")), request))
            if self._lease is not None and request.get("session") == self._lease.session:
                self._lease.seen_s = time.monotonic()
        except (NotNow, wire.WireError) as error:
            reply["error"] = str(error)
        except ArmFault as fault:
            reply["error"] = str(fault)
            self._authority.trip(fault.name, str(fault))
        latched = self._authority.fault
        reply["fault"] = None if latched is None else vars(latched)
        if reply.get("id") != 0:  # heartbeats and sights want no answer
            self._commands.send_multipart([sender, wire.encode(reply)], zmq.NOBLOCK)

    def _perform(self, operation: str, request: dict[str, Any]) -> dict[str, Any]:
        authority = self._authority
        if operation == "heartbeat":
            return {}
        if operation == "connect":
            return self._connect(request)
        if operation == "stop":  # anyone who is allowed in may stop the arm
            authority.note("stop", self._lease.name if self._lease else None)
            authority.stop()
            return {}
        if self._lease is None or request.get("session") != self._lease.session:
            raise NotNow("This client does not hold the lease (any more); connect again.")
        if operation == "setpoint":
            executed = authority.take(wire.setpoint_from_wire(request.get("setpoint")))
            return {"executed": wire.executed_to_wire(executed)}
        if operation == "gripper":
            authority.move_gripper(wire.gripper_from_wire(request.get("command")))
        elif operation == "saw":
            authority.note("seen", wire.checked_seen(request.get("seen")))
        elif operation == "arm":
            authority.arm()
        elif operation == "move_home":
            authority.move_home(wire.joints_from_wire(request.get("q")))
        elif operation == "recover":
            authority.recover(by_person=request.get("by_person") is True)
        elif operation == "disconnect":
            authority.stop()
            self._lease = None
        else:
            raise NotNow(f"This bridge knows no operation '{operation}'.")
        return {}

    def _connect(self, request: dict[str, Any]) -> dict[str, Any]:
        if self._lease is not None:
            raise NotNow(f"The arm is commanded by {self._lease.name}; stop that program first.")
        if request.get("contract") not in {card.contract_hash() for card in TASKS.values()}:
            raise NotNow("The client's task card is not one of this bridge's; install the same version on both ends.")
        period_s = request.get("period_s")
        if not isinstance(period_s, float):
            raise wire.WireError("A connection needs period_s.")
        self._authority.begin_session(period_s)
        self._lease = Lease(secrets.token_hex(16), str(request.get("name")), time.monotonic())
        self._authority.note("connect", self._lease.name)
        return {"session": self._lease.session}

    def _check_lease(self) -> None:
        if self._lease is None or time.monotonic() - self._lease.seen_s < LEASE_S:
            return
        name, self._lease = self._lease.name, None
        self._authority.note("lease_expired", name)
        self._authority.end_session(f"{name} has been silent for {LEASE_S:g} s.")

    def _publish(self) -> None:
        status = self._authority.status(None if self._lease is None else self._lease.name)
        message = {
            "turn": self._turn,
            "state": wire.state_to_wire(self._authority.state),
            "status": wire.status_to_wire(status),
        }
        self._states.send(wire.encode(message), zmq.NOBLOCK)

    def _open_sockets(self) -> None:
        cell = self._cell
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
            socket.maxmsgsize = LARGEST_REQUEST_BYTES
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


def serve(cell: Cell) -> None:
    """Serve one cell's arm until SIGINT or SIGTERM. Raises one of START_ERRORS."""
    with contextlib.ExitStack() as held:
        try:
            held.enter_context(exclusive(f"robot-{cell.robot.address}"))
        except Taken as error:
            raise BridgeStartError(
                f"Process {error.holder} commands the robot at {cell.robot.address}: one bridge for one robot; stop it."
            ) from None
        server = BridgeServer(cell)
        signal.signal(signal.SIGINT, server.finish)
        signal.signal(signal.SIGTERM, server.finish)
        gc.freeze()  # what was imported need not be looked through again while the arm moves
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
