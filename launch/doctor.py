#!/usr/bin/env python3
"""Check everything a run needs on a cell, moving nothing: what was checked, what was found, what to do.

Exit code 1 if anything is red.
"""

import _environment

_environment.enter()

import contextlib
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import tyro

import _running
import _terminal
from contract import artifact
from contract.tasks import UnknownTask, task
from preflight import eye, machine, robot
from preflight.finding import Finding, failed, good
from robot_runtime.bridge_client import BridgeFaulted, BridgeLost
from robot_runtime.cell import Cell, CellError, load_cell
from robot_runtime.mock_cell.cell_process import MockCell, MockCellAddresses, MockCellFailed, PortInUse

ROOT = Path(__file__).resolve().parent.parent
MARKS = {"good": ("✓", _terminal.GREEN), "bad": ("✗", _terminal.RED), "not needed": ("·", _terminal.GREY)}


class CannotReport(ValueError):
    """The report cannot be written there."""


@dataclass(frozen=True)
class Arguments:
    """What to look at."""

    cell: str = "mock"
    """Name of a cell under launch/cells, or a cell file. What a mock cell needs is started, if it does not run."""
    task: str = "lift_cube"
    """Name of the task card that is to be run."""
    policy: Path | None = None
    """Folder of the policy; the shipped one of the task if not given."""
    json: Path | None = None
    """Write the table to this file too."""


def examine(arguments: Arguments, stack: contextlib.ExitStack) -> Iterator[Finding]:
    """Every check, in the order in which things go wrong. Raises CellBusy."""
    yield policy(arguments)
    try:
        cell = load_cell(arguments.cell)
    except CellError as error:
        yield failed("cell", error)
        return
    yield good("cell", f"'{cell.name}': a {cell.robot.model} at {cell.robot.address}")
    stack.enter_context(_running.cell_lock(cell))
    yield machine.kernel(cell)
    yield machine.permission(cell)
    yield machine.keys(cell)
    yield machine.disk("records", cell.flight_records_folder)
    yield machine.disk("episodes", ROOT / "runs")
    if cell.mock is not None:
        yield mock_cell(cell, stack)
    found, bridge = machine.bridge(cell)
    yield found
    try:
        yield from robot.robot(cell, bridge)
    except (BridgeLost, BridgeFaulted) as error:
        yield failed("arm", error)
    yield from eye.camera(cell)
    yield from eye.calibration(cell)


def policy(arguments: Arguments) -> Finding:
    """The policy file is whole, and was made for this code's contract."""
    try:
        spec = task(arguments.task)
        found = artifact.load(arguments.policy or ROOT / "policies" / spec.name, spec)
    except (UnknownTask, artifact.ArtifactError) as error:
        return failed("policy", error)
    commit = found.card["provenance"].get("commit", "unknown")
    return good("policy", f"{spec.name}, contract {spec.contract_hash()[:12]} as here, trained at commit {commit}")


def mock_cell(cell: Cell, stack: contextlib.ExitStack) -> Finding:
    """Started for these checks, unless it runs already."""
    assert cell.mock is not None
    try:
        addresses = MockCellAddresses.of_cell(cell)
        stack.enter_context(MockCell(addresses, cell.mock.seed, None, cell.camera.serial))
    except PortInUse:
        return good("mock cell", "runs already, or something else uses its ports")
    except MockCellFailed as error:
        return failed("mock cell", error)
    return good("mock cell", f"started: robot {addresses.robot}, camera {addresses.frames}")


def line(finding: Finding) -> str:
    """As it is printed."""
    mark, colour = MARKS[finding.verdict]
    do = f" → {finding.do}." if finding.do else ""
    return _terminal.paint(f"  {mark} {finding.what:<11} {finding.found.rstrip('.')}.{do}", colour)


def write_report(path: Path, arguments: Arguments, findings: list[Finding]) -> None:
    """The same as JSON, whole or not at all. Raises CannotReport."""
    ok = all(finding.verdict != "bad" for finding in findings)
    when = datetime.now(UTC).isoformat(timespec="seconds")
    report = {"cell": arguments.cell, "when": when, "ok": ok, "findings": [asdict(finding) for finding in findings]}
    staging = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        staging.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        staging.replace(path)
    except OSError as error:
        raise CannotReport(f"{path} cannot be written ({error.strerror}): name another file.") from None


def main() -> int:
    """Exit code."""
    arguments = tyro.cli(Arguments, description=__doc__)
    _running.Interrupts()
    findings: list[Finding] = []
    try:
        with contextlib.ExitStack() as stack:
            for finding in examine(arguments, stack):
                findings.append(finding)
                print(line(finding), flush=True)
        if arguments.json is not None:
            write_report(arguments.json, arguments, findings)
    except (_running.CellBusy, CannotReport) as error:
        print(f"doctor: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    bad = sum(finding.verdict == "bad" for finding in findings)
    print(f"\n{bad} of {len(findings)} checks are red." if bad else f"\nAll {len(findings)} checks passed.")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
