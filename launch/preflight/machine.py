"""Checks of this machine: kernel, real-time permission, disk, keys, ports."""

from __future__ import annotations

import os
import resource
import shutil
import socket
import threading
from pathlib import Path
from typing import Literal

from _running import listens
from preflight.finding import Finding, bad, good, not_needed
from robot_runtime.bridge_client import BridgeClient, BridgeLost
from robot_runtime.cell import Cell
from robot_runtime.wire import KeysUnusable, load_keys

Bridge = Literal["serves", "none", "unclear"]

MEMLOCK_BYTES = 102_400 * 1024
"""What libfranka's documentation ("Setting up the real-time kernel") asks for."""
RTPRIO = 99
RECORD_BYTES = 8 * 1024**2
"""A flight record, generously."""
FREE_BYTES = 2 * 1024**3
"""Some hundred flight records, or an hour of episodes with pictures."""


def stands_here(cell: Cell) -> bool:
    """Whether this is the machine next to the robot, where the bridge runs."""
    with socket.socket() as probe:
        try:
            probe.bind((cell.bridge.host, 0))
        except OSError:
            return False
    return True


def kernel(cell: Cell) -> Finding:
    """A kernel with PREEMPT_RT."""
    release = f"{os.uname().sysname} {os.uname().release}"
    if cell.robot.realtime == "ignore":
        return not_needed("kernel", f"{release}; the cell says realtime: ignore")
    if not stands_here(cell):
        return not_needed("kernel", f"run this on {cell.bridge.host} too, where the bridge runs")
    flag = Path("/sys/kernel/realtime")
    if "PREEMPT_RT" in os.uname().version or (flag.is_file() and flag.read_text().strip() == "1"):
        return good("kernel", f"{release}, PREEMPT_RT")
    return bad("kernel", f"{release} has no PREEMPT_RT", "Boot one (Ubuntu: `pro enable realtime-kernel`)")


def permission(cell: Cell) -> Finding:
    """Whether control may run with real-time priority and keep its memory."""
    what = "real time"
    if cell.robot.realtime == "ignore" or not stands_here(cell):
        return not_needed(what, "as the line above")
    do = "Add `rtprio 99` and `memlock 102400` for your user to /etc/security/limits.conf and log in again"
    if not _may_be_first():
        return bad(what, f"priority {RTPRIO} is refused", do)
    memlock = resource.getrlimit(resource.RLIMIT_MEMLOCK)[0]
    if memlock != resource.RLIM_INFINITY and memlock < MEMLOCK_BYTES:
        return bad(what, f"only {memlock // 1024} kB of memory may be locked", do)
    return good(what, f"priority {RTPRIO} and locked memory are allowed")


def _may_be_first() -> bool:
    """Tried by a thread that ends at once."""
    allowed = []

    def ask() -> None:
        try:
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(RTPRIO))
        except PermissionError:
            return
        allowed.append(True)

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()
    return bool(allowed)


def disk(what: str, folder: Path) -> Finding:
    """Whether a flight record can be written there, and hundreds more."""
    existing = next(parent for parent in (folder, *folder.absolute().parents) if parent.is_dir())
    probe = existing / f".preflight.{os.getpid()}"
    try:
        try:
            probe.write_bytes(bytes(RECORD_BYTES))
        finally:
            probe.unlink(missing_ok=True)
        free = shutil.disk_usage(existing).free
    except OSError as error:
        return bad(what, f"{folder} cannot be written: {error.strerror}", "Make room, or let your user write there")
    if free < FREE_BYTES:
        return bad(what, f"only {free / 1024**3:.1f} GiB are free at {folder}", "Delete old records and episodes")
    return good(what, f"{free / 1024**3:.0f} GiB free at {folder}")


def keys(cell: Cell) -> Finding:
    """The CURVE keys: there, and nobody else's to read."""
    folder = cell.keys_folder
    if not folder.exists() and cell.bridge.host.startswith("127."):
        return not_needed("keys", "made by the bridge when it first starts")
    secrets = sorted(folder.glob("*.key_secret")) if folder.is_dir() else []
    open_to_others = [path.name for path in (folder, *secrets) if path.exists() and path.stat().st_mode & 0o077]
    if open_to_others:
        do = f"Run `chmod -R go= {folder}`, and make new keys if others use this machine"
        return bad("keys", f"{', '.join(open_to_others)} can be read by other users", do)
    try:
        load_keys(folder, "client")
    except KeysUnusable:
        return bad("keys", f"no client keys in {folder}", "Run `launch/bridge.py keys` next to the robot and copy them")
    return good("keys", f"{len(secrets)} secret keys in {folder}, nobody else's to read")


def bridge(cell: Cell) -> tuple[Finding, Bridge]:
    """Whether the bridge's ports are free, or a bridge answers there already."""
    numbers = f"{cell.bridge.command_port} and {cell.bridge.state_port}"
    where = f"{cell.bridge.host}:{cell.bridge.command_port}"
    if any(listens(cell.bridge.host, port) for port in (cell.bridge.command_port, cell.bridge.state_port)):
        try:
            with BridgeClient(cell, name="launch/doctor.py") as client:
                client.latest()
        except (BridgeLost, KeysUnusable):
            do = "Stop that program, or give this cell other ports; if it is the bridge, use its keys"
            return bad("bridge", f"something at {where} does not answer as this cell's bridge", do), "unclear"
        return good("bridge", f"serves at {where}; the robot is asked through it"), "serves"
    if not stands_here(cell):
        return bad("bridge", f"none answers at {where}", f"Run `launch/bridge.py serve` on {cell.bridge.host}"), "none"
    return good("bridge", f"none runs, and its ports {numbers} are free"), "none"
