"""A capture thread with the newest frame, which brings its camera back when nothing comes any more."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from perception.camera import CameraFrozen, CameraMode, CameraStalled, Frame, RecordingEnded, WrongCamera
from perception.realsense.pictures import Pictures
from perception.realsense.sdk import within
from perception.realsense.sources import RESET_S, Source, source_of

SILENT_S = 3.0
"""Wall time without a frame until the stream is restarted, and until a restart has failed."""
RESTARTS_BEFORE_RESET = 2
STEP_S = 5.0
"""Longest a single call of the SDK is waited for."""
_POLL_MS = 200
_JUST_NOW_S = 1.0


@dataclass
class Recoveries:
    """What was done so far to bring the camera back, and how often frames came again."""

    restarts: int = 0
    resets: int = 0
    recovered: int = 0


class RealSenseCamera:
    """One RealSense camera: the SDK's pipeline, a capture thread, and the newest frame.

    Nothing a reader calls waits for the device. After SILENT_S without a frame the capture thread restarts the stream,
    and every third time resets the device first, for as long as nothing comes. A recording's frames wait until each
    was taken; then RecordingEnded is raised.
    """

    def __init__(
        self, address: str, serial: str, width: int, height: int, rate_hz: int, record_to: Path | None = None
    ) -> None:
        """address: as in CameraMode. The camera must carry `serial`. record_to: `.db3` file for what it sees."""
        self.mode = CameraMode(address, serial, width, height, rate_hz)
        self.recoveries = Recoveries()
        self._record_to = record_to
        self._newest: Frame | None = None
        self._taken: int | None = None
        self._arrived = threading.Condition()
        self._stopping = threading.Event()
        self._failure: Exception | None = None
        self._attempts = 0
        self._trying = self._trouble = ""
        self._refused_s = -float("inf")
        self._source: Source
        self._pictures: Pictures

    def start(self) -> RealSenseCamera:
        """Opens the camera and begins to capture. Raises CameraMissing or WrongCamera."""
        self._source = source_of(self.mode, self._record_to)
        try:
            self._begin()
        except Exception:
            self._source.close()
            raise
        self._alive_s = time.monotonic()
        self._thread = threading.Thread(target=self._capture, name="camera-capture", daemon=True)
        self._thread.start()
        return self

    def stop(self) -> None:
        """Ends capture and releases the device."""
        self._stopping.set()
        with self._arrived:
            self._arrived.notify_all()
        self._thread.join()
        with contextlib.suppress(RuntimeError):  # a dead device cannot be released
            within(STEP_S, self._source.close)

    def read_latest(self, max_age_s: float) -> Frame:
        """The newest frame.

        Raises CameraStalled if none arrived in the last `max_age_s` (CameraFrozen if only repeats did), RecordingEnded
        at the end of a recording, or WrongCamera if another camera came back.
        """
        frame = self._newest
        self._raise_failure()
        age_s = float("inf") if frame is None else time.monotonic() - frame.host_s
        if frame is None or age_s > max_age_s:
            raise self._stalled(frame, age_s)
        self._take(frame)
        return frame

    def wait_newer(self, number: int | None, timeout_s: float) -> Frame | None:
        """The newest frame as soon as its number differs from `number`; None after `timeout_s`.

        Raises RecordingEnded or WrongCamera, as `read_latest`.
        """

        def newer() -> Frame | None:
            return self._newest if self._newest is not None and self._newest.number != number else None

        with self._arrived:
            self._arrived.wait_for(lambda: self._failure or newer(), timeout_s)
            frame = newer()
        self._raise_failure()
        if frame is not None:
            self._take(frame)
        return frame

    def _take(self, frame: Frame) -> None:
        if not self._source.live:
            with self._arrived:
                self._taken = frame.number
                self._arrived.notify_all()

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _stalled(self, frame: Frame | None, age_s: float) -> CameraStalled:
        serial = self.mode.serial
        trouble = f" ({self._trouble})" if self._trouble else ""
        trying = f"{self._trying}, try {self._attempts}; or" if self._trying else "wait for it to be restarted, or"
        if frame is not None and time.monotonic() - self._refused_s < _JUST_NOW_S:
            return CameraFrozen(
                f"Camera {serial} repeats picture {frame.number} or its time for {age_s:.1f} s{trouble}; {trying}"
                " re-plug it and start again."
            )
        return CameraStalled(
            f"Camera {serial} has sent no frame for {age_s:.1f} s{trouble}; {trying} re-plug it and start again."
        )

    def _begin(self) -> None:
        self._pictures = Pictures(self._source.start(), self.mode)

    def _capture(self) -> None:
        try:
            while not self._stopping.is_set():
                frame = self._next()
                if frame is not None:
                    self._hand_over(frame)
                elif self._source.ended():
                    raise RecordingEnded(f"The recording {self.mode.address} has ended; start again, or name another.")
                elif self._source.live and time.monotonic() - self._alive_s > SILENT_S:
                    self._recover()
        except Exception as error:  # handed to whoever reads next
            with self._arrived:
                self._failure = error
                self._arrived.notify_all()

    def _next(self) -> Frame | None:
        """The next new frame; None if none came in a moment. Raises WrongCamera."""
        try:
            frames = self._source.wait(_POLL_MS)
        except RuntimeError as error:
            self._trouble = str(error)
            self._stopping.wait(_POLL_MS / 1000)
            return None
        if frames is None:
            self._trouble = self._source.trouble() or self._trouble
            return None
        frame = self._pictures.frame(frames)
        if frame is None:
            self._refused_s = time.monotonic()
        return frame

    def _hand_over(self, frame: Frame) -> None:
        self._alive_s = frame.host_s
        self.recoveries.recovered += bool(self._attempts)
        self._attempts, self._trying, self._trouble = 0, "", ""
        with self._arrived:
            self._newest = frame
            self._arrived.notify_all()
            if not self._source.live:
                self._arrived.wait_for(lambda: self._taken == frame.number or self._stopping.is_set())

    def _recover(self) -> None:
        """One rung of the ladder: stop, sometimes reset, start; each within its time, whatever became of the others."""
        self._attempts += 1
        steps: list[tuple[float, Callable[[], None]]] = [(STEP_S, self._source.stop), (STEP_S, self._begin)]
        if self._attempts % (RESTARTS_BEFORE_RESET + 1):
            self._trying = "restarting its stream"
            self.recoveries.restarts += 1
        else:
            self._trying = "resetting it"
            self.recoveries.resets += 1
            steps.insert(1, (RESET_S + STEP_S, self._source.reset))
        for limit_s, step in steps:
            try:
                within(limit_s, step)
            except RuntimeError as error:
                self._trouble = str(error)
        self._alive_s = time.monotonic()


@contextmanager
def open_camera(
    address: str, serial: str, width: int, height: int, rate_hz: int, record_to: Path | None = None
) -> Iterator[RealSenseCamera]:
    """A started camera, stopped at the end. Raises CameraMissing or WrongCamera."""
    camera = RealSenseCamera(address, serial, width, height, rate_hz, record_to).start()
    try:
        yield camera
    finally:
        camera.stop()


@contextmanager
def open_cameras(modes: Sequence[CameraMode]) -> Iterator[dict[str, RealSenseCamera]]:
    """Started cameras by serial, each with threads of its own. Raises CameraMissing or WrongCamera."""
    serials = [mode.serial for mode in modes]
    twice = sorted({serial for serial in serials if serials.count(serial) > 1})
    if twice:
        raise WrongCamera(f"Two cameras are named {', '.join(twice)}; give each its own serial in the cell file.")
    with ExitStack() as stack:
        yield {
            mode.serial: stack.enter_context(
                open_camera(mode.address, mode.serial, mode.width, mode.height, mode.rate_hz)
            )
            for mode in modes
        }
