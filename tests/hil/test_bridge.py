"""The bridge, with the real franky over the real Franka protocol, on the mock cell."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from contract.messages import GripperCommand, Setpoint
from contract.poses import Pose
from contract.tasks import LIFT_CUBE
from robot_runtime import replay
from robot_runtime.bridge_client import BridgeClient, BridgeFaulted, BridgeLost, BridgeRefused
from robot_runtime.cell import Cell, load_cell
from robot_runtime.mock_cell.cell_process import MockCell, MockCellAddresses, _free_ports
from robot_runtime.wire import Executed

from .stage import lease

pytestmark = pytest.mark.hil
ROOT = Path(__file__).resolve().parents[2]
HASH = LIFT_CUBE.contract_hash()
PERIOD = LIFT_CUBE.period_s


@pytest.fixture(scope="module")
def cell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cell]:
    """A mock cell with a bridge, on addresses of their own."""
    folder = tmp_path_factory.mktemp("cell")
    addresses = MockCellAddresses.free()
    command, state = _free_ports(2)
    mock = load_cell("mock")
    bridge = replace(
        mock.bridge,
        command_port=command,
        state_port=state,
        keys=str(folder / "keys"),
        flight_records=str(folder / "flights"),
    )
    cell = replace(
        mock,
        robot=replace(mock.robot, address=addresses.robot),
        bridge=bridge,
        camera=replace(mock.camera, address=addresses.frames),
        scoring=addresses.scoring,
    )
    cell.write(folder / "cell.yaml")
    with MockCell(addresses):
        process = serve(folder / "cell.yaml")
        try:
            assert process.stdout is not None
            assert "serving" in process.stdout.readline()
            yield cell
        finally:
            process.terminate()
            assert process.wait(10) == 0


def serve(file: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "robot_runtime.bridge_server", "--cell", str(file)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


@pytest.fixture
def client(cell: Cell) -> Iterator[BridgeClient]:
    """A client that holds the lease, the bridge recovered and disarmed."""
    with BridgeClient(cell, name="the test") as client:
        lease(client)
        client.recover()
        yield client
        client.stop()


def stream(client: BridgeClient, goals: Callable[[int], np.ndarray], ticks: int) -> list[Executed]:
    """Send one setpoint per period of robot time, orientation unchanged; returns what became of each."""
    here = client.status().command_base_tcp
    tick = client.latest().stamp
    answers = []
    for k in range(ticks):
        state = client.wait_until(tick)
        pose = Pose(goals(k), here.quaternion)
        answers.append(client.send(Setpoint(state.stamp, k + 1, pose, np.zeros(6))))
        tick += PERIOD
    return answers


def recorded(cell: Cell, fault: str) -> replay.FlightRecord:
    """The newest flight record, which must be of that fault and come within a second of it."""
    deadline = time.monotonic() + 1.0
    while not (found := sorted(cell.flight_records_folder.glob(f"*-{fault}.npz"))):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert replay.newest(cell.flight_records_folder) == found[-1]
    return replay.read(found[-1])


def test_the_tool_frame_is_the_hands_and_home_is_the_task_cards_start(client):
    client.move_home(LIFT_CUBE.start_q_rad)
    state = client.latest()
    np.testing.assert_allclose(state.q, LIFT_CUBE.start_q_rad, atol=0.02)
    np.testing.assert_allclose(state.pose_base_tcp.position, LIFT_CUBE.start_position_m, atol=0.005)
    assert abs(state.pose_base_tcp.quaternion @ np.array(LIFT_CUBE.start_quaternion)) > 0.9999


def test_a_stream_of_setpoints_moves_the_arm_there_within_the_limits(client):
    client.arm()
    start = client.status().command_base_tcp.position
    goal = start + [0.06, 0.04, -0.05]
    answers = stream(client, lambda k: start + (goal - start) * min(1.0, (k + 1) / 12), 32)
    assert [a.refused for a in answers] == [None] * 32
    assert [a.clipped for a in answers] == [()] * 32
    np.testing.assert_allclose(client.latest().pose_base_tcp.position, goal, atol=0.004)
    counters = client.status().counters
    assert counters.limit_violations == 0
    assert counters.peak_reference_speed_m_s <= 0.25 * 1.03


def test_a_jump_is_executed_as_allowed_steps_and_the_answers_say_so(client):
    client.arm()
    start = client.status().command_base_tcp.position
    answers = stream(client, lambda k: start + [0.0, 0.15, 0.0], 8)
    assert all("lead" in " ".join(a.clipped) or "speed" in " ".join(a.clipped) for a in answers[:4])
    executed = np.array([start, *(a.pose_base_tcp.position for a in answers)])
    steps = np.linalg.norm(np.diff(executed, axis=0), axis=1)
    elapsed = np.maximum(PERIOD, np.diff([a.stamp for a in answers], prepend=answers[0].stamp - PERIOD))
    assert (steps <= 0.25 * elapsed + 1e-9).all()
    assert client.status().counters.limit_violations == 0


def test_outside_the_workspace_is_clipped_to_its_wall(client):
    client.move_home(LIFT_CUBE.start_q_rad)
    client.arm()
    wall = client.cell.workspace.high_m[2]
    start = client.status().command_base_tcp.position
    answers = stream(client, lambda k: start + [0.0, 0.0, 0.012 * (k + 1)], 32)
    assert answers[-1].pose_base_tcp.position[2] == pytest.approx(wall)
    assert "workspace" in " ".join(answers[-1].clipped)
    assert client.latest().pose_base_tcp.position[2] < wall + 0.01


def test_a_number_that_is_not_finite_is_refused_stops_the_arm_and_stays_reported(client):
    client.move_home(LIFT_CUBE.start_q_rad)
    client.arm()
    start = client.status().command_base_tcp.position
    answers = stream(client, lambda k: start if k < 2 else np.array([np.nan, 0.0, 0.25]), 3)
    assert "not finite" in answers[2].refused
    with pytest.raises(BridgeFaulted, match="setpoint_not_finite"):
        client.check()
    client.stop()
    with pytest.raises(BridgeRefused, match="recover"):
        client.arm()
    assert "not finite" in stream(client, lambda k: start, 1)[0].refused
    record = recorded(client.cell, "setpoint_not_finite")
    assert len(record.turns["stamp"]) > 10
    assert not np.isfinite(record.decisions[-1].asked.pose_base_tcp.position).all()
    assert all(replay.replays(decision) for decision in record.decisions)
    client.recover()
    client.arm()


def test_stale_and_repeated_setpoints_are_refused_and_do_not_count_as_fresh(client):
    client.arm()
    start = client.status().command_base_tcp
    state = client.latest()
    assert client.send(Setpoint(state.stamp, 1, start, np.zeros(6))).refused is None
    later = client.wait_until(state.stamp + 0.25)
    assert client.status().mode == "holding"
    assert "old" in client.send(Setpoint(state.stamp, 2, start, np.zeros(6))).refused
    assert "came after" in client.send(Setpoint(later.stamp, 1, start, np.zeros(6))).refused
    assert client.status().mode == "holding"


def test_a_second_client_is_refused_by_name_but_may_stop_the_arm(client, cell):
    client.arm()
    with BridgeClient(cell, name="the second") as second:
        with pytest.raises(BridgeRefused, match="commanded by the test"):
            second.connect(HASH)
        with pytest.raises(BridgeRefused, match="lease"):
            second.gripper(GripperCommand(True, 20.0))
        second.stop()
        assert second.status().mode == "disarmed"


def test_another_contract_is_refused(cell):
    with BridgeClient(cell) as stranger, pytest.raises(BridgeRefused, match="task card"):
        stranger.connect("0" * 64)


def test_the_gripper_closes_and_opens_on_its_own_thread_and_reports_its_width(client):
    client.gripper(GripperCommand(False, 30.0))
    deadline = client.latest().stamp + 4.0
    while client.wait_until(client.latest().stamp + 0.05).gripper_width < 0.07:
        assert client.latest().stamp < deadline
    begun = time.monotonic()
    client.gripper(GripperCommand(True, 30.0))
    assert time.monotonic() - begun < 1.0
    while client.wait_until(client.latest().stamp + 0.05).gripper_width > 0.03:
        assert client.latest().stamp < deadline + 4.0
    state = client.latest()
    assert state.gripper_closed
    assert state.stamp - state.gripper_stamp < 0.2


def test_a_bad_home_pose_is_refused(client):
    with pytest.raises(BridgeRefused, match="inside the arm's limits"):
        client.move_home(np.zeros(7))  # joint 4 cannot be straight


def test_a_dead_bridge_is_one_clear_error(cell):
    absent = replace(cell, bridge=replace(cell.bridge, command_port=_free_ports(1)[0]))
    with BridgeClient(absent) as client, pytest.raises(BridgeLost, match=r"launch/bridge\.py status"):
        client.connect(HASH)


def test_sigterm_while_moving_brings_the_arm_to_rest_and_ends_the_bridge(cell):
    """Last: it uses the module's bridge up to the fixture's own SIGTERM, which must end it with code 0."""
    with BridgeClient(cell) as client:
        lease(client)
        client.recover()
        client.arm()
        start = client.status().command_base_tcp.position
        stream(client, lambda k: start - [0.0, 0.0, 0.01 * (k + 1)], 5)
        assert client.status().mode == "moving"
    assert signal.SIGTERM  # the fixture sends it
