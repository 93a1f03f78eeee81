from __future__ import annotations

import stat
import threading

import numpy as np
import pytest
import zmq
from hypothesis import given
from hypothesis import strategies as st
from zmq.auth.thread import ThreadAuthenticator

from contract.messages import ObjectState, RobotState, Setpoint
from contract.poses import Pose
from robot_runtime import wire
from safety.faults import LatchedFault

number = st.floats(allow_nan=True, allow_infinity=True)


def vector(size):
    return st.lists(number, min_size=size, max_size=size).map(np.array)


@given(stamp=st.floats(0, 1e6), sequence=st.integers(0, 2**40), p=vector(3), q=vector(4), twist=vector(6))
def test_a_setpoint_arrives_as_it_was_sent_whatever_its_numbers(stamp, sequence, p, q, twist):
    sent = Setpoint(stamp, sequence, Pose(p, q), twist)
    got = wire.setpoint_from_wire(wire.decode(wire.encode(wire.setpoint_to_wire(sent))))
    assert (got.stamp, got.sequence) == (stamp, sequence)
    np.testing.assert_array_equal(got.pose_base_tcp.position, p)
    np.testing.assert_array_equal(got.pose_base_tcp.quaternion, q)
    np.testing.assert_array_equal(got.twist_base_tcp, twist)


def test_a_robot_state_and_a_status_arrive_as_they_were_sent():
    rng = np.random.default_rng(0)
    pose = Pose(rng.normal(size=3), rng.normal(size=4))
    state = RobotState(1.5, *rng.normal(size=(2, 7)), pose, *rng.normal(size=(2, 6)), 0.04, 1.4, True)
    got = wire.state_from_wire(wire.decode(wire.encode(wire.state_to_wire(state))))
    np.testing.assert_array_equal(got.q, state.q)
    np.testing.assert_array_equal(got.wrench_base, state.wrench_base)
    assert got.gripper_closed is True
    status = wire.BridgeStatus(
        "faulted", LatchedFault("name", "Cause.", 1.0), wire.Counters(clipped=2), pose, pose, None
    )
    back = wire.status_from_wire(wire.decode(wire.encode(wire.status_to_wire(status))))
    assert (back.fault, back.counters, back.mode) == (status.fault, status.counters, "faulted")


def test_a_sight_of_an_object_arrives_as_it_was_sent_and_anything_else_is_refused():
    pose = Pose(np.array([0.5, 0.1, 0.02]), np.array([1.0, 0.0, 0.0, 0.0]))
    sent = wire.seen_to_wire(ObjectState(3.25, "cube", pose, np.eye(4), 0.9, True))
    assert wire.checked_seen(wire.decode(wire.encode({"seen": sent}))["seen"]) == sent
    for wrong in (None, [], {}, sent | {"pose": [1.0]}, sent | {"stamp": "soon"}):
        with pytest.raises(wire.WireError, match="sight"):
            wire.checked_seen(wrong)


@given(st.binary(max_size=200))
def test_bytes_that_are_no_message_raise_one_error_only(packed):
    try:
        message = wire.decode(packed)
    except wire.WireError:
        return
    assert isinstance(message, dict)


@pytest.mark.parametrize(
    "plain",
    [None, {}, {"stamp": 1.0, "sequence": 1, "pose": [0.0] * 6, "twist": [0.0] * 6}, {"stamp": "soon", "sequence": 1}],
)
def test_a_setpoint_of_the_wrong_form_is_refused(plain):
    with pytest.raises(wire.WireError):
        wire.setpoint_from_wire(plain)


@pytest.mark.parametrize("force", [0.0, -1.0, 71.0, float("nan")])
def test_a_gripper_force_no_hand_has_is_refused(force):
    with pytest.raises(wire.WireError):
        wire.gripper_from_wire({"closed": True, "force": force})


def test_keys_are_made_once_and_only_for_the_owner(tmp_path):
    folder = tmp_path / "cell"
    threads = [threading.Thread(target=wire.make_keys, args=(folder,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    first = wire.load_keys(folder, "server")
    wire.make_keys(folder)
    assert wire.load_keys(folder, "server") == first
    assert stat.S_IMODE((folder / "server.key_secret").stat().st_mode) == 0o600
    assert [p.name for p in tmp_path.iterdir()] == ["cell"]


def test_missing_keys_say_how_to_make_them(tmp_path):
    with pytest.raises(wire.KeysUnusable, match=r"launch/bridge\.py keys"):
        wire.load_keys(tmp_path / "none", "client")


def test_a_client_that_is_not_on_the_allow_list_is_not_heard(tmp_path):
    wire.make_keys(tmp_path / "cell")
    wire.make_keys(tmp_path / "stranger")
    server_keys = wire.load_keys(tmp_path / "cell", "server")
    friend = wire.load_keys(tmp_path / "cell", "client")
    own = wire.load_keys(tmp_path / "stranger", "client")
    stranger = wire.Keys(own.public, own.secret, friend.server_public)
    context = zmq.Context()
    authenticator = ThreadAuthenticator(context)
    authenticator.start()
    authenticator.configure_curve(domain="*", location=str(server_keys.allowed_folder))
    server = context.socket(zmq.ROUTER)
    wire.secure_server(server, server_keys)
    port = server.bind_to_random_port("tcp://127.0.0.1")
    sockets = [server]
    try:
        for keys, heard in ((stranger, False), (friend, True)):
            client = context.socket(zmq.DEALER)
            client.linger = 0
            sockets.append(client)
            wire.secure_client(client, keys)
            client.connect(f"tcp://127.0.0.1:{port}")
            client.send(wire.encode({"op": "ping"}))
            assert bool(server.poll(3000 if heard else 700)) == heard
    finally:
        for socket in sockets:
            socket.close(linger=0)
        authenticator.stop()
        context.term()
