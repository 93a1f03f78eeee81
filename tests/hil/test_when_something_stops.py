"""When something stops: doctor, arm, a fault's record and picture, on a mock cell with a real bridge."""

from __future__ import annotations

import dataclasses
import json
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from queue import Queue
from threading import Thread

import numpy as np
import pytest

from contract.messages import ObjectState, Setpoint
from contract.poses import Pose
from contract.tasks import LIFT_CUBE
from robot_runtime import replay
from robot_runtime.bridge_client import BridgeClient, BridgeFaulted
from robot_runtime.cell import Cell
from robot_runtime.mock_cell.cell_process import MockCell, MockCellAddresses

from .conftest import write_free_cell
from .stage import lease
from .test_bridge import serve

pytestmark = pytest.mark.hil
ROOT = Path(__file__).resolve().parents[2]
PERIOD = LIFT_CUBE.period_s


@dataclasses.dataclass
class Served:
    """A mock cell with a bridge. said: every line the bridge prints."""

    cell: Cell
    file: Path
    process: subprocess.Popen[str]
    said: Queue[str]

    def says(self, words: str) -> str:
        """The bridge's next line, which holds those words."""
        line = self.said.get(timeout=20)
        assert words in line
        return line


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    cell, file = write_free_cell(tmp_path_factory.mktemp("cell"), "stops")
    with MockCell(MockCellAddresses.of_cell(cell), serial=cell.camera.serial):
        process = serve(file)
        assert process.stdout is not None
        here = Served(cell, file, process, Queue())
        listener = Thread(target=lambda: [here.said.put(line) for line in process.stdout], daemon=True)
        listener.start()
        here.says("serving")
        yield here
        process.terminate()
        assert process.wait(10) == 0


def program(name: str, served: Served, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, ROOT / "launch" / name, *arguments, "--cell", served.file],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=90,
    )


def fault(served: Served) -> None:
    """Moves sideways for half a second, then sends a setpoint that is not a number; returns when the arm is at rest."""
    with BridgeClient(served.cell, name="the test") as client:
        lease(client)
        client.recover()
        client.move_home(LIFT_CUBE.start_q_rad)
        client.arm()
        start = client.status().command_base_tcp
        due = client.latest().stamp
        for k in range(12):
            state = client.wait_until(due)
            seen = Pose(np.array([0.5, 0.0, 0.02]), np.array([1.0, 0.0, 0.0, 0.0]))
            client.saw(ObjectState(state.stamp - 0.1, "cube", seen, np.eye(4), 0.9, False))
            there = start.position + [0.0, 0.008 * k, 0.0] if k < 11 else np.full(3, np.nan)
            client.send(Setpoint(state.stamp, k + 1, Pose(there, start.quaternion), np.zeros(6)))
            due += PERIOD
        with pytest.raises(BridgeFaulted):
            client.check()
        client.stop()


def test_the_doctor_passes_a_healthy_cell_and_asks_the_bridge_that_has_the_arm(served: Served) -> None:
    done = program("doctor.py", served)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "✗" not in done.stdout
    assert "the bridge says: disarmed, no fault" in done.stdout
    assert "Hz by its own stamps" in done.stdout


