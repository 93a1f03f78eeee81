"""Checks of the arm: network, FCI version, mode, errors, tool, payload, limits. Commands nothing."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterator
from importlib.metadata import version

import numpy as np

from preflight.finding import Finding, bad, failed, good, not_needed
from preflight.machine import Bridge, stands_here
from robot_runtime.arm_report import ArmReport
from robot_runtime.bridge_client import BridgeClient
from robot_runtime.cell import Cell
from robot_runtime.franka import TOOL_OFF_M, TOOL_OFF_RAD, Arm, ArmFault
from safety.limits import arm_limits

PROBES = 200
PROBE_PORT = 443
"""Desk's. Whether it accepts or refuses, the answer comes from the robot; the FCI port is left to its one client."""
PROBE_TIMEOUT_S = 1.0
FCI_BUDGET_US = 300
"""What a cycle of 1 ms leaves to network and client (Franka Control Interface documentation, network requirements)."""
PAYLOAD_N = 3.0
"""Force on the tool at rest from which on something hangs there that the arm was not told of: 0.3 kg."""
AT_REST_RAD_S = 0.02
LISTEN_S = 0.5

WHAT_TO_DO = {
    "UserStopped": "Release the user stop",
    "Guiding": "Let go of the guiding buttons",
    "Reflex": "Remove what it touches, then `launch/bridge.py recover`",
    "Move": "Stop the program that moves it",
    "AutomaticErrorRecovery": "Wait until it has recovered",
    "Other": "Unlock its brakes in Desk and activate FCI",
}


def robot(cell: Cell, bridge: Bridge) -> Iterator[Finding]:
    """Everything about the arm, through the bridge where one has it: the FCI takes one client only."""
    answers = True
    if bridge == "serves" and not stands_here(cell):
        yield not_needed("network", f"run this on {cell.bridge.host} too, where the bridge runs")
    else:
        network = round_trip(cell)
        answers = network.do != UNREACHABLE
        yield network
    if bridge == "serves":
        yield from through_bridge(cell)
    elif bridge == "none" and answers:
        yield from directly(cell)
    else:
        yield not_needed("arm", "not asked, because of what is red above")


UNREACHABLE = "Check the address in the cell file, the cable and the robot's power"
ROUTE = "Connect this machine to the robot by one cable, without a switch or Wi-Fi, and turn off power saving"


def round_trip(cell: Cell) -> Finding:
    """How long the robot takes to answer the smallest question that TCP knows."""
    took = []
    for _ in range(PROBES):
        seconds = _answered_s(cell.robot.address)
        if seconds is None:
            return bad("network", f"{cell.robot.address} does not answer", UNREACHABLE)
        took.append(seconds)
    median, p99, worst = 1e6 * np.percentile(took, [50, 99, 100])
    found = f"round trip {median:.0f} µs, 99 % {p99:.0f}, worst {worst:.0f}; the FCI leaves {FCI_BUDGET_US}"
    if cell.robot.realtime == "ignore":
        return good("network", f"{found} (not judged: realtime: ignore)")
    return good("network", found) if p99 < FCI_BUDGET_US else bad("network", found, ROUTE)


def _answered_s(address: str) -> float | None:
    """Seconds until the robot accepts or refuses a connection."""
    with socket.socket() as probe:
        probe.settimeout(PROBE_TIMEOUT_S)
        # Closed by a reset: hundreds of half-closed connections would help nobody.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        began = time.perf_counter()
        try:
            probe.connect((address, PROBE_PORT))
        except ConnectionRefusedError:
            pass
        except OSError:
            return None
        return time.perf_counter() - began


