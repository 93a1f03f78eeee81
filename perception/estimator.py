"""Runs beside the policy loop: newest frame → detector → pose → tracker, all stamped in robot time."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from contract.messages import ObjectState, RobotState
from contract.poses import Pose
from contract.task_spec import TaskSpec
from perception.camera import Camera, CameraFrozen, Frame
from perception.detector import Detector
from perception.measurement import Measurement
from perception.measuring import measure
from perception.object_filter import Candidate
from perception.tracker import ObjectTracker

_WAIT_S = 0.2
_STAMP_PAIRS = 500
FROZEN_TOOL_M = 0.03
"""So far the tool may move before pictures, byte for byte the same, show that the camera is frozen."""


class EstimatorFailed(RuntimeError):
    """Perception stopped with an error. Correct what it says and start again."""


class RobotClock:
    """Host monotonic time to robot time, from when states arrived.

    A state arrives late, never early; the pair with the least delay is the truest. Where robot time runs slower than
    the host's, as on a busy mock cell, this does not hold: such a camera must stamp in robot time itself.
    """

    def __init__(self) -> None:
        self._offsets: deque[float] = deque(maxlen=_STAMP_PAIRS)
        self._lock = threading.Lock()

    def see(self, stamp: float, host_s: float) -> None:
        """Notes that the state of robot time `stamp` arrived at `host_s`."""
        with self._lock:
            self._offsets.append(host_s - stamp)

    def robot_time(self, host_s: float) -> float | None:
        """Robot time at that host time; None before the first state."""
        with self._lock:
            return host_s - min(self._offsets) if self._offsets else None

    def stamp_of(self, frame: Frame, clock: Literal["robot", "host"]) -> float | None:
        """Robot time of a picture, by its own stamp or by its arrival; None before the first state."""
        return frame.stamp_s if clock == "robot" else self.robot_time(frame.host_s)


@dataclass
class EstimatorStatistics:
    """What happened so far. busy_s: wall seconds spent on frames."""

    frames: int = 0
    measured: int = 0
    unseen: int = 0
    implausible: int = 0
    busy_s: float = 0.0


class Estimator:
    """Where the object is, kept up to date by a thread of its own.

    Give `on_state` every robot state as it arrives; ask `latest` at every tick. `on_estimate` is called from that
    thread after every frame, with the frame's robot time and the belief, or None where nothing was measured.
    """

    def __init__(
        self,
        spec: TaskSpec,
        camera: Camera,
        detector: Detector,
        T_base_camera: Pose,
        clock: Literal["robot", "host"],
        K: np.ndarray | None = None,
    ) -> None:
        """clock: whose time the camera's hardware stamps are; `host` maps the time of arrival instead.

        K: calibrated pinhole matrix in pixels, where the camera's own is not to be trusted. Shape: (3, 3)
        """
        self.spec, self.camera, self.detector = spec, camera, detector
        self.T_base_camera, self.clock, self.K = T_base_camera, clock, K
        self.tracker = ObjectTracker(spec)
        self.statistics = EstimatorStatistics()
        self.newest: tuple[Frame, Measurement | None] | None = None
        self.on_estimate: Callable[[float, ObjectState | None], None] = lambda stamp, seen: None
        self.robot_clock = RobotClock()
        self._newest_state_stamp = -np.inf
        self._stopping = threading.Event()
        self._failure: Exception | None = None
        self._same_since: tuple[np.ndarray, np.ndarray] | None = None  # a picture, and where the tool was
        self._thread = threading.Thread(target=self._run, name="estimator", daemon=True)

    def start(self) -> Estimator:
        """Begins to watch."""
        self._thread.start()
        return self

    def stop(self) -> None:
        """Ends the thread; the camera stays as it is."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join()

    def __enter__(self) -> Estimator:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def on_state(self, state: RobotState) -> None:
        """Notes a robot state; call it as soon as one arrives, from any thread."""
        if state.stamp > self._newest_state_stamp:
            self._newest_state_stamp = state.stamp
            self.robot_clock.see(state.stamp, time.monotonic())
        self.tracker.see_robot(state)

    def latest(self, state: RobotState | None = None) -> ObjectState | None:
        """The newest belief, carried by the tool at `state` while held; None before the first sight.

        Its age is the caller's clock minus its stamp. Raises EstimatorFailed if the thread died.
        """
        if self._failure is not None:
            raise EstimatorFailed(f"Perception stopped: {self._failure}") from self._failure
        return self.tracker.belief(state)

    def look(self, frame: Frame) -> list[tuple[Measurement, float]]:
        """Every plausible measurement in a frame, with its detection's score."""
        detections = self.detector.detect(frame.rgb)
        if not detections:
            self.statistics.unseen += 1
            return []
        believed = self.tracker.belief()
        hint = None if believed is None else believed.pose_base_object
        if self.K is not None:
            frame = replace(frame, K=self.K)
        plausible = []
        for detection in detections:
            measured = measure(self.spec, detection, frame, self.T_base_camera, hint)
            if measured is not None:
                plausible.append((measured, detection.score))
        if not plausible:
            self.statistics.implausible += 1
        return plausible

    def _run(self) -> None:
        number: int | None = None
        try:
            while not self._stopping.is_set():
                frame = self.camera.wait_newer(number, _WAIT_S)
                if frame is not None:
                    number = frame.number
                    self._take(frame)
        except Exception as error:  # handed to whoever asks next: a silent thread would look like an unseen object
            self._failure = error

    def _take(self, frame: Frame) -> None:
        began = time.perf_counter()
        stamp = self.robot_clock.stamp_of(frame, self.clock)
        if stamp is None:
            return
        self._check_it_lives(frame.rgb, stamp)
        plausible = self.look(frame)
        self.statistics.frames += 1
        if plausible:
            self.statistics.measured += 1
            self.tracker.see(stamp, [Candidate(m.pose_base_object, m.covariance, score) for m, score in plausible])
        believed = self.tracker.belief()
        self.newest = (frame, None if believed is None else self._nearest(plausible, believed))
        self.on_estimate(stamp, believed if plausible else None)
        self.statistics.busy_s += time.perf_counter() - began

    @staticmethod
    def _nearest(plausible: list[tuple[Measurement, float]], believed: ObjectState) -> Measurement | None:
        """What was measured nearest to where the object is believed, if anything was."""
        where = believed.pose_base_object.position
        measured = [one for one, _ in plausible]
        return min(measured, key=lambda one: float(np.linalg.norm(one.position - where)), default=None)

    def _check_it_lives(self, rgb: np.ndarray, stamp: float) -> None:
        """Raises CameraFrozen once the tool has moved and the picture has not changed at all."""
        tool = self.tracker.tool_at(stamp)
        if tool is None:
            return
        if self._same_since is None or not np.array_equal(rgb, self._same_since[0]):
            self._same_since = rgb, tool.position
        elif np.linalg.norm(tool.position - self._same_since[1]) > FROZEN_TOOL_M:
            raise CameraFrozen(str(CameraFrozen.__doc__))
