"""A camera process in miniature, for tests."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from typing import Any

import msgpack
import numpy as np
import zmq

WIDTH, HEIGHT, RATE_HZ, SERIAL = 424, 240, 15, "MOCK0001"
K = np.array([[308.0, 0.0, 212.0], [0.0, 308.0, 120.0], [0.0, 0.0, 1.0]])
DEPTH_SCALE_M = 0.0001


def random_picture(number: int) -> tuple[np.ndarray, np.ndarray]:
    """Colour and depth (0.1 mm) that differ in every pixel and every frame."""
    random = np.random.default_rng(number)
    return (
        random.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8),
        random.integers(5000, 15000, (HEIGHT, WIDTH), dtype=np.uint16),
    )


class FrameSender:
    """Sends pictures as the mock cell's camera does: frame k is stamped 100 s + k / 15.

    changes: what the header of frame k has otherwise. silent: nothing is sent while it is set. damaged: rubbish is.
    """

    def __init__(
        self,
        picture: Callable[[int], tuple[np.ndarray, np.ndarray]] = random_picture,
        matrix: np.ndarray = K,
        changes: Callable[[int], dict[str, Any]] = lambda number: {},
    ) -> None:
        self._picture, self._K, self._changes = picture, matrix, changes
        self.silent, self.damaged = threading.Event(), threading.Event()
        self._socket = zmq.Context.instance().socket(zmq.PUSH)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.SNDTIMEO, 300)
        self.address = f"tcp://127.0.0.1:{self._socket.bind_to_random_port('tcp://127.0.0.1')}"
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, count: int = 1_000_000) -> None:
        """Sends that many frames, as soon as somebody receives."""
        self._thread = threading.Thread(target=self._run, args=(count,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stops sending."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()
        self._socket.close()

    def _send(self, number: int) -> None:
        rgb, depth = self._picture(number)
        header = {
            "frame": number, "stamp_s": 100 + number / RATE_HZ, "width": WIDTH, "height": HEIGHT,
            "fx": self._K[0, 0], "fy": self._K[1, 1], "cx": self._K[0, 2], "cy": self._K[1, 2],
            "depth_scale_m": DEPTH_SCALE_M, "serial": SERIAL, **self._changes(number),
        }  # fmt: skip
        if self.damaged.is_set():
            del header["stamp_s"]
        self._socket.send_multipart([msgpack.packb(header), rgb.tobytes(), depth.tobytes()])

    def _run(self, count: int) -> None:
        number = 1
        while number <= count and not self._stopping.is_set():
            with contextlib.suppress(zmq.Again):
                if not self.silent.is_set():
                    self._send(number)
                    number += 1
                time.sleep(0.03)
