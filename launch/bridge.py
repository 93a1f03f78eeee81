#!/usr/bin/env python3
"""The bridge of a cell by hand: `serve` it at the robot, see its `status`, `arm`, `stop`, `recover`; read its `log`."""

from __future__ import annotations

import _environment

_environment.enter()

import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

import _flight_picture
import _flight_words
from contract.tasks import LIFT_CUBE
from robot_runtime import bridge_server, replay, wire
from robot_runtime.bridge_client import BridgeClient, BridgeFaulted, BridgeLost, BridgeRefused
from robot_runtime.cell import Cell, load_cell

LOOK_S = 0.2


class WrongArgument(ValueError):
    """An argument cannot be meant."""


EXPECTED = (
    BridgeLost, BridgeRefused, BridgeFaulted, replay.FlightRecordError, _flight_picture.CannotDraw, WrongArgument,
    *bridge_server.START_ERRORS,
)  # fmt: skip


@dataclass(frozen=True)
class Options:
    """What to do with which cell's bridge."""

    do: Annotated[Literal["status", "arm", "stop", "recover", "serve", "keys", "log"], tyro.conf.Positional]
    """status: what it is doing. arm: hold the arm here until Ctrl-C. stop: bring the arm to rest now. recover: clear
    latched faults. serve: run it here. keys: make this cell's keys here (next to the robot) and say where they are.
    log: what a flight record tells."""
    file: Annotated[Path | None, tyro.conf.Positional] = None
    """log: which flight record; this cell's newest on this machine if not given."""
    cell: str = "mock"
    """Name of a cell under launch/cells, or a cell file."""
    out: Path | None = None
    """log: draw it to this .png, .svg or .pdf, or write a page with picture and words to this .html."""
    last: float = 12.0
    """log: how many of its last seconds are drawn."""


def show(client: BridgeClient) -> None:
    """Print what the bridge is doing, as lines of `what: value`."""
    state, status = client.latest(), client.status()
    position = ", ".join(f"{x:.3f}" for x in state.pose_base_tcp.position)
    print(f"mode: {status.mode}")
    print(f"fault: {'none' if status.fault is None else f'{status.fault.cause} ({status.fault.name})'}")
    print(f"commander: {status.commander or 'none'}")
    print(f"tool: {position} m, gripper {1e3 * state.gripper_width:.0f} mm, robot time {state.stamp:.1f} s")
    counters = ", ".join(f"{name} {value:.3g}" for name, value in vars(status.counters).items())
    print(f"counters: {counters}")


def hold(client: BridgeClient) -> None:
    """Arm, and stay armed until Ctrl-C, a SIGTERM or a fault (BridgeFaulted)."""
    for number in (signal.SIGINT, signal.SIGTERM):  # a shell's background jobs ignore the first
        signal.signal(number, signal.default_int_handler)
    client.connect(LIFT_CUBE.contract_hash())
    client.arm()
    print("The arm holds where it is, and gives way like a spring. Ctrl-C stops and disarms it.", flush=True)
    try:
        while True:
            client.check()
            time.sleep(LOOK_S)
    except KeyboardInterrupt:
        print("\nStopping ...", flush=True)
        client.stop()


def log(options: Options, cell: Cell) -> None:
    """Print what a record tells, and draw it."""
    if options.last <= 0:
        raise WrongArgument("--last must be more than 0 seconds.")
    path = options.file or replay.newest(cell.flight_records_folder)
    record = replay.read(path)
    words = _flight_words.summary(record)
    print(path)
    print("\n".join(words))
    if options.out is not None:
        _flight_picture.write(record, options.out, options.last, words)
        print(f"\nDrawn to {options.out}.")


def main(options: Options, cell: Cell) -> None:
    """Do one thing."""
    if options.do != "log" and (options.file or options.out):
        raise WrongArgument("Only `log` takes a file and --out.")
    if options.do == "serve":
        bridge_server.serve(cell)
    elif options.do == "keys":
        wire.make_keys(cell.keys_folder)
        print(f"Keys of '{cell.name}' are in {cell.keys_folder}.")
        print("Copy server.key, client.key and client.key_secret to the same folder on the policy's machine.")
    elif options.do == "log":
        log(options, cell)
    else:
        with BridgeClient(cell, name="launch/bridge.py") as client:
            command(options, client)
            show(client)


def command(options: Options, client: BridgeClient) -> None:
    """Do what moves, stops or asks the arm."""
    client.latest()
    if options.do == "arm":
        hold(client)
    elif options.do == "stop":
        client.stop()
    elif options.do == "recover":
        client.connect(LIFT_CUBE.contract_hash())
        client.recover(by_person=True)


if __name__ == "__main__":
    try:
        options = tyro.cli(Options, description=__doc__)
        main(options, load_cell(options.cell))
    except EXPECTED as error:
        sys.exit(f"bridge: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
