"""Starts the mock cell's processes, waits until they are ready, and leaves none of them behind."""

from __future__ import annotations

import os
import select
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from robot_runtime.cell import Cell

_REPOSITORY = Path(__file__).resolve().parents[2]
_FCI_PORTS = (1337, 1338)
_READY_DEADLINE_S = 90.0
_STOP_DEADLINE_S = 5.0


class PortInUse(RuntimeError):
    """Another mock cell seems to be running there: stop it, or choose other addresses."""


class MockCellFailed(RuntimeError):
    """A process of the mock cell could not start or has ended."""


@dataclass(frozen=True)
class MockCellAddresses:
    """Where the mock cell listens: robot (loopback address; FCI ports are fixed), frame stream, scoring channel.

    wrist_frames, wrist_serial: stream of the wrist camera, if there is one, and what that calls itself.
    """

    robot: str = "127.0.0.2"
    frames: str = "tcp://127.0.0.1:5583"
    scoring: str = "tcp://127.0.0.1:5584"
    wrist_frames: str | None = None
    wrist_serial: str = "000000000002"

    @staticmethod
    def of_cell(cell: Cell) -> MockCellAddresses:
        """Those a cell file names."""
        if cell.scoring is None:
            raise MockCellFailed(f"Cell '{cell.name}' has no `scoring` address: it is not a mock cell.")
        addresses = MockCellAddresses(cell.robot.address, cell.camera.address, cell.scoring)
        if (wrist := cell.wrist_camera) is None:
            return addresses
        return replace(addresses, wrist_frames=wrist.address, wrist_serial=wrist.serial)

    @staticmethod
    def free() -> MockCellAddresses:
        """Addresses nobody uses now, so that several cells run side by side."""
        for last in range(10, 250):
            robot = f"127.0.7.{last}"
            if all(_is_free(robot, port) for port in _FCI_PORTS):
                frames, scoring, wrist = (f"tcp://127.0.0.1:{port}" for port in _free_ports(3))
                return MockCellAddresses(robot, frames, scoring, wrist)
        raise PortInUse("No free loopback address is left for another mock cell; stop some of them.")

    def endpoints(self) -> list[tuple[str, int]]:
        """Every TCP host and port that will be bound."""
        streams = [urlsplit(url) for url in (self.frames, self.scoring, self.wrist_frames) if url is not None]
        return [(self.robot, port) for port in _FCI_PORTS] + [(str(s.hostname), int(s.port or 0)) for s in streams]


def _is_free(host: str, port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
        return True


def _free_ports(count: int) -> list[int]:
    probes = [socket.socket(socket.AF_INET, socket.SOCK_STREAM) for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]
    finally:
        for probe in probes:
            probe.close()


class MockCell:
    """A running mock cell, for a `with` block. Start it from a thread that outlives it: its processes end with that.

    addresses: where it listens. seed: of the cube's first pose. video: file the camera's pictures are written to.
    serial: what the fixed camera calls itself. Raises PortInUse or MockCellFailed.
    """

    def __init__(
        self,
        addresses: MockCellAddresses | None = None,
        seed: int = 0,
        video: Path | None = None,
        serial: str = "000000000001",
    ) -> None:
        self.addresses = addresses or MockCellAddresses()
        self._seed, self._video, self._serial = seed, video, serial
        self._processes: dict[str, subprocess.Popen[str]] = {}

    def __enter__(self) -> MockCell:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Returns when robot, camera and scoring channel answer."""
        for host, port in self.addresses.endpoints():
            if not _is_free(host, port):
                raise PortInUse(f"Port {port} on {host} is in use. {PortInUse.__doc__}")
        # An abstract socket: nothing on disk that could be left behind.
        snapshots = f"ipc://@mock-cell-{os.getpid()}-{id(self):x}"
        video = ["--video", str(self._video.resolve())] if self._video is not None else []
        try:
            self._launch(
                "server", "--address", self.addresses.robot, "--scoring", self.addresses.scoring,
                "--snapshots", snapshots, "--seed", str(self._seed),
            )  # fmt: skip
            wrist = self.addresses.wrist_frames
            self._launch(
                "camera", "--frames", self.addresses.frames, "--snapshots", snapshots, "--serial", self._serial,
                *(["--wrist-frames", wrist, "--wrist-serial", self.addresses.wrist_serial] if wrist else []), *video,
            )  # fmt: skip
            deadline = time.monotonic() + _READY_DEADLINE_S
            for name, process in self._processes.items():
                self._await_ready(name, process, deadline)
        except BaseException:
            self.stop()
            raise

    def check(self) -> None:
        """Raises MockCellFailed if one of its processes has ended by itself."""
        for name, process in self._processes.items():
            if process.poll() is not None:
                raise MockCellFailed(f"The mock cell's {name} process ended with code {process.returncode}.")

    def stop(self) -> None:
        """Ends its processes, physics first since it waits for the camera; each gets five seconds to close up."""
        for process in self._processes.values():
            process.terminate()
            try:
                process.wait(_STOP_DEADLINE_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            if process.stdout is not None:
                process.stdout.close()
        self._processes.clear()

    def _launch(self, name: str, *arguments: str) -> None:
        path = os.pathsep.join(filter(None, [str(_REPOSITORY), os.environ.get("PYTHONPATH")]))
        # One thread per library: physics, camera and policy share few cores.
        # Own session: Ctrl-C at the terminal is the parent's to handle.
        single = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MUJOCO_GL": "egl", "PYTHONPATH": path}
        self._processes[name] = subprocess.Popen(
            [sys.executable, "-m", f"robot_runtime.mock_cell.{name}", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env={**os.environ, **single},
        )

    @staticmethod
    def _await_ready(name: str, process: subprocess.Popen[str], deadline: float) -> None:
        line = _read_line(process.stdout, deadline)
        if line == "ready":
            return
        if line.startswith("error"):
            _, kind, sentence = line.split(" ", 2)
            if kind in ("OSError", "ZMQError"):
                raise PortInUse(f"{sentence}. {PortInUse.__doc__}")
            raise MockCellFailed(sentence)
        raise MockCellFailed(f"The mock cell's {name} process did not become ready; its messages are above.")


def _read_line(stream: IO[str] | None, deadline: float) -> str:
    """The next line, or nothing when the stream ends or the deadline passes."""
    assert stream is not None
    while (left := deadline - time.monotonic()) > 0:
        if select.select([stream], [], [], left)[0]:
            return stream.readline().strip()
    return ""
