"""What a launch program starts around itself, and ends with itself: the cell's lock, a mock cell, a bridge."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

from robot_runtime.cell import Cell
from robot_runtime.locks import Taken, exclusive

BRIDGE_START_S = 60.0
BRIDGE_STOP_S = 8.0
_PR_SET_PDEATHSIG, _LIBC = 1, ctypes.CDLL(None)
_REPOSITORY = Path(__file__).resolve().parent.parent


class CellBusy(RuntimeError):
    """Another program uses this cell. Wait for it or stop it."""


class BridgeDidNotStart(RuntimeError):
    """The bridge could not start; the sentence is its own."""


def end_with_parent() -> None:
    """To be called in a started process: it is asked to stop when the one that started it ends, however that ends."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


@contextlib.contextmanager
def cell_lock(cell: Cell) -> Iterator[None]:
    """One program at a time commands a cell. Raises CellBusy with the process that does."""
    with contextlib.ExitStack() as held:
        try:
            held.enter_context(exclusive(cell.name))
        except Taken as error:
            raise CellBusy(f"Cell '{cell.name}' is in use by process {error.holder}: wait for it or stop it.") from None
        yield


@contextlib.contextmanager
def bridge(cell: Cell, cell_argument: str, show: Callable[[str], None]) -> Iterator[None]:
    """A bridge for this cell: the one that already runs, or on this machine a new one that ends with the block.

    show: called from a thread with every line the bridge prints. Raises BridgeDidNotStart.
    """
    if listens(cell.bridge.host, cell.bridge.command_port):
        yield
        return
    if not cell.bridge.host.startswith("127."):
        raise BridgeDidNotStart(
            f"No bridge answers at {cell.command_endpoint}: start `launch/bridge.py` on the machine next to the robot."
        )
    process = _start_bridge(cell_argument)
    try:
        _await_serving(process)
        threading.Thread(target=_pass_on, args=(process, show), name="bridge-output", daemon=True).start()
        yield
    finally:
        process.terminate()
        try:
            process.wait(BRIDGE_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def listens(host: str, port: int) -> bool:
    """Whether anything answers there."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        return probe.connect_ex((host, port)) == 0


def _start_bridge(cell_argument: str) -> subprocess.Popen[str]:
    path = os.pathsep.join(filter(None, [str(_REPOSITORY), os.environ.get("PYTHONPATH")]))
    return subprocess.Popen(
        [sys.executable, "-m", "robot_runtime.bridge_server", "--cell", cell_argument],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,  # Ctrl-C at the terminal is this program's to handle: it stops the arm first
        preexec_fn=end_with_parent,
        env={**os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1"},
    )


def _await_serving(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    last: deque[str] = deque(maxlen=1)
    timer = threading.Timer(BRIDGE_START_S, process.kill)
    timer.start()
    try:
        for line in process.stdout:
            if line.startswith("bridge: serving"):
                return
            if line.strip():
                last.append(line.strip().removeprefix("bridge: "))
    finally:
        timer.cancel()
    process.wait()
    raise BridgeDidNotStart(last[0] if last else f"The bridge did not start within {BRIDGE_START_S:.0f} s.")


def _pass_on(process: subprocess.Popen[str], show: Callable[[str], None]) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        show(line.rstrip())


class Interrupts:
    """Ctrl-C and SIGTERM end the program once, in order; while it cleans up, further ones are only answered."""

    def __init__(self) -> None:
        self.begun_s: float | None = None
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._interrupt)

    def _interrupt(self, *_: object) -> None:
        if self.begun_s is not None:
            print(f"\nstopping (for {time.monotonic() - self.begun_s:.0f} s) ...", file=sys.stderr, flush=True)
            return
        self.begun_s = time.monotonic()
        raise KeyboardInterrupt
