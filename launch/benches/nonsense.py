"""Malformed, truncated, replayed and unauthenticated messages at a bridge that moves the arm: nothing may change."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import socket
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zmq

import _reports
from _running import bridge, cell_lock
from contract.messages import Setpoint
from contract.poses import Pose
from contract.tasks import LIFT_CUBE
from robot_runtime import wire
from robot_runtime.bridge_client import BridgeClient
from robot_runtime.cell import Cell, load_cell
from robot_runtime.mock_cell.cell_process import MockCell, MockCellAddresses
from robot_runtime.tracking import Track, TrackRecorder, circle
from robot_runtime.wire import Counters

LAP_S = 8.0
_PERIOD_S = LIFT_CUBE.period_s
_RAW_SHARE, _STRANGER_SHARE = 0.02, 0.02
"""Of all messages: bytes on a bare TCP connection, and greetings with no key or an unknown one. A connection each."""


@dataclass(frozen=True)
class Arguments:
    """How much, and where the figures go."""

    messages: int = 100_000
    """Of all kinds together."""
    seed: int = 0
    """Decides what they say."""
    report: Path | None = None
    """Also write the figures here."""


@dataclass(frozen=True)
class Overheard:
    """What somebody inside the network, with a client's key, might know: a commander's session."""

    session: str


def run(arguments: Arguments) -> int:
    """A quiet lap, then laps under fire until all has been sent; 1 if anything got through."""
    cell = load_cell("mock")
    with contextlib.ExitStack() as stack:
        stack.enter_context(cell_lock(cell))
        stack.enter_context(MockCell(MockCellAddresses.of_cell(cell), 0, None, cell.camera.serial))
        stack.enter_context(bridge(cell, "mock", print))
        recorder = TrackRecorder()
        client = stack.enter_context(BridgeClient(cell, on_state=recorder.listen))
        client.connect(LIFT_CUBE.contract_hash(), _PERIOD_S)
        client.move_home(LIFT_CUBE.start_q_rad)
        client.arm()
        driver = Driver(client)
        quiet = [driver.lap(recorder) for _ in range(2)]
        before = client.status().counters
        sent_before = driver.sent
        loud, shouted = under_fire(arguments, cell, client, driver, recorder)
        client.wait_until(client.latest().stamp + 0.2)
        figures = _figures(quiet, loud, shouted, before, client.status().counters, driver.sent - sent_before)
        figures["refused_of_the_commander"] = driver.refused
        fault = client.status().fault
        figures["fault"] = None if fault is None else fault.name
        client.stop()
    print(json.dumps(figures, indent=1))
    _reports.write(arguments.report, figures)
    return int(bool(figures["accepted"] or figures["fault"] or figures["refused_of_the_commander"]))


class Driver:
    """The commander: laps of the circle, one after the other."""

    def __init__(self, client: BridgeClient) -> None:
        self._client = client
        self._start = client.latest().stamp + _PERIOD_S
        self.sent = self.refused = 0

    def lap(self, recorder: TrackRecorder) -> float:
        """Millimetres rms that the arm was off in the last lap of LAP_S."""
        begun = self.sent
        for k in range(begun, begun + round(LAP_S / _PERIOD_S)):
            ahead = self._client.wait_until(self._start + k * _PERIOD_S).stamp + _PERIOD_S
            wanted = circle(ahead - self._start)
            twist = np.concatenate([wanted.velocity, np.zeros(3)])
            pose = Pose(wanted.position, np.array(LIFT_CUBE.start_quaternion))
            answer = self._client.send(Setpoint(ahead, k + 1, pose, twist))
            self.sent, self.refused = self.sent + 1, self.refused + (answer.refused is not None)
            self._client.check()
        track = recorder.track(self._start, self.sent * _PERIOD_S)
        late = track.t > begun * _PERIOD_S
        return Track(track.t[late], track.measured[late], track.speed[late]).rms_mm(circle)


def under_fire(
    arguments: Arguments, cell: Cell, client: BridgeClient, driver: Driver, recorder: TrackRecorder
) -> tuple[list[float], Counter[str]]:
    """Laps until a process of its own has sent everything; their errors, and what was sent by kind."""
    spawn = multiprocessing.get_context("spawn")
    told, so_far = spawn.Queue(), spawn.Value("Q", 0)
    what = cell, Overheard(client.session), arguments.messages, arguments.seed, so_far, told
    shouting = spawn.Process(target=shout, args=what, daemon=True)
    shouting.start()
    errors = []
    while shouting.is_alive():
        errors.append(driver.lap(recorder))
        print(f"lap {len(errors)} under fire: {errors[-1]:.2f} mm rms, {so_far.value} messages", flush=True)
    return errors, told.get(timeout=10.0)


def shout(cell: Cell, overheard: Overheard, messages: int, seed: int, so_far: Any, told: Any) -> None:
    """Send so many, in random order; tells how many so far, and in the end of each kind."""
    random = np.random.default_rng(seed)
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    insider = _insider(context, cell)
    count: Counter[str] = Counter()
    for _ in range(messages):
        draw = random.random()
        if draw < _RAW_SHARE:
            kind = _raw(cell, random)
        elif draw < _RAW_SHARE + _STRANGER_SHARE:
            kind = _stranger(context, cell, random)
        else:
            kind, message = _from_inside(overheard, random)
            try:
                insider.send(message)  # waits where the bridge is behind
            except zmq.Again:
                insider.close()
                insider = _insider(context, cell)
                kind = "given up, connected anew"
            while insider.poll(0):
                insider.recv()
        count[kind] += 1
        so_far.value += 1
    time.sleep(2.0)
    insider.close()
    context.term()
    told.put(count)


def _insider(context: zmq.Context[zmq.Socket[bytes]], cell: Cell) -> zmq.Socket[bytes]:
    """A connection with a client's key."""
    insider = context.socket(zmq.DEALER)
    insider.linger, insider.sndhwm, insider.sndtimeo = 5000, 200, 3000
    wire.secure_client(insider, wire.load_keys(cell.keys_folder, "client"))
    insider.connect(cell.command_endpoint)
    return insider


