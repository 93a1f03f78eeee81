#!/usr/bin/env python3
"""The bridge of a cell by hand: `serve` it next to the robot, see its `status`, `stop`, `recover`, make `keys`."""

from __future__ import annotations

import _environment

_environment.enter()

import sys
from dataclasses import dataclass
from typing import Annotated, Literal

import tyro

from contract.tasks import LIFT_CUBE
from robot_runtime import bridge_server, wire
from robot_runtime.bridge_client import BridgeClient, BridgeFaulted, BridgeLost, BridgeRefused
from robot_runtime.cell import Cell, load_cell


@dataclass(frozen=True)
class Options:
    """What to do with which cell's bridge."""

    do: Annotated[Literal["status", "stop", "recover", "serve", "keys"], tyro.conf.Positional]
    """status: what it is doing. stop: bring the arm to rest now. recover: clear latched faults. serve: run it here.
    keys: make this cell's keys here (next to the robot) and say where they are."""
    cell: str = "mock"
    """Name of a cell under launch/cells, or a cell file."""


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


def main(options: Options, cell: Cell) -> None:
    """Do one thing."""
    if options.do == "serve":
        bridge_server.serve(cell)
        return
    if options.do == "keys":
        wire.make_keys(cell.keys_folder)
        print(f"Keys of '{cell.name}' are in {cell.keys_folder}.")
        print("Copy server.key, client.key and client.key_secret to the same folder on the policy's machine.")
        return
    with BridgeClient(cell, name="launch/bridge.py") as client:
        client.latest()
        if options.do == "stop":
            client.stop()
        elif options.do == "recover":
            client.connect(LIFT_CUBE.contract_hash())
            client.recover(by_person=True)
        show(client)


if __name__ == "__main__":
    try:
        options = tyro.cli(Options, description=__doc__)
        main(options, load_cell(options.cell))
    except (BridgeLost, BridgeRefused, BridgeFaulted, *bridge_server.START_ERRORS) as error:
        sys.exit(f"bridge: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
