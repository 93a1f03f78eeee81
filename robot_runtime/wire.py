"""What bridge and client say to each other: msgpack messages, protocol version, CURVE keys."""

from __future__ import annotations

import os
import secrets
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import zmq
import zmq.auth

from contract.messages import GripperCommand, ObjectState, RobotState, Setpoint
from contract.poses import Pose
from safety.faults import LatchedFault

PROTOCOL_VERSION = 2
LONGEST_NAME = 64


class WireError(ValueError):
    """A message that is not one of ours; update the older of bridge and client."""


class KeysUnusable(RuntimeError):
    """This cell's keys are missing, or others may read them."""


@dataclass(frozen=True)
class Counters:
    """Counts since the bridge started.

    limit_violations: executed setpoints found beyond a limit by a second, independent check; anything but 0 is a bug.
    clipped: setpoints that were changed. refused: setpoints that were not executed.
    records_lost: faults that could not be written to the flight records, for want of disk.
    peak_speed_m_s: fastest measured tool; peak_reference_speed_m_s: fastest reference given to the controller.
    """

    setpoints: int = 0
    clipped: int = 0
    refused: int = 0
    limit_violations: int = 0
    faults: int = 0
    records_lost: int = 0
    peak_speed_m_s: float = 0.0
    peak_reference_speed_m_s: float = 0.0


@dataclass(frozen=True)
class BridgeStatus:
    """What the bridge is doing.

    mode: disarmed, armed, moving, holding, stopping, homing or faulted.
    command_base_tcp: last executed setpoint. reference_base_tcp: what the impedance controller follows right now.
    commander: name of the program that holds the lease, if any.
    """

    mode: str
    fault: LatchedFault | None
    counters: Counters
    command_base_tcp: Pose
    reference_base_tcp: Pose
    commander: str | None


@dataclass(frozen=True)
class Executed:
    """What became of one setpoint.

    pose_base_tcp: the pose that is executed: the one asked for, the clipped one, or, if refused, the previous one.
    clipped: one sentence for each limit that changed it. refused: one sentence, or None.
    """

    sequence: int
    stamp: float
    pose_base_tcp: Pose
    clipped: tuple[str, ...] = ()
    refused: str | None = None


@dataclass(frozen=True)
class Keys:
    """One side's CURVE key pair and the server's public key, Z85 text."""

    public: bytes
    secret: bytes
    server_public: bytes
    allowed_folder: Path = field(default_factory=Path)


def encode(message: dict[str, Any]) -> bytes:
    """One message as msgpack."""
    packed: bytes = msgpack.packb(message, use_bin_type=True)
    return packed


def decode(packed: bytes) -> dict[str, Any]:
    """One message. Raises WireError for anything else."""
    try:
        message = msgpack.unpackb(packed, raw=False)
    except Exception as error:
        raise WireError("A message could not be read; are bridge and client the same version?") from error
    if not isinstance(message, dict):
        raise WireError("A message was not a mapping; are bridge and client the same version?")
    return message


def pose_to_wire(pose: Pose) -> list[float]:
    """Position then quaternion wxyz. Shape: (7,)"""
    return [float(x) for x in pose.position] + [float(x) for x in pose.quaternion]


def pose_from_wire(values: Any) -> Pose:
    """The pose of seven numbers, which may be anything but must be seven."""
    numbers = _vector(values, 7)
    return Pose(numbers[:3], numbers[3:])


def setpoint_to_wire(setpoint: Setpoint) -> dict[str, Any]:
    """A setpoint as plain types."""
    return {
        "stamp": float(setpoint.stamp),
        "sequence": int(setpoint.sequence),
        "pose": pose_to_wire(setpoint.pose_base_tcp),
        "twist": [float(x) for x in setpoint.twist_base_tcp],
    }


def setpoint_from_wire(plain: Any) -> Setpoint:
    """A setpoint; its numbers may still be anything (the guard judges). Raises WireError if the form is wrong."""
    try:
        return Setpoint(
            stamp=float(plain["stamp"]),
            sequence=int(plain["sequence"]),
            pose_base_tcp=pose_from_wire(plain["pose"]),
            twist_base_tcp=_vector(plain["twist"], 6),
        )
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise WireError("A setpoint needs stamp, sequence, pose (7) and twist (6).") from error


def joints_from_wire(values: Any) -> np.ndarray:
    """Seven joint angles; the arm judges them. Raises WireError if the form is wrong. Shape: (7,)"""
    return _vector(values, 7)


def gripper_from_wire(plain: Any) -> GripperCommand:
    """A gripper command. Raises WireError if the form is wrong."""
    try:
        command = GripperCommand(closed=bool(plain["closed"]), force=float(plain["force"]))
    except (KeyError, TypeError, ValueError) as error:
        raise WireError("A gripper command needs closed and force.") from error
    if not 0.0 < command.force <= 70.0:  # Franka Hand continuous force, product manual
        raise WireError("The gripper's force must lie between 0 and 70 N.")
    return command


def seen_to_wire(seen: ObjectState) -> dict[str, Any]:
    """Where an object is believed to be, as plain types, for the flight record."""
    return {
        "stamp": float(seen.stamp),
        "name": seen.name,
        "pose": pose_to_wire(seen.pose_base_object),
        "confidence": float(seen.confidence),
        "held": bool(seen.held),
    }


