#!/usr/bin/env python3
"""Run the mock cell by hand: a robot that franky connects to, a camera, and a cube, until Ctrl-C."""

from __future__ import annotations

import _environment

_environment.enter()

import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import tyro

from robot_runtime.cell import CellError, load_cell
from robot_runtime.mock_cell.cell_process import MockCell, MockCellAddresses, MockCellFailed, PortInUse


@dataclass(frozen=True)
class Options:
    """What the mock cell is started with."""

    cell: str = "mock"
    """Cell file, or its name under launch/cells, that says where the mock cell listens."""
    host: str | None = None
    """Another loopback address for the robot than the cell file's."""
    seed: int = 0
    """Of the cube's first pose."""
    video: Path | None = None
    """Write the camera's pictures to this file."""


def main(options: Options) -> None:
    """Starts, says where everything listens, and waits."""
    addresses = MockCellAddresses.of_cell(load_cell(options.cell))
    if options.host is not None:
        addresses = MockCellAddresses(options.host, addresses.frames, addresses.scoring)
    with MockCell(addresses, seed=options.seed, video=options.video) as cell:
        print(
            f"Robot {addresses.robot}, frames {addresses.frames}, scoring {addresses.scoring}. Ctrl-C stops.",
            flush=True,
        )
        while True:
            time.sleep(1.0)
            cell.check()


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        main(tyro.cli(Options, description=__doc__))
    except (CellError, PortInUse, MockCellFailed) as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        print("Stopped.")
