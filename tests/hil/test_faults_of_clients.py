"""The fault matrix, what clients do: die, dawdle, send nonsense, come twice. Over the real wires, in robot time."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
import zmq

from contract.messages import GripperCommand, Setpoint
from contract.poses import Pose
from robot_runtime import wire
from robot_runtime.bridge_client import BridgeClient, BridgeLost, BridgeRefused
from robot_runtime.motions import Meddle, swing
from robot_runtime.wire import Executed

from .matrix import Matrix
from .proxy import Wire
from .stage import HASH, PERIOD, ROOT, Stage, await_serving, lease, serve, staged

pytestmark = pytest.mark.hil
HOLD_S, REST_S = 0.15, 0.5


@contextmanager
def policy(stage: Stage) -> Iterator[subprocess.Popen[str]]:
    """A policy in a process of its own that swings the arm, fast at this moment."""
    command = [sys.executable, "-m", "tests.hil.swinging", str(stage.file)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}
    ) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            stage.seconds_until(lambda row: row.status.mode == "moving", stage.seen[-1].stamp, 60.0)
            stage.seconds_until(lambda row: row.speed_m_s > 0.1, stage.seen[-1].stamp, 10.0)
            yield process
        finally:
            process.kill()


def last_setpoint(process: subprocess.Popen[str]) -> float:
    """Robot time of the last setpoint of a policy that has been killed."""
    assert process.stdout is not None
    return float(process.stdout.read().split()[-1])


def test_a_policy_that_is_killed_leaves_an_arm_that_holds_then_stops(stage: Stage, matrix: Matrix) -> None:
    holds, rests = [], []
    for _ in range(matrix.repeats):
        with policy(stage) as process:
            process.kill()
            last = last_setpoint(process)
            holds.append(stage.seconds_until(lambda row: row.status.mode == "holding", last))
            rests.append(stage.seconds_until_rest(last))
            assert stage.seconds_until_fault("setpoints_stopped", last) < 0.5
    matrix.note("policy process killed: hold", "holds where the last setpoint leads", HOLD_S, holds)
    matrix.note("policy process killed: at rest", "setpoints_stopped", REST_S, rests)


def test_a_starved_policy_makes_the_arm_hold_and_goes_on(stage: Stage, matrix: Matrix) -> None:
    holds = []
    for _ in range(matrix.repeats):
        with policy(stage) as process:
            begun = stage.seen[-1].stamp
            process.send_signal(signal.SIGSTOP)
            stage.seconds_until(lambda row: row.status.mode == "holding", begun)
            held = next(row for row in stage.since(begun) if row.status.mode == "holding")
            process.send_signal(signal.SIGCONT)
            stage.seconds_until(lambda row: row.status.mode == "moving", held.stamp)
            holds.append(held.stamp - begun)
            assert all(row.fault is None for row in stage.since(begun))
    matrix.note("policy starved of its CPU", "holds, then goes on by itself", HOLD_S + PERIOD, holds)


def test_a_slow_policy_makes_the_arm_hold_between_its_setpoints(
    stage: Stage, client: BridgeClient, matrix: Matrix
) -> None:
    holds = []

    def slowly(k: int, setpoint: Setpoint) -> Setpoint | None:
        if k % 6 == 0:
            sent.append(setpoint.stamp - PERIOD)
            return setpoint
        return None

    for _ in range(matrix.repeats):
        sent: list[float] = []
        stage.ready(client)
        answers = swing(client, 1.5, slowly)
        assert [answer.refused for answer in answers] == [None] * len(answers)
        assert client.status().fault is None
        holds.append(stage.seconds_until(lambda row: row.status.mode == "holding", sent[2]))
    matrix.note("policy slow: 3 setpoints a second", "holds between them", HOLD_S, holds)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_number_that_is_not_finite_never_reaches_the_arm(
    stage: Stage, client: BridgeClient, matrix: Matrix, bad: float
) -> None:
    reactions = []
    for where in range(matrix.repeats):
        told: list[float] = []

        def spoil(k: int, setpoint: Setpoint, where: int = where, told: list[float] = told) -> Setpoint:
            if k != 8:
                return setpoint
            told.append(setpoint.stamp - PERIOD)
            values = [*setpoint.pose_base_tcp.position, *setpoint.pose_base_tcp.quaternion]
            values[where % 7] = bad
            return replace(setpoint, pose_base_tcp=Pose(np.array(values[:3]), np.array(values[3:])))

        stage.ready(client)
        answers = swing(client, 1.0, spoil)
        assert "not finite" in str(answers[-1].refused)
        reactions.append(stage.seconds_until_fault("setpoint_not_finite", told[0]))
        for row in stage.since(told[0] - 0.1):
            assert np.isfinite(row.status.reference_base_tcp.position).all()
            assert np.isfinite(row.status.command_base_tcp.quaternion).all()
    matrix.note(f"setpoint with {bad}", "setpoint_not_finite; refused, arm brought to rest", 0.05, reactions)


def test_setpoints_from_another_frame_or_unit_stop_the_arm(stage: Stage, client: BridgeClient, matrix: Matrix) -> None:
    def in_millimetres(pose: Pose) -> Pose:
        return Pose(1000 * pose.position, pose.quaternion)

    def from_a_shoulder(pose: Pose) -> Pose:
        return Pose(pose.position - [0.0, 0.0, 0.333], pose.quaternion)

    def of_the_camera(pose: Pose) -> Pose:
        return Pose.from_matrix(stage.cell.camera.T_base_camera_matrix).inverse() @ pose

    for name, frame in (
        ("in millimetres", in_millimetres),
        ("in the shoulder's frame", from_a_shoulder),
        ("in the camera's frame", of_the_camera),
    ):
        reactions = []
        for _ in range(matrix.repeats):
            stage.ready(client)
            told: list[float] = []

            def elsewhere(k: int, setpoint: Setpoint, frame=frame, told=told) -> Setpoint:
                if k < 8:
                    return setpoint
                told.append(setpoint.stamp - PERIOD)
                return replace(setpoint, pose_base_tcp=frame(setpoint.pose_base_tcp))

            answers = swing(client, 1.0, elsewhere)
            assert "another frame or unit" in str(answers[-1].refused)
            reactions.append(stage.seconds_until_fault("setpoint_far", told[0]))
        matrix.note(f"setpoints {name}", "setpoint_far; refused, arm brought to rest", 0.05, reactions)


def test_a_mirrored_axis_moves_the_arm_no_faster_than_allowed(
    stage: Stage, client: BridgeClient, matrix: Matrix
) -> None:
    limit = stage.cell.limits.speed_m_s
    for _ in range(matrix.repeats):
        stage.ready(client)
        begun = stage.seen[-1].stamp

        def mirror(k: int, setpoint: Setpoint) -> Setpoint:
            if k < 16:
                return setpoint
            position = setpoint.pose_base_tcp.position * [1.0, -1.0, 1.0]
            return replace(setpoint, pose_base_tcp=Pose(position, setpoint.pose_base_tcp.quaternion))

        answers = swing(client, 1.6, mirror)
        assert any("speed" in note for answer in answers[16:] for note in answer.clipped)
        assert max(row.speed_m_s for row in stage.since(begun)) < 1.06 * limit
        assert client.status().counters.limit_violations == 0
    matrix.note("setpoints with a mirrored axis, or a jump of 15 cm", "clipped to the speed allowed", 0.0, [0.0])


def test_replayed_and_reordered_setpoints_are_refused_and_keep_nothing_alive(
    stage: Stage, client: BridgeClient, matrix: Matrix
) -> None:
    holds = []
    for _ in range(matrix.repeats):
        stage.ready(client)
        sent: list[Setpoint] = []

        def replay(k: int, setpoint: Setpoint, sent: list[Setpoint] = sent) -> Setpoint:
            if k >= 10:  # from here on only what was sent before, newest first
                return sent[max(0, 19 - k)]
            sent.append(setpoint)
            return setpoint

        answers = swing(client, 0.8, replay)
        assert all(answer.refused for answer in answers[10:])
        last = sent[-1].stamp - PERIOD
        holds.append(stage.seconds_until(lambda row: row.status.mode == "holding", last))
        stage.seconds_until_fault("setpoints_stopped", last)
    matrix.note("setpoints replayed or reordered", "refused; they do not count as fresh: hold, stop", HOLD_S, holds)


def test_a_second_client_can_only_look_and_stop(stage: Stage, client: BridgeClient, matrix: Matrix) -> None:
    reactions = []
    for _ in range(matrix.repeats):
        stage.ready(client)
        with BridgeClient(stage.cell, name="the second") as second:
            with pytest.raises(BridgeRefused, match="commanded by the test"):
                second.connect(HASH)
            with pytest.raises(BridgeRefused, match="lease"):
                second.gripper(GripperCommand(True, 20.0))
            told: list[float] = []

            def stopped(k: int, setpoint: Setpoint, second=second, told=told) -> Setpoint:
                if k == 10:
                    told.append(second.latest().stamp)
                    second.stop()
                return setpoint

            answers = swing(client, 0.8, stopped)
            assert "disarmed" in str(answers[-1].refused)
            reactions.append(stage.seconds_until(lambda row: row.status.mode == "stopping", told[0]))
    matrix.note("second client", "refused by name; may look, and stop the arm", 0.05, reactions)


def test_a_commander_that_vanishes_while_the_arm_is_armed_is_noticed(stage: Stage, matrix: Matrix) -> None:
    reactions = []
    with Wire(("127.0.0.1", stage.cell.bridge.command_port)) as between:
        bridge = replace(stage.cell.bridge, command_port=between.port)
        for _ in range(matrix.repeats):
            with BridgeClient(replace(stage.cell, bridge=bridge), name="the vanishing") as client:
                lease(client)
                stage.ready(client)
                begun, begun_s = stage.seen[-1].stamp, time.monotonic()
                between.cut()
                stage.seconds_until_fault("commander_lost", begun)
                reactions.append(time.monotonic() - begun_s)
                between.mend()
    matrix.note("commander vanishes while armed", "commander_lost", 3.6, reactions, clock="wall")


@pytest.mark.parametrize(("seconds", "end"), [(0.05, "moving"), (0.5, "setpoints_stopped"), (5.0, "setpoints_stopped")])
def test_a_wire_that_is_cut(stage: Stage, matrix: Matrix, seconds: float, end: str) -> None:
    """Robot time on the mock cell may run slower than the wall: cut for so long of robot time."""
    reactions = []
    with Wire(("127.0.0.1", stage.cell.bridge.command_port)) as between:
        bridge = replace(stage.cell.bridge, command_port=between.port)
        with BridgeClient(replace(stage.cell, bridge=bridge), name="beyond the wire") as client:
            for _ in range(matrix.repeats):
                with contextlib.suppress(BridgeRefused):  # it still holds the lease, unless that ran out
                    lease(client)
                stage.ready(client)
                cut: list[float] = []

                def meddle(k: int, setpoint: Setpoint, cut: list[float] = cut) -> Setpoint:
                    if k == 10:
                        between.cut()
                        cut.append(setpoint.stamp - 2 * PERIOD)
                        stage.await_robot_time(setpoint.stamp - PERIOD + seconds)
                        between.mend()
                    return setpoint

                answers = swing(client, 1.0, meddle) if seconds < 4 else swing_cut_off(client, meddle)
                if end == "moving":
                    assert answers[-1].refused is None
                    assert all(row.status.mode == "moving" for row in stage.since(cut[0]))
                    reactions.append(0.0)
                else:
                    reactions.append(stage.seconds_until(lambda row: row.status.mode == "holding", cut[0]))
                    stage.seconds_until_fault(end, cut[0])
    outcome = "nothing" if end == "moving" else f"holds, then {end}"
    matrix.note(f"wire to the client cut for {seconds:g} s", outcome, HOLD_S if end != "moving" else 0.0, reactions)


def swing_cut_off(client: BridgeClient, meddle: Meddle) -> list[Executed]:
    """A swing in which the lease runs out."""
    with pytest.raises((BridgeRefused, BridgeLost)):
        swing(client, 1.0, meddle)
    return []


def test_nonsense_on_the_wire_changes_nothing(
    stage: Stage, client: BridgeClient, matrix: Matrix, request: pytest.FixtureRequest
) -> None:
    context = zmq.Context()
    request.addfinalizer(lambda: context.destroy(linger=0))  # left to garbage collection it would block for ever
    strangers = {"without keys": context.socket(zmq.DEALER), "with unknown keys": context.socket(zmq.DEALER)}
    public, secret = zmq.curve_keypair()
    known = wire.load_keys(stage.cell.keys_folder, "client")
    wire.secure_client(strangers["with unknown keys"], replace(known, public=public, secret=secret))
    insider = context.socket(zmq.DEALER)
    wire.secure_client(insider, known)
    random = np.random.default_rng(4)
    for socket in (*strangers.values(), insider):
        socket.linger = 0
        socket.sndtimeo = 0
        socket.connect(stage.cell.command_endpoint)
    before = client.status().counters

    def shout(k: int, setpoint: Setpoint) -> Setpoint:
        real = wire.encode({"version": wire.PROTOCOL_VERSION, "id": 7, "op": "setpoint", "session": "x"})
        for noise in (random.bytes(50), real[: 1 + k % len(real)], real, b"", b"\x91" * 5000):
            for socket in (*strangers.values(), insider):
                with contextlib.suppress(zmq.Again):
                    socket.send(noise)
        return setpoint

    answers = swing(client, 2.0, shout)
    assert [answer.refused for answer in answers] == [None] * 40
    client.wait_until(client.latest().stamp + 0.1)
    after = client.status().counters
    assert after.setpoints - before.setpoints == 40
    assert after.faults == before.faults
    for name, socket in strangers.items():
        assert not socket.poll(0), f"a stranger {name} got an answer"
    matrix.note("malformed and unauthenticated messages", "dropped or answered with an error", 0.0, [0.0])


def test_another_protocol_or_contract_is_one_clear_sentence_on_either_side(stage: Stage, monkeypatch) -> None:
    with BridgeClient(stage.cell, name="old") as old:
        with pytest.raises(BridgeRefused, match="task card"):
            old.connect("0" * 64)
        monkeypatch.setattr(wire, "PROTOCOL_VERSION", 0)
        with pytest.raises(BridgeRefused, match=r"protocol 0, this bridge .*same version"):
            old.connect(HASH)


@pytest.mark.parametrize("hours", [1, -1])
def test_a_stepped_host_clock_moves_nothing(stage: Stage, tmp_path, matrix: Matrix, hours: int) -> None:
    """The bridge runs on monotonic and robot time: wall time is stepped under it by an hour, back and forth."""
    (tmp_path / "sitecustomize.py").write_text(
        "import time\n_begun, _wall = time.monotonic(), time.time\n"
        f"time.time = lambda: _wall() + {3600 * hours} * (time.monotonic() % 0.4 > 0.2)\n"
    )
    stage.bridge.terminate()
    stage.bridge.wait(15)
    with (
        staged(stage.cell, stage.file, PYTHONPATH=f"{tmp_path}{os.pathsep}{ROOT}") as stepped,
        BridgeClient(stage.cell, name="the test") as client,
    ):
        lease(client)
        stepped.ready(client)
        answers = swing(client, 1.5)
        assert [answer.refused for answer in answers] == [None] * 30
        assert client.status().fault is None
    stage.bridge = serve(stage.file)
    await_serving(stage.bridge)
    matrix.note(f"host clock stepped by {hours:+d} h", "nothing", 0.0, [0.0])


def test_a_second_bridge_for_the_same_robot_says_so_and_ends(stage: Stage, tmp_path, matrix: Matrix) -> None:
    ports = replace(stage.cell.bridge, command_port=stage.cell.bridge.command_port + 7, state_port=40_123)
    replace(stage.cell, name="twin", bridge=ports).write(tmp_path / "twin.yaml")
    process = serve(tmp_path / "twin.yaml")
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "commands the robot at" in output
    assert "Traceback" not in output


def test_keys_that_others_may_read_are_refused(stage: Stage, tmp_path) -> None:
    wire.make_keys(tmp_path / "keys")
    secret = tmp_path / "keys" / "server.key_secret"
    secret.chmod(0o644)
    bridge = replace(stage.cell.bridge, keys=str(tmp_path / "keys"))
    robot = replace(stage.cell.robot, address="127.0.7.251")
    replace(stage.cell, bridge=bridge, robot=robot).write(tmp_path / "open.yaml")
    process = serve(tmp_path / "open.yaml")
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert f"chmod 600 {secret}" in output
