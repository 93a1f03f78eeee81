"""The preflight says in one red line each what is wrong, without moving anything. No arm is needed to be told so."""

from __future__ import annotations

import dataclasses
import json
import os
import resource
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from contract import artifact
from contract.observation import observation_size
from contract.tasks import LIFT_CUBE
from preflight import machine, robot
from preflight.finding import Finding
from robot_runtime import wire
from robot_runtime.arm_report import ArmReport, ReportedLimits, joint_limits
from robot_runtime.cell import Cell, load_cell
from safety.limits import FR3

ROOT = Path(__file__).resolve().parent.parent.parent
NOBODY = "127.0.0.99"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def lab_cell(tmp_path: Path) -> Cell:
    """A lab's cell in which nothing is switched on."""
    mock = load_cell("mock")
    bridge = dataclasses.replace(
        mock.bridge,
        command_port=free_port(),
        state_port=free_port(),
        keys=str(tmp_path / "keys"),
        flight_records=str(tmp_path / "flights"),
    )
    return dataclasses.replace(
        mock,
        name="dark",
        robot=dataclasses.replace(mock.robot, address=NOBODY),
        bridge=bridge,
        camera=dataclasses.replace(mock.camera, address="usb"),
        scoring=None,
        mock=None,
    )


def doctor(tmp_path: Path, *arguments: str) -> dict[str, Finding]:
    """The findings of a run that ends with exit code 1, by what was checked."""
    report = tmp_path / "report.json"
    done = subprocess.run(
        [sys.executable, ROOT / "launch" / "doctor.py", "--json", report, *arguments],
        env={**os.environ, "XDG_STATE_HOME": str(tmp_path / "state")},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert done.stderr == ""
    plain = json.loads(report.read_text())
    assert plain["ok"] is False
    findings = [Finding(**finding) for finding in plain["findings"]]
    lines = [line for line in done.stdout.splitlines() if line.startswith("  ")]
    assert [line.split()[0] for line in lines] == [{"good": "✓", "bad": "✗"}.get(f.verdict, "·") for f in findings]
    return {finding.what: finding for finding in findings}


def red(findings: dict[str, Finding]) -> set[str]:
    return {what for what, finding in findings.items() if finding.verdict == "bad"}


def test_where_nothing_answers_robot_and_camera_are_red_and_say_what_to_do(lab_cell: Cell, tmp_path: Path) -> None:
    lab_cell.write(tmp_path / "dark.yaml")
    found = doctor(tmp_path, "--cell", str(tmp_path / "dark.yaml"))
    assert red(found) == {"FCI", "camera"}
    assert f"no arm answers at {NOBODY}" in found["FCI"].found
    assert "Activate FCI" in found["FCI"].do
    assert "No RealSense camera is connected" in found["camera"].found
    assert "USB 3" in found["camera"].do


def test_an_unknown_cell_is_one_red_line_with_the_nearest_name(tmp_path: Path) -> None:
    found = doctor(tmp_path, "--cell", "mok")
    assert red(found) == {"cell"}
    assert "did you mean 'mock'" in f"{found['cell'].found} {found['cell'].do}".lower()


def test_a_policy_of_another_contract_is_red(lab_cell: Cell, tmp_path: Path) -> None:
    old = dataclasses.replace(LIFT_CUBE, max_lead_m=0.01)
    tensors = {"normaliser.mean": np.zeros(observation_size(old)), "normaliser.std": np.ones(observation_size(old))}
    tensors |= {"actor.0.weight": np.zeros((7, observation_size(old))), "actor.0.bias": np.zeros(7)}
    artifact.write(tmp_path / "old", old, tensors, b"", np.zeros((1, observation_size(old))), {"commit": "c0ffee"})
    found = doctor(tmp_path, "--cell", "mok", "--policy", str(tmp_path / "old"))
    assert red(found) == {"policy", "cell"}
    assert old.contract_hash()[:12] in found["policy"].found
    assert "c0ffee" in found["policy"].do


def test_keys_that_others_can_read_are_red_until_they_are_closed(lab_cell: Cell) -> None:
    assert machine.keys(lab_cell).verdict == "not needed"
    wire.make_keys(lab_cell.keys_folder)
    assert machine.keys(lab_cell).verdict == "good"
    (lab_cell.keys_folder / "client.key_secret").chmod(0o640)
    found = machine.keys(lab_cell)
    assert found.verdict == "bad"
    assert found.found == "client.key_secret can be read by other users"
    assert "chmod" in found.do
    (lab_cell.keys_folder / "client.key_secret").chmod(0o600)
    assert machine.keys(lab_cell).verdict == "good"


def test_a_lab_without_keys_is_red(lab_cell: Cell) -> None:
    far = dataclasses.replace(lab_cell, bridge=dataclasses.replace(lab_cell.bridge, host="192.0.2.7"))
    assert "bridge.py keys" in machine.keys(far).do


def test_a_disk_that_takes_no_flight_record_is_red_and_nothing_is_left_on_it(tmp_path: Path) -> None:
    assert machine.disk("records", tmp_path / "not" / "yet").verdict == "good"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        found = machine.disk("records", tmp_path / "not" / "yet")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert found.verdict == "bad"
    assert "File too large" in found.found
    assert list(tmp_path.iterdir()) == []


def test_whoever_sits_on_the_bridges_port_is_not_taken_for_a_bridge_and_the_arm_is_left_alone(lab_cell: Cell) -> None:
    wire.make_keys(lab_cell.keys_folder)
    with socket.create_server(("127.0.0.1", lab_cell.bridge.command_port)):
        found, bridge = machine.bridge(lab_cell)
        assert (found.verdict, bridge) == ("bad", "unclear")
        assert list(robot.robot(lab_cell, bridge))[-1].verdict == "not needed"
    assert machine.bridge(lab_cell)[1] == "none"


def report_of(**changes: object) -> ArmReport:
    told = ReportedLimits(FR3.q_low, FR3.q_high, FR3.dq, FR3.torque)
    return dataclasses.replace(ArmReport("Idle", "", 0.0, 0.0, np.zeros(3), 0.0, told), **changes)


@pytest.mark.parametrize("mode", sorted(robot.WHAT_TO_DO))
def test_every_mode_but_idle_is_red_with_what_to_do(mode: str) -> None:
    assert robot.mode(report_of()).verdict == "good"
    found = robot.mode(report_of(mode=mode, errors="joint_reflex"))
    assert found.verdict == "bad"
    assert mode in found.found
    assert found.do


def test_every_mode_that_franky_knows_has_something_to_do() -> None:
    import franky

    assert set(franky.RobotMode.__members__) == {*robot.WHAT_TO_DO, "Idle"}


def test_a_weight_in_the_hand_another_tool_and_tighter_limits_are_red() -> None:
    assert robot.payload(np.array([0.0, 0.0, -4.0]), 0.0).verdict == "bad"
    assert robot.payload(np.array([0.0, 0.0, -1.0]), 0.0).verdict == "good"
    assert robot.tool(report_of(tool_off_m=0.02)).verdict == "bad"
    cell = load_cell("mock")
    assert robot.limits(cell, report_of()).verdict == "good"
    assert robot.limits(cell, report_of(limits=None)).verdict == "not needed"
    panda = dataclasses.replace(cell, robot=dataclasses.replace(cell.robot, model="panda"))
    assert "joint 1, 2, 3" in robot.limits(panda, report_of()).found


def test_a_description_that_is_no_arms_has_no_limits() -> None:
    assert joint_limits("no xml") is None
    assert joint_limits("<robot><joint type='revolute'/></robot>") is None


def test_a_kernel_without_real_time_is_red_only_where_the_cell_asks_for_one(lab_cell: Cell) -> None:
    assert machine.kernel(lab_cell).verdict == "not needed"
    strict = dataclasses.replace(lab_cell, robot=dataclasses.replace(lab_cell.robot, realtime="enforce"))
    real_time = "PREEMPT_RT" in os.uname().version or Path("/sys/kernel/realtime").exists()
    assert machine.kernel(strict).verdict == ("good" if real_time else "bad")