def _raw(cell: Cell, random: np.random.Generator) -> str:
    """Bytes on a connection of its own, closed at once."""
    port = int(random.choice([cell.bridge.command_port, cell.bridge.state_port]))
    greeting = b"\xff\x00\x00\x00\x00\x00\x00\x00\x01\x7f\x03" if random.random() < 0.5 else b""
    with socket.create_connection((cell.bridge.host, port), timeout=5.0) as connection:
        connection.sendall(greeting + random.bytes(int(random.integers(1, 2000))))
    return "bare TCP"


def _stranger(context: zmq.Context[zmq.Socket[bytes]], cell: Cell, random: np.random.Generator) -> str:
    """A well-formed request from somebody without a key, or with one that nobody knows."""
    unknown = bool(random.random() < 0.5)
    stranger = context.socket(zmq.DEALER)
    stranger.linger = 0
    if unknown:
        known = wire.load_keys(cell.keys_folder, "client")
        public, secret = zmq.curve_keypair()
        wire.secure_client(stranger, wire.Keys(public, secret, known.server_public))
    stranger.sndtimeo = 1000  # a connection that is refused at once has nowhere to send to, for ever
    stranger.connect(cell.command_endpoint)
    try:
        stranger.send(wire.encode({"version": wire.PROTOCOL_VERSION, "id": 1, "op": "stop"}))
        answered = stranger.poll(5)
    except zmq.Again:
        answered = 0
    stranger.close()
    return "ANSWERED A STRANGER" if answered else "unknown key" if unknown else "no key"


def _from_inside(overheard: Overheard, random: np.random.Generator) -> tuple[str, bytes]:
    """A message of somebody with a client's key: noise, cut off, bent, replayed, or for another session."""
    pose = [0.5, 0.0, 0.3, 0.0, 1.0, 0.0, 0.0]
    setpoint = {"stamp": 1.0, "sequence": int(random.integers(0, 3)), "pose": pose, "twist": [0.0] * 6}
    request = {"version": wire.PROTOCOL_VERSION, "id": 9, "op": "setpoint", "session": overheard.session}
    real = wire.encode(request | {"setpoint": setpoint})
    kind = random.choice(["noise", "truncated", "bent", "replayed", "other session", "wrong types", "other version"])
    if kind == "noise":
        return str(kind), random.bytes(int(random.integers(0, 300)))
    if kind == "truncated":
        return str(kind), real[: int(random.integers(0, len(real)))]
    if kind == "bent":  # in its last part, or the operation might become another that is allowed
        bent = bytearray(real)
        for _ in range(int(random.integers(1, 4))):
            bent[int(random.integers(len(real) - 60, len(real)))] = int(random.integers(0, 256))
        return str(kind), bytes(bent)
    if kind == "replayed":
        return str(kind), real
    if kind == "other session":
        return str(kind), wire.encode(request | {"setpoint": setpoint, "session": random.bytes(16).hex()})
    if kind == "wrong types":
        wrong = random.choice(["", "7", "[]", "{}"])
        return str(kind), wire.encode(request | {"setpoint": json.loads(wrong) if wrong else None})
    return str(kind), wire.encode(request | {"setpoint": setpoint, "version": int(random.integers(2, 99))})


def _figures(
    quiet: list[float], loud: list[float], shouted: Counter[str], before: Counters, after: Counters, sent: int
) -> dict[str, Any]:
    judged = after.setpoints - before.setpoints
    refused = after.refused - before.refused
    return {
        "messages": sum(shouted.values()),
        "by_kind": dict(sorted(shouted.items())),
        "accepted": judged - refused - sent + shouted["ANSWERED A STRANGER"],
        "refused_by_the_guard": refused,
        "violations": after.limit_violations - before.limit_violations,
        "rms_mm_quiet": [round(error, 3) for error in quiet],
        "rms_mm_under_fire": {name: round(float(f(loud)), 3) for name, f in (("median", np.median), ("worst", np.max))},
        "laps_under_fire": len(loud),
    }
