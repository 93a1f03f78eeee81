"""What a teacher server and its clients say to each other: msgpack maps over ZeroMQ, one version, physical units."""

from __future__ import annotations

import reprlib
from dataclasses import dataclass
from typing import Any

import msgpack
import numpy as np

PROTOCOL_VERSION = 1
FRAME = "base"
UNITS = "m, rad"
DELTA_SIZE = 7
"""Translation (m) and rotation vector (rad), both in the base frame, then the gripper: 1 opens, -1 closes."""
MAX_ROWS = 4096
"""Most environments in one question."""
LONGEST_DEADLINE_S = 3600.0
LARGEST_MESSAGE = 1 << 30
"""Bytes; a server leaves the client that sends more."""


class ProtocolError(ValueError):
    """A message that cannot be understood, or that must not be believed; the sentence says why."""


@dataclass(frozen=True)
class Ask:
    """One question as it travels.

    id: of the asking client, counts up. deadline_s: from when it is received. instructions: N of them.
    images: N of them, see `images.py`. tcp: tool poses, base frame, m and quaternion wxyz. Shape: (N, 7)
    """

    id: int
    deadline_s: float
    instructions: list[str]
    images: dict[str, Any]
    tcp: np.ndarray


def encode(message: dict[str, Any]) -> bytes:
    """One message as msgpack, with the version, the frame and the units its numbers are in."""
    head = {"version": PROTOCOL_VERSION, "frame": FRAME, "units": UNITS}
    packed: bytes = msgpack.packb(head | message, use_bin_type=True)
    return packed


def decode(packed: bytes) -> dict[str, Any]:
    """One message. Raises ProtocolError for anything that is not one, or means something else by its numbers."""
    try:
        message = msgpack.unpackb(packed, raw=False)
    except Exception as error:  # msgpack raises many kinds
        raise ProtocolError("A message was not msgpack; is something else talking at this address?") from error
    if not isinstance(message, dict):
        raise ProtocolError("A message was not a map; is something else talking at this address?")
    if message.get("version") != PROTOCOL_VERSION:
        raise ProtocolError(
            f"The other side speaks teacher protocol {quoted(message.get('version'))}, this side {PROTOCOL_VERSION};"
            " install the same version on both machines."
        )
    if (message.get("frame"), message.get("units")) != (FRAME, UNITS):
        raise ProtocolError(
            f"Deltas are in frame '{FRAME}' and units '{UNITS}'; the other side means frame"
            f" {quoted(message.get('frame'))} and units {quoted(message.get('units'))}."
        )
    return message


def ask_to_wire(ask: Ask) -> dict[str, Any]:
    """A question as plain types."""
    return {
        "op": "ask",
        "id": ask.id,
        "deadline_s": ask.deadline_s,
        "instructions": ask.instructions,
        "images": ask.images,
        "tcp": np.ascontiguousarray(ask.tcp, "<f4").tobytes(),
    }


def ask_from_wire(message: dict[str, Any]) -> Ask:
    """The question of `ask_to_wire`; its images are looked at by whoever unpacks them. Raises ProtocolError."""
    number, deadline_s, instructions = message.get("id"), message.get("deadline_s"), message.get("instructions")
    if not isinstance(number, int) or not isinstance(deadline_s, float):
        raise ProtocolError("A question needs an id (a whole number) and a deadline_s (seconds).")
    if not 0.0 < deadline_s <= LONGEST_DEADLINE_S:
        raise ProtocolError(f"A deadline lies between 0 and {LONGEST_DEADLINE_S:.0f} s, not at {deadline_s} s.")
    if not isinstance(instructions, list) or not all(isinstance(text, str) for text in instructions):
        raise ProtocolError("A question needs a list of instructions, one text per image.")
    if not 0 < len(instructions) <= MAX_ROWS:
        raise ProtocolError(f"A question has 1 to {MAX_ROWS} rows, not {len(instructions)}.")
    images = message.get("images")
    if not isinstance(images, dict):
        raise ProtocolError("A question needs images.")
    return Ask(number, deadline_s, instructions, images, floats(message.get("tcp"), len(instructions)))


def floats(packed: Any, rows: int) -> np.ndarray:
    """Seven little-endian float32 for each row. Raises ProtocolError. Shape: (rows, 7)"""
    if not isinstance(packed, bytes) or len(packed) != rows * DELTA_SIZE * 4:
        raise ProtocolError(f"{rows} rows of {DELTA_SIZE} float32 were due, {_size(packed)} came.")
    return np.frombuffer(packed, "<f4").reshape(rows, DELTA_SIZE)


def quoted(said: Any) -> str:
    """What the other side said, in a few words however long or deep it is; `repr` raises at a thousand levels."""
    return _BRIEF.repr(said)


_BRIEF = reprlib.Repr()
_BRIEF.maxstring = 100


def _size(packed: Any) -> str:
    return f"{len(packed)} bytes" if isinstance(packed, bytes) else "something else"