def directly(cell: Cell) -> Iterator[Finding]:
    """What the arm says about itself."""
    try:
        report = Arm(cell.robot, cell.gains, cell.limits).report()
    except ArmFault as fault:
        if fault.name == "arm_version":
            do = "Install the franky wheel for this robot's server version (a Panda speaks FCI 5, an FR3 10)"
            yield bad("FCI", str(fault), do)
        elif fault.name == "arm_unreachable":
            do = "Activate FCI in Desk, and end every other program that uses it"
            yield bad("FCI", f"no arm answers at {cell.robot.address}", do)
        else:
            yield failed("FCI", fault)
        return
    yield good(
        "FCI", f"franky-control {version('franky-control')} and the arm at {cell.robot.address} speak one version"
    )
    yield mode(report)
    yield tool(report)
    yield payload(report.force_base, report.speed_rad_s)
    yield limits(cell, report)


def mode(report: ArmReport) -> Finding:
    """Idle, brakes open, no errors."""
    if report.mode != "Idle":
        errors = f", errors: {report.errors}" if report.errors else ""
        return bad("arm", f"mode {report.mode}{errors}", WHAT_TO_DO[report.mode])
    if report.errors:
        return bad("arm", f"errors: {report.errors}", WHAT_TO_DO["Reflex"])
    return good("arm", "idle, brakes open, no errors")


def tool(report: ArmReport) -> Finding:
    """The Franka Hand chosen in Desk."""
    off = f"{1e3 * report.tool_off_m:.1f} mm and {report.tool_off_rad:.3f} rad from the Franka Hand's"
    if report.tool_off_m > TOOL_OFF_M or report.tool_off_rad > TOOL_OFF_RAD:
        return bad("tool", f"its frame is {off}", "Choose the Franka Hand as end effector in Desk")
    return good("tool", f"frame {off}")


def payload(force_base: np.ndarray, speed_rad_s: float) -> Finding:
    """Nothing pulls at a hand that is empty and at rest."""
    if speed_rad_s > AT_REST_RAD_S:
        return not_needed("payload", f"the arm moves at {speed_rad_s:.2f} rad/s")
    force = float(np.linalg.norm(force_base))
    found = f"{force:.1f} N on the tool at rest, {PAYLOAD_N:g} allowed with the hand empty"
    if force > PAYLOAD_N:
        do = "Empty the hand and clear the arm; if it stays, correct mass and centre of the end effector in Desk"
        return bad("payload", found, do)
    return good("payload", found)


def limits(cell: Cell, report: ArmReport) -> Finding:
    """Our table lies inside what the arm itself reports."""
    told, ours = report.limits, arm_limits(cell.robot.model)
    if told is None:
        return not_needed("limits", "this arm does not report its own (an FCI 5 cannot)")
    beyond = (
        (ours.q_low < told.q_low - 1e-4) | (ours.q_high > told.q_high + 1e-4)
        | (ours.dq > told.dq + 1e-4) | (ours.torque > told.torque + 1e-4)
    )  # fmt: skip
    if beyond.any():
        joints = ", ".join(str(joint + 1) for joint in np.flatnonzero(beyond))
        do = f"Check `robot.model` ({cell.robot.model}) in the cell file"
        return bad("limits", f"our table exceeds what the arm reports for joint {joints}", do)
    return good("limits", f"our table of the {cell.robot.model} lies inside what the arm reports")


def through_bridge(cell: Cell) -> Iterator[Finding]:
    """What the bridge knows of the arm; it checked version, tool and limits when it connected."""
    forces, speeds = [], []
    with BridgeClient(cell, name="launch/doctor.py") as client:
        status, end_s = client.status(), time.monotonic() + LISTEN_S
        while time.monotonic() < end_s:
            state = client.latest()
            forces.append(state.wrench_base[:3])
            speeds.append(float(np.abs(state.dq).max()))
            time.sleep(0.01)
    if status.fault is not None:
        do = f"Remove the cause, then `launch/bridge.py recover --cell {cell.name}`"
        yield bad("arm", f"{status.fault.cause} ({status.fault.name})", do)
    else:
        yield good("arm", f"the bridge says: {status.mode}, no fault; it checked FCI version and tool")
    if status.counters.records_lost:
        yield bad("records", f"{status.counters.records_lost} faults could not be recorded", "Make room on its disk")
    yield payload(np.mean(forces, axis=0), max(speeds))
