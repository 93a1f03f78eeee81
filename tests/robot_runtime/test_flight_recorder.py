"""What was recorded comes back to the last bit, and recording costs the control loop nothing."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

import msgpack
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contract.messages import RobotState, Setpoint
from contract.poses import Pose, quat_from_axis_angle
from robot_runtime import replay
from robot_runtime.cell import Cell, load_cell
from robot_runtime.exact import pack, unpack
from robot_runtime.flight_recorder import BLOCK_ROWS, BLOCKS_KEPT, Decision, FlightRecorder, digest, members, write
from robot_runtime.reference import Reference
from safety.faults import LatchedFault
from safety.guard import Measured, Trail, judge
from tests.safety.arms import LIMITS, READY, arm_at

FAULT = LatchedFault("overspeed", "The tool moved at 0.61 m/s.", 12.5)
HERE = READY.pose_base_tcp


@pytest.fixture
def cell(tmp_path: Path) -> Cell:
    """The mock cell's description, recording into a folder of the test's own."""
    mock = load_cell("mock")
    return dataclasses.replace(mock, bridge=dataclasses.replace(mock.bridge, flight_records=str(tmp_path / "flights")))


def state_at(stamp: float) -> RobotState:
    q = READY.q + 0.01 * np.sin(stamp)
    return RobotState(stamp, q, np.full(7, stamp), HERE, np.full(6, 0.1), np.zeros(6), 0.08, stamp, False)


def add_turns(recorder: FlightRecorder, count: int) -> None:
    for k in range(count):
        recorder.turn(state_at(0.005 * k), Reference(HERE, np.zeros(6), np.zeros(6)), HERE, "moving")


def judged(rng: np.random.Generator, count: int) -> Iterator[Decision]:
    """A random walk with jumps, tilts, not-a-numbers, repeated and old setpoints, from arms in random poses."""
    arm = arm_at(rng.uniform(LIMITS.joints.q_low, LIMITS.joints.q_high))
    trail, now = Trail(Setpoint(0.0, -1, arm.pose_base_tcp, np.zeros(6))), 10.0
    for sequence in range(count):
        now += 0.05 * rng.uniform(0.1, 1.6)
        way = rng.normal(size=3) * rng.choice([0.002, 0.01, 0.3])
        turn = quat_from_axis_angle(rng.normal(size=3) * 0.05)
        asked = Setpoint(
            now - rng.choice([0.0, 0.02, 0.3], p=[0.8, 0.15, 0.05]),
            sequence if rng.random() < 0.95 else -1,
            Pose(trail.previous.pose_base_tcp.position + way, turn if rng.random() < 0.1 else HERE.quaternion),
            rng.normal(size=6) * rng.choice([0.0, 0.2]),
        )
        if rng.random() < 0.03:
            asked.twist_base_tcp[rng.integers(6)] = rng.choice([np.nan, np.inf])
        measured = Measured(
            Pose(arm.pose_base_tcp.position + 0.02 * rng.normal(size=3), arm.pose_base_tcp.quaternion),
            arm.q,
            np.asfortranarray(arm.jacobian) if rng.random() < 0.5 else arm.jacobian,  # franky's is column by column
            30 * rng.normal(size=3),
        )
        limits = LIMITS if sequence < count / 2 else dataclasses.replace(LIMITS, period_s=0.04)
        verdict = judge(limits, asked, trail, measured, now)
        yield Decision(limits, asked, trail, measured, now, verdict)
        if verdict.setpoint is not None:
            trail = trail.extended(verdict.setpoint, now)


def dumped(recorder: FlightRecorder) -> replay.FlightRecord:
    recorder.dump(FAULT).result()
    return replay.read(replay.newest(recorder.folder))


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_decision_of_the_guard_replays_bit_for_bit_from_a_dump(seed, cell):
    recorder = FlightRecorder(cell)
    decisions = list(judged(np.random.default_rng(seed), 60))
    for decision in decisions:
        recorder.decision(decision)
    record = dumped(recorder)
    assert [pack(d) for d in record.decisions] == [pack(d) for d in decisions]
    assert replay.verdict_on_replay(record) == "60 of 60 decisions replay bit for bit."
    assert record.same_guard


@given(st.lists(st.floats(width=64), min_size=2, max_size=12), st.booleans())
def test_every_float_is_kept_exactly(numbers, fortran):
    array = np.array([numbers, numbers], order="F" if fortran else "C")
    again = unpack(np.ndarray, pack(array))
    assert again.tobytes() == array.tobytes()
    assert again.strides == array.strides
    assert pack(unpack(tuple[float, ...], pack(tuple(numbers)))) == pack(tuple(numbers))


def test_a_dump_holds_the_turns_modes_and_events_of_the_last_forty_seconds(cell):
    recorder = FlightRecorder(cell)
    add_turns(recorder, BLOCK_ROWS * (BLOCKS_KEPT + 2) + 7)
    recorder.event(11.0, "mode", "holding")
    recorder.event(11.5, "odd", {"where": Path("here")})
    record = dumped(recorder)
    stamps = record.turns["stamp"][:, 0]
    assert len(stamps) == BLOCK_ROWS * BLOCKS_KEPT + 7
    np.testing.assert_array_equal(stamps, 0.005 * np.arange(BLOCK_ROWS * 2, BLOCK_ROWS * (BLOCKS_KEPT + 2) + 7))
    np.testing.assert_array_equal(record.turns["q"][-1], state_at(stamps[-1]).q)
    assert record.events == [
        replay.Event(11.0, "mode", "holding"),
        replay.Event(11.5, "odd", {"where": "here"}),
    ]
    assert record.fault == FAULT


def test_names_of_dumps_sort_by_time_and_the_newest_is_found(cell):
    recorder = FlightRecorder(cell)
    stamps = []
    for k in range(4):
        recorder.event(float(k), "mode", "moving")
        recorder.dump(dataclasses.replace(FAULT, stamp=float(k))).result()
    for path in sorted(recorder.folder.iterdir()):
        stamps.append(replay.read(path).fault.stamp)
    assert stamps == [0.0, 1.0, 2.0, 3.0]
    assert replay.read(replay.newest(recorder.folder)).fault.stamp == 3.0


def tampered(record: Path, **changes: np.ndarray) -> Path:
    with np.load(record) as stored:
        parts = {name: stored[name] for name in stored.files} | changes
    write(record.with_name("tampered.npz"), parts)
    return record.with_name("tampered.npz")


def test_a_tampered_dump_is_found_out(cell):
    recorder = FlightRecorder(cell)
    add_turns(recorder, 20)
    decisions = list(judged(np.random.default_rng(5), 30))
    for decision in decisions:
        recorder.decision(decision)
    recorder.dump(FAULT).result()
    path = replay.newest(recorder.folder)
    with np.load(path) as stored:
        parts = {name: stored[name] for name in stored.files if name != "digest"}
    slower = parts["v_base_tcp"] * 0.5
    with pytest.raises(replay.FlightRecordChanged, match="changed after it was written"):
        replay.read(tampered(path, v_base_tcp=slower))
    # Someone who also makes the digest anew still has to make the guard say so.
    k = next(k for k, d in enumerate(decisions) if d.verdict.clipped)
    blob = msgpack.unpackb(parts["decisions"].tobytes())
    told = dataclasses.replace(decisions[k].verdict, clipped=())
    blob[k][1] = pack((decisions[k].asked, decisions[k].trail, decisions[k].measured, decisions[k].now, told))
    parts["decisions"] = np.frombuffer(msgpack.packb(blob), np.uint8)
    record = replay.read(tampered(path, decisions=parts["decisions"], digest=digest(parts)))
    assert [replay.replays(d) for d in record.decisions] == [i != k for i in range(30)]
    assert replay.verdict_on_replay(record) == "29 of 30 decisions replay bit for bit."


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.999])
def test_a_file_that_was_cut_short_is_one_sentence(cell, share):
    recorder = FlightRecorder(cell)
    add_turns(recorder, 100)
    recorder.dump(FAULT).result()
    path = replay.newest(recorder.folder)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(replay.NotAFlightRecord, match="cut short"):
        replay.read(path)


def test_whatever_byte_of_a_dump_is_changed_it_is_one_sentence(cell):
    recorder = FlightRecorder(cell)
    add_turns(recorder, 3)
    recorder.dump(FAULT).result()
    path = replay.newest(recorder.folder)
    whole, rng = path.read_bytes(), np.random.default_rng(0)
    for where in rng.integers(0, len(whole), 300):
        spoilt = bytearray(whole)
        spoilt[where] ^= 1 << int(rng.integers(8))
        path.write_bytes(spoilt)
        with contextlib.suppress(replay.FlightRecordError):
            assert replay.read(path).fault == FAULT  # a date of the zip archive: what it holds is untouched


def test_other_files_other_versions_and_empty_folders_are_one_sentence_each(cell, tmp_path):
    with pytest.raises(replay.NoFlightRecords, match="no flight records in"):
        replay.newest(tmp_path / "flights")
    with pytest.raises(replay.NotAFlightRecord, match="There is no file"):
        replay.read(tmp_path / "nothing.npz")
    (tmp_path / "text.npz").write_text("not a record")
    np.savez(tmp_path / "policy.npz", observations=np.zeros(3))
    np.save(tmp_path / "array.npy", np.zeros(3))
    for name in ("text.npz", "policy.npz", "array.npy", ""):
        with pytest.raises(replay.NotAFlightRecord, match="is not a flight record"):
            replay.read(tmp_path / name)
    np.savez(tmp_path / "first.npz", stamp=np.zeros(3), events=np.array(["{}"]))
    header = {**FlightRecorder(cell)._about, "format": 1, "fault": vars(FAULT)}
    write(tmp_path / "other.npz", members(header, np.zeros((0, 59)), [], []))
    header["format"] = 2
    parts = members(header, np.zeros((0, 59)), [], [(pack({"speed": 1.0}), pack(None))])
    write(tmp_path / "fields.npz", parts)
    for name in ("first.npz", "other.npz", "fields.npz"):
        with pytest.raises(replay.FlightRecordOfAnotherVersion, match="another version"):
            replay.read(tmp_path / name)


def test_on_a_full_disk_nothing_is_left_and_one_sentence_says_so(cell, capfd):
    recorder = FlightRecorder(cell)
    add_turns(recorder, 2000)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        recorder.dump(FAULT).result()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    said = capfd.readouterr()
    assert said.out.startswith("fault: The tool moved at 0.61 m/s. Not recorded: File too large in ")
    assert len(said.out.splitlines()) == 1
    assert said.err == ""
    assert list(recorder.folder.iterdir()) == []
    assert recorder.lost == 1
    assert dumped(recorder).fault == FAULT


WRITE_FOR_EVER = """
import sys, itertools
from pathlib import Path
import numpy as np
from robot_runtime.flight_recorder import write
print("writing", flush=True)
for k in itertools.count():
    write(Path(sys.argv[1]) / f"{k:06d}.npz", {"rows": np.zeros((8000, 59)), "digest": np.zeros(32, np.uint8)})