def checked_seen(plain: Any) -> dict[str, Any]:
    """What `seen_to_wire` gave. Raises WireError if the form is wrong."""
    try:
        return {
            "stamp": float(plain["stamp"]),
            "name": str(plain["name"])[:LONGEST_NAME],
            "pose": _vector(plain["pose"], 7).tolist(),
            "confidence": float(plain["confidence"]),
            "held": bool(plain["held"]),
        }
    except (KeyError, TypeError, ValueError) as error:
        raise WireError("A sight of an object needs stamp, name, pose (7), confidence and held.") from error


def state_to_wire(state: RobotState) -> dict[str, Any]:
    """A robot state as plain types."""
    return {
        "stamp": state.stamp,
        "q": state.q.tolist(),
        "dq": state.dq.tolist(),
        "pose": pose_to_wire(state.pose_base_tcp),
        "twist": state.v_base_tcp.tolist(),
        "wrench": state.wrench_base.tolist(),
        "width": state.gripper_width,
        "width_stamp": state.gripper_stamp,
        "closed": state.gripper_closed,
    }


def state_from_wire(plain: dict[str, Any]) -> RobotState:
    """The robot state of `state_to_wire`."""
    return RobotState(
        stamp=plain["stamp"],
        q=_vector(plain["q"], 7),
        dq=_vector(plain["dq"], 7),
        pose_base_tcp=pose_from_wire(plain["pose"]),
        v_base_tcp=_vector(plain["twist"], 6),
        wrench_base=_vector(plain["wrench"], 6),
        gripper_width=plain["width"],
        gripper_stamp=plain["width_stamp"],
        gripper_closed=plain["closed"],
    )


def status_to_wire(status: BridgeStatus) -> dict[str, Any]:
    """A bridge status as plain types."""
    return {
        "mode": status.mode,
        "fault": None if status.fault is None else vars(status.fault),
        "counters": vars(status.counters),
        "command": pose_to_wire(status.command_base_tcp),
        "reference": pose_to_wire(status.reference_base_tcp),
        "commander": status.commander,
    }


def status_from_wire(plain: dict[str, Any]) -> BridgeStatus:
    """The status of `status_to_wire`."""
    return BridgeStatus(
        mode=plain["mode"],
        fault=None if plain["fault"] is None else LatchedFault(**plain["fault"]),
        counters=Counters(**plain["counters"]),
        command_base_tcp=pose_from_wire(plain["command"]),
        reference_base_tcp=pose_from_wire(plain["reference"]),
        commander=plain["commander"],
    )


def executed_to_wire(executed: Executed) -> dict[str, Any]:
    """What became of a setpoint as plain types."""
    return {
        "sequence": executed.sequence,
        "stamp": executed.stamp,
        "pose": pose_to_wire(executed.pose_base_tcp),
        "clipped": list(executed.clipped),
        "refused": executed.refused,
    }


def executed_from_wire(plain: dict[str, Any]) -> Executed:
    """The answer of `executed_to_wire`."""
    return Executed(
        sequence=plain["sequence"],
        stamp=plain["stamp"],
        pose_base_tcp=pose_from_wire(plain["pose"]),
        clipped=tuple(plain["clipped"]),
        refused=plain["refused"],
    )


def _vector(values: Any, size: int) -> np.ndarray:
    try:
        vector = np.array(values, dtype=float)
    except (TypeError, ValueError) as error:
        raise WireError(f"Expected {size} numbers.") from error
    if vector.shape != (size,):
        raise WireError(f"Expected {size} numbers, got shape {vector.shape}.")
    return vector


# --- keys ---------------------------------------------------------------------------------------------------------


def make_keys(folder: Path) -> None:
    """Write a server key pair, a client key pair and an allow-list with that client, unless they are there already.

    Another client is allowed in by copying its public `.key` into `folder/allowed`.
    """
    if (folder / "server.key_secret").exists():
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    fresh = folder.with_name(f".{folder.name}.{os.getpid()}.{secrets.token_hex(4)}")
    (fresh / "allowed").mkdir(parents=True, mode=0o700)
    for side in ("server", "client"):
        zmq.auth.create_certificates(fresh, side)
        (fresh / f"{side}.key_secret").chmod(0o600)
    shutil.copy(fresh / "client.key", fresh / "allowed" / "client.key")
    fresh.chmod(0o700)
    try:
        fresh.rename(folder)  # whole or not at all, also when two programs start at once
    except OSError:
        shutil.rmtree(fresh)
        if not (folder / "server.key_secret").exists():
            raise


def load_keys(folder: Path, side: str) -> Keys:
    """The keys of `server` or `client`. Raises KeysUnusable."""
    hidden = folder / f"{side}.key_secret"
    if hidden.exists() and hidden.stat().st_mode & 0o077:
        raise KeysUnusable(f"Others than you may read {hidden}: `chmod 600 {hidden}`, or make new keys.")
    try:
        server_public, _ = zmq.auth.load_certificate(folder / "server.key")
        public, secret = zmq.auth.load_certificate(hidden)
    except (OSError, ValueError) as error:
        raise KeysUnusable(
            f"No {side} keys in {folder}; run `launch/bridge.py keys` next to the robot and copy server.key, "
            "client.key and client.key_secret from there."
        ) from error
    assert secret is not None
    return Keys(public, secret, server_public, folder / "allowed")


def secure_client(socket: zmq.Socket[bytes], keys: Keys) -> None:
    """Make a connecting socket prove who it is and check who the server is."""
    socket.curve_publickey = keys.public
    socket.curve_secretkey = keys.secret
    socket.curve_serverkey = keys.server_public


def secure_server(socket: zmq.Socket[bytes], keys: Keys) -> None:
    """Make a binding socket accept only authenticated clients."""
    socket.curve_server = True
    socket.curve_publickey = keys.public
    socket.curve_secretkey = keys.secret
