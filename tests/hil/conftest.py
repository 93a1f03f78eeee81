"""A whole cell for a test: mock cell, bridge and client on addresses of its own."""

from __future__ import annotations

import contextlib
import dataclasses
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

import _running
from contract.tasks import LIFT_CUBE
from robot_runtime.bridge_client import BridgeClient, BridgeFaulted
from robot_runtime.cell import Cell, load_cell
from robot_runtime.mock_cell.cell_process import MockCell, MockCellAddresses
from robot_runtime.mock_cell.scoring import ScoringClient

from .stage import Stage, lease, staged


@dataclass(frozen=True)
class WholeCell:
    """What a test drives and what it checks against. file: the cell file."""

    cell: Cell
    file: Path
    client: BridgeClient
    scoring: ScoringClient


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def write_free_cell(folder: Path, name: str) -> tuple[Cell, Path]:
    """The mock cell's description with addresses nobody uses."""
    addresses, cell = MockCellAddresses.free(), load_cell("mock")
    assert cell.wrist_camera is not None
    assert addresses.wrist_frames is not None
    bridge = dataclasses.replace(
        cell.bridge,
        command_port=free_port(),
        state_port=free_port(),
        keys=str(folder / "keys"),
        flight_records=str(folder / "flight_records"),
    )
    cell = dataclasses.replace(
        cell,
        name=name,
        robot=dataclasses.replace(cell.robot, address=addresses.robot),
        bridge=bridge,
        camera=dataclasses.replace(cell.camera, address=addresses.frames),
        wrist_camera=dataclasses.replace(cell.wrist_camera, address=addresses.wrist_frames),
        scoring=addresses.scoring,
    )
    file = folder / f"{name}.yaml"
    cell.write(file)
    return load_cell(file), file


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """A mock cell and its bridge, on which faults are made."""
    cell, file = write_free_cell(tmp_path_factory.mktemp("stage"), "stage")
    with MockCell(MockCellAddresses.of_cell(cell), serial=cell.camera.serial), staged(cell, file) as stage:
        yield stage


@pytest.fixture
def client(stage: Stage) -> Iterator[BridgeClient]:
    """A client that holds the lease, armed at the start pose, nothing latched."""
    with BridgeClient(stage.cell, name="the test") as client:
        lease(client)
        stage.ready(client)
        yield client
        stage.scoring.calm()
        with contextlib.suppress(BridgeFaulted):  # of an arm that is gone
            client.stop()


@pytest.fixture(scope="module")
def whole_cell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WholeCell]:
    """Everything but the policy, connected and disarmed."""
    cell, file = write_free_cell(tmp_path_factory.mktemp("cell"), "hil")
    with ExitStack() as stack:
        addresses = MockCellAddresses.of_cell(cell)
        stack.enter_context(MockCell(addresses, serial=cell.camera.serial))
        scoring = stack.enter_context(ScoringClient(addresses.scoring))
        stack.enter_context(_running.bridge(cell, str(file), print))
        client = stack.enter_context(BridgeClient(cell, name="test"))
        client.connect(LIFT_CUBE.contract_hash(), LIFT_CUBE.period_s)
        yield WholeCell(cell, file, client, scoring)