def test_the_doctor_starts_a_mock_cell_that_does_not_run_and_asks_the_arm_itself(tmp_path: Path) -> None:
    _, file = write_free_cell(tmp_path, "asleep")
    done = subprocess.run(
        [sys.executable, ROOT / "launch" / "doctor.py", "--cell", file], capture_output=True, text=True, timeout=90
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for words in ("started: robot", "idle, brakes open", "0.0 N on the tool", "lies inside what the arm reports"):
        assert words in done.stdout
    assert "✗" not in done.stdout


def test_a_camera_of_another_serial_is_one_red_line(served: Served, tmp_path: Path) -> None:
    other = dataclasses.replace(served.cell, camera=dataclasses.replace(served.cell.camera, serial="000000000042"))
    other.write(tmp_path / "other.yaml")
    done = program("doctor.py", dataclasses.replace(served, file=tmp_path / "other.yaml"))
    assert done.returncode == 1
    red = [line for line in done.stdout.splitlines() if "✗" in line]
    assert len(red) == 1
    assert "000000000042" in red[0]
    assert "→ Correct the cell file." in red[0]


def test_arm_holds_while_the_terminal_stays_open_and_ctrl_c_stops_and_disarms(served: Served) -> None:
    process = subprocess.Popen(
        [sys.executable, ROOT / "launch" / "bridge.py", "arm", "--cell", served.file],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert "Ctrl-C stops and disarms" in process.stdout.readline()
    with BridgeClient(served.cell, name="onlooker") as onlooker:
        here = onlooker.latest()
        later = onlooker.wait_until(here.stamp + 1.0)
        assert onlooker.status().mode == "armed"
        assert np.linalg.norm(later.pose_base_tcp.position - here.pose_base_tcp.position) < 0.001
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=20)
        assert process.returncode == 0, output
        assert "mode: disarmed" in output
        assert onlooker.status().mode == "disarmed"


def test_a_fault_is_recorded_replays_bit_for_bit_and_is_drawn(served: Served, tmp_path: Path) -> None:
    fault(served)
    path = Path(served.says("Recorded in").split("Recorded in ")[1].strip().rstrip("."))
    record = replay.read(path)
    assert record.fault.name == "setpoint_not_finite"
    assert len(record.decisions) == 12
    assert all(replay.replays(decision) for decision in record.decisions)
    assert [e.detail["pose"][0] for e in record.events if e.kind == "seen"] == [0.5] * 12
    assert record.turns["stamp"][-1, 0] - record.fault.stamp < 1.0, "at rest and written within a second"
    page, picture = tmp_path / "fault.html", tmp_path / "fault.png"
    for out in (page, picture):
        done = program("bridge.py", served, "log", "--out", str(out))
        assert done.returncode == 0, done.stderr
        assert str(path) in done.stdout
        assert "12 of 12 decisions replay bit for bit." in done.stdout
        assert "cube at 0.500, 0.000, 0.020 m, 0.1" in done.stdout
        assert "Setpoint 12 holds a number that is not finite." in done.stdout
    assert "12 of 12" in page.read_text()
    assert picture.read_bytes().startswith(b"\x89PNG")
    done = program("doctor.py", served, "--json", str(tmp_path / "report.json"))
    assert done.returncode == 1
    red = [f for f in json.loads((tmp_path / "report.json").read_text())["findings"] if f["verdict"] == "bad"]
    assert [f["what"] for f in red] == ["arm"]
    assert "recover" in red[0]["do"]


def test_with_a_full_disk_the_fault_is_handled_as_ever_and_bridge_and_status_say_what_is_missing(
    served: Served, tmp_path: Path
) -> None:
    before = set(served.cell.flight_records_folder.iterdir())
    soft, hard = resource.prlimit(served.process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(served.process.pid, resource.RLIMIT_FSIZE, (50_000, hard))
    fault(served)
    assert "Not recorded: File too large" in served.says("not finite")
    resource.prlimit(served.process.pid, resource.RLIMIT_FSIZE, (soft, hard))
    assert set(served.cell.flight_records_folder.iterdir()) == before
    with BridgeClient(served.cell, name="onlooker") as onlooker:
        assert onlooker.status().counters.records_lost == 1
        assert onlooker.status().fault.name == "setpoint_not_finite"
    fault(served)
    served.says("Recorded in")


def test_writing_a_record_does_not_lengthen_the_turns_of_the_bridges_loop(served: Served) -> None:
    fault(served)
    path = Path(served.says("Recorded in").split("Recorded in ")[1].strip().rstrip("."))
    written_s = path.stat().st_mtime
    fault(served)
    served.says("Recorded in")
    record = replay.read(replay.newest(served.cell.flight_records_folder))
    wall, busy = record.turns["wall_s"][:, 0], record.turns["busy_s"][:, 0]
    ends = written_s - time.time() + time.monotonic()  # the end of the first record's writing, on the turns' clock
    writing = (wall > ends - 0.3) & (wall < ends + 0.05)
    assert writing.sum() > 20
    for name, rows in (("writing", writing), ("otherwise", ~writing)):
        p50, p90, worst = 1e3 * np.percentile(busy[rows], [50, 90, 100])
        print(f"\n{name}: {rows.sum()} turns work {p50:.2f} ms (90 %: {p90:.2f}, longest {worst:.2f})")
    assert np.percentile(busy[writing], 90) < np.percentile(busy[~writing], 99) + 1e-3
