"""The SDK itself, and calls into it that must not hang their caller."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from perception.camera import CameraMissing


class StepTookTooLong(RuntimeError):
    """A call into the SDK did not return in its time. Re-plug the camera."""


def sdk() -> Any:
    """pyrealsense2, imported only where a camera is opened. Raises CameraMissing if it cannot load."""
    try:
        import pyrealsense2
    except ImportError as error:
        raise CameraMissing(f"The RealSense SDK cannot be loaded ({error}); run launch/setup.sh.") from error
    return pyrealsense2


def within(limit_s: float, call: Callable[[], None]) -> None:
    """Calls it in a thread of its own, for at most that long. Raises what it raises, or StepTookTooLong.

    A call that hangs in the driver of a dead device cannot be ended; its thread is left behind.
    """
    raised: list[BaseException] = []

    def run() -> None:
        try:
            call()
        except BaseException as error:  # handed to the caller
            raised.append(error)

    thread = threading.Thread(target=run, name="camera-step", daemon=True)
    thread.start()
    thread.join(limit_s)
    if thread.is_alive():
        raise StepTookTooLong(f"the SDK did not answer in {limit_s:.0f} s")
    if raised:
        raise raised[0]
