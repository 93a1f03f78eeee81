"""How a batch of images travels: by shared memory on one host, as bytes, or compressed between hosts."""

from __future__ import annotations

import logging
import math
import os
import re
import secrets
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np

from sim_training.teachers.protocol import LARGEST_MESSAGE, MAX_ROWS, ProtocolError, quoted

_log = logging.getLogger(__name__)

Transport = Literal["shared", "raw", "jpeg", "png"]

MAX_SIDE_PX = 4096
JPEG_QUALITY = 95
LARGEST_IMAGES = LARGEST_MESSAGE - (1 << 24)
"""Bytes that leave room for 4 096 instructions and poses in the same message."""
_SEGMENTS = Path("/dev/shm")
_SEGMENT_NAME = re.compile(r"[A-Za-z0-9_]{1,64}")


class ImageSender:
    """Packs batches of images one way; owns the shared memory segment, if that is the way. One batch at a time.

    transport: `raw` in place of `shared` from the first batch on that this host's shared memory has no room for.
    """

    def __init__(self, transport: Transport):
        self.transport = transport
        self._segment: SharedMemory | None = None

    def pack(self, images: np.ndarray) -> dict[str, Any]:
        """What a message says of the images. Raises ProtocolError for too many. Shape: (N, height, width, 3), RGB"""
        segment = self._segment_of(images.nbytes) if self.transport == "shared" else None
        packed: dict[str, Any] = {"kind": self.transport, "shape": list(images.shape[:3])}
        if segment is not None:
            np.ndarray(images.shape, np.uint8, segment.buf)[:] = images
            return packed | {"name": segment.name, "start": 0}
        if self.transport == "raw":
            if images.nbytes > LARGEST_IMAGES:
                raise ProtocolError(f"{images.nbytes} bytes of images are too many for a message: ask about fewer.")
            return packed | {"pixels": np.ascontiguousarray(images).tobytes()}
        return packed | {"files": [_compress(image, self.transport) for image in images]}

    def close(self) -> None:
        """Give the shared memory back."""
        if self._segment is not None:
            self._segment.close()
            self._segment.unlink()
            self._segment = None

    def _segment_of(self, size: int) -> SharedMemory | None:
        """A segment of at least that size; None where there is none to be had, now and from now on."""
        if self._segment is None or self._segment.size < size:
            self.close()
            self._segment = _reserve(size)
            if self._segment is None:
                self.transport = "raw"
        return self._segment


class Probe:
    """A few secret bytes in shared memory: whoever can tell them is on this host and may read our segments.

    name: of the segment, None where this host has no shared memory left.
    """

    def __init__(self) -> None:
        self.token = secrets.token_bytes(16)
        self.name: str | None = None
        self._segment = _reserve(len(self.token))
        if self._segment is not None:
            np.ndarray(len(self.token), np.uint8, self._segment.buf)[:] = np.frombuffer(self.token, np.uint8)
            self.name = self._segment.name

    def close(self) -> None:
        """Give the shared memory back."""
        if self._segment is not None:
            self._segment.close()
            self._segment.unlink()


def _reserve(size: int) -> SharedMemory | None:
    """A segment whose memory is there, since writing to what a full /dev/shm lacks is SIGBUS; None if it is full."""
    segment = None
    try:
        segment = SharedMemory(create=True, size=size)
        with (_SEGMENTS / segment.name).open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, size)
    except OSError as error:
        why = error.strerror
        _log.warning("%s has no room for %d bytes (%s): images are sent, which is slower.", _SEGMENTS, size, why)
        if segment is not None:
            segment.close()
            segment.unlink()
        return None
    return segment


def read_probe(name: Any) -> bytes | None:
    """What lies in a client's probe, or None where this process cannot read it."""
    try:
        return _map(name, 0, 16).tobytes()
    except ProtocolError:
        return None


def row_count(packed: dict[str, Any]) -> int:
    """How many images are packed. Raises ProtocolError if they are not packed as `ImageSender` does."""
    return _shape(packed)[0]