"""


def test_a_process_killed_while_it_writes_leaves_no_half_record(cell, tmp_path):
    folder = Path(cell.bridge.flight_records)
    folder.mkdir()
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    process = subprocess.Popen(
        [sys.executable, "-c", WRITE_FOR_EVER, str(folder)], stdout=subprocess.PIPE, text=True, env=environment
    )
    assert process.stdout.readline() == "writing\n"
    deadline = time.monotonic() + 20
    while not list(folder.glob(".*.part")) or not list(folder.glob("*.npz")):
        assert time.monotonic() < deadline
    process.send_signal(signal.SIGKILL)
    process.wait()
    FlightRecorder(cell)  # the next bridge
    left = list(folder.iterdir())
    assert left
    for path in left:
        with np.load(path) as whole:
            assert whole["rows"].shape == (8000, 59)


def test_a_dump_is_written_within_a_second_while_the_loops_turns_stay_as_short_as_they_were(cell):
    recorder = FlightRecorder(cell)
    for decision in judged(np.random.default_rng(1), 400):
        recorder.decision(decision)
    for k in range(4000):
        recorder.event(0.01 * k, "seen", {"position": [0.1, 0.2, 0.3]})
    add_turns(recorder, BLOCK_ROWS * BLOCKS_KEPT)
    quiet, during, written_s = [], [], []
    for _ in range(10):
        quiet += [turn_s(recorder, None) for _ in range(40)]
        began = time.monotonic()
        dumping: list[Future[None]] = []
        during.append(turn_s(recorder, dumping))
        while not dumping[0].done():
            during.append(turn_s(recorder, None))
        written_s.append(time.monotonic() - began)
    for name, turns in (("quiet", quiet), ("dumping", during)):
        p50, p90, worst = 1e3 * np.percentile(turns, [50, 90, 100])
        print(f"\n{name}: {len(turns)} turns, {p50:.2f} ms median, {p90:.2f} p90, {worst:.2f} worst", end="")
    print(f"; written in {np.median(written_s):.2f} s")
    assert np.median(written_s) < 1.0
    assert np.percentile(during, 90) < np.percentile(quiet, 90) + 1e-3


def turn_s(recorder: FlightRecorder, dumping: list[Future[None]] | None) -> float:
    """Wall time of one turn's work, in which a dump begins if it is to be put into `dumping`."""
    time.sleep(0.003)
    began = time.perf_counter()
    add_turns(recorder, 1)
    if dumping is not None:
        dumping.append(recorder.dump(FAULT))
    return time.perf_counter() - began