def rows_of(packed: dict[str, Any], start: int, stop: int) -> dict[str, Any]:
    """Some rows of packed images, still packed. Raises ProtocolError if they are not packed as `ImageSender` does.

    Made of the fields of that kind and nothing else: what else a client has sent goes no further.
    """
    count, height, width = _shape(packed)
    part = {"kind": packed["kind"], "shape": [stop - start, height, width]}
    row = height * width * 3
    if packed["kind"] == "shared":
        return part | {"name": packed["name"], "start": packed["start"] + start * row}
    if packed["kind"] == "raw":
        if len(packed["pixels"]) != count * row:
            raise ProtocolError(f"{count} images of {height} x {width} are {count * row} bytes of RGB.")
        return part | {"pixels": packed["pixels"][start * row : stop * row]}
    return part | {"files": packed["files"][start:stop]}


def unpack(packed: dict[str, Any]) -> np.ndarray:
    """The images, perhaps read-only. Raises ProtocolError. Shape: (N, height, width, 3) uint8 RGB"""
    shape = (*_shape(packed), 3)
    if packed["kind"] == "shared":
        return _map(packed["name"], packed["start"], math.prod(shape)).reshape(shape)
    if packed["kind"] == "raw":
        return np.frombuffer(packed["pixels"], np.uint8).reshape(shape)
    images = np.empty(shape, np.uint8)
    for image, file in zip(images, packed["files"], strict=True):
        image[:] = _decompress(file, image.shape)
    return images


_FURTHEST = MAX_ROWS * MAX_SIDE_PX * MAX_SIDE_PX * 3
"""Where the last row of a segment may begin, bytes."""
_FIELDS: dict[str, dict[str, type]] = {
    "shared": {"name": str, "start": int},
    "raw": {"pixels": bytes},
    "jpeg": {"files": list},
    "png": {"files": list},
}


def _shape(packed: dict[str, Any]) -> tuple[int, int, int]:
    kind, shape = packed.get("kind"), packed.get("shape")
    if not isinstance(kind, str) or kind not in _FIELDS:
        raise ProtocolError(f"Images come as {', '.join(_FIELDS)}, not as {quoted(kind)}.")
    if not isinstance(shape, list) or len(shape) != 3 or not all(type(n) is int for n in shape):
        raise ProtocolError("Images need a shape: rows, height, width.")
    count, height, width = shape
    if not (0 < count <= MAX_ROWS and 0 < height <= MAX_SIDE_PX and 0 < width <= MAX_SIDE_PX):
        raise ProtocolError(f"Images of shape {shape} are not taken: at most {MAX_ROWS} rows of {MAX_SIDE_PX} px.")
    for name, kind_of in _FIELDS[kind].items():
        if type(packed.get(name)) is not kind_of:
            raise ProtocolError(f"Images sent as {kind} need '{name}'.")
    if kind == "shared" and not 0 <= packed["start"] <= _FURTHEST:
        raise ProtocolError("Images in shared memory begin somewhere in a segment.")
    if kind in ("jpeg", "png") and len(packed["files"]) != count:
        raise ProtocolError(f"{count} images were due, {len(packed['files'])} files came.")
    if kind in ("jpeg", "png") and not all(isinstance(file, bytes) for file in packed["files"]):
        raise ProtocolError("An image file is bytes.")
    return count, height, width


def _map(name: Any, start: int, size: int) -> np.ndarray:
    # Not by SharedMemory: before Python 3.13 whoever merely reads a segment registers it, and removes it on leaving.
    if not isinstance(name, str) or not _SEGMENT_NAME.fullmatch(name):
        raise ProtocolError("That is no name of a shared memory segment.")
    try:
        return np.memmap(_SEGMENTS / name, np.uint8, "r", offset=start, shape=(size,))
    except (OSError, ValueError, OverflowError) as error:
        raise ProtocolError("The shared memory is gone or too small; is the client on another host?") from error


def _compress(image: np.ndarray, transport: str) -> bytes:
    options = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY] if transport == "jpeg" else [cv2.IMWRITE_PNG_COMPRESSION, 1]
    done, file = cv2.imencode(f".{transport}", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), options)
    assert done
    return file.tobytes()


def _decompress(file: Any, shape: tuple[int, ...]) -> np.ndarray:
    image = None
    if isinstance(file, bytes) and file:
        try:
            image = cv2.imdecode(np.frombuffer(file, np.uint8), cv2.IMREAD_COLOR)
        except cv2.error:  # larger than OpenCV will read
            image = None
    if image is None or image.shape != shape:
        raise ProtocolError(f"An image of {shape[0]} x {shape[1]} was due; the file holds something else.")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
