"""The arm from pose to pose through the guard, while pictures come in: straight, slow, and at rest where it looks."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Literal, TypeVar

import numpy as np

from calibration.surroundings import pose_at
from contract.messages import RobotState, Setpoint
from contract.poses import Pose, quat_rotate, rotation_between, slerp
from contract.tasks import LIFT_CUBE
from perception.camera import Camera, CameraStalled, Frame
from perception.estimator import RobotClock
from robot_runtime.bridge_client import BridgeClient

SPEED_M_S, TURN_RAD_S = 0.20, 1.0
RAMP_S = 0.3
"""From rest to that speed."""
REST_M_S, REST_RAD_S = 0.003, 0.012
REST_TICKS = 3
LONGEST_SETTLING_S = 2.0
FRAMES = 2
"""Pictures of each pose."""
SILENT_S = 3.0
"""Wall time without a picture after which the camera is lost."""
LATEST_S = 6.0
"""Robot time within which pictures must come that were taken since the arm rests."""
SWAY_M, SWAY_S, SWAYS = 0.04, 1.6, 1.5
_HOST_MARGIN_S = 0.15
_KEPT = 4000
Thought = TypeVar("Thought")


class Drive:
    """Sends a setpoint every period, whatever it waits for, and keeps the pictures and the tool's way.

    clock: whose time the camera's stamps are, as in the cell file.
    """

    def __init__(self, client: BridgeClient, camera: Camera, clock: Literal["host", "robot"]) -> None:
        self.client, self.camera = client, camera
        self.period_s = LIFT_CUBE.period_s
        self._clock, self._robot_clock = clock, RobotClock()
        self._frames: deque[tuple[float, Frame]] = deque(maxlen=100)
        self._way: deque[tuple[float, Pose]] = deque(maxlen=_KEPT)
        self._number: int | None = None
        self._sent, self._due = 0, 0.0
        self._goal: Pose
        self._commanded: Pose
        self._heard_s = 0.0

    def begin(self, q: np.ndarray) -> None:
        """To a joint pose (7,), and hold there, ready for `go`."""
        self.client.stop()
        self.client.move_home(q)
        self._arm()

    def _arm(self) -> None:
        self.client.arm()
        state = self.client.latest()
        self._due, self._goal = state.stamp, self.client.status().command_base_tcp
        self._commanded = self._goal
        self._heard_s = time.monotonic()

    def tick(self, pose: Pose, twist: np.ndarray = np.zeros(6)) -> RobotState:  # noqa: B008 (never written to)
        """One setpoint, one period. twist: of the tool there, m/s and rad/s. Raises BridgeFaulted, CameraStalled."""
        state = self.client.wait_until(self._due)
        self._robot_clock.see(state.stamp, time.monotonic())
        self._sent += 1
        answer = self.client.send(Setpoint(state.stamp + self.period_s, self._sent, pose, twist))
        self._commanded = answer.pose_base_tcp
        self.client.check()
        self._goal, self._due = pose, max(self._due, state.stamp - self.period_s) + self.period_s
        self._way.append((state.stamp, state.pose_base_tcp))
        self._take_frame()
        return state

    def _take_frame(self) -> None:
        frame = self.camera.wait_newer(self._number, 0.0)
        if frame is None:
            if time.monotonic() - self._heard_s > SILENT_S:
                self.camera.read_latest(SILENT_S)
                raise CameraStalled("The camera sends no new pictures; re-plug it and run again: it goes on from here.")
            return
        self._number, self._heard_s = frame.number, time.monotonic()
        stamp = self._robot_clock.stamp_of(frame, self._clock)
        if stamp is not None:
            self._frames.append((stamp, frame))

    def go(self, goal: Pose) -> None:
        """Straight there, evenly but for its ends, and to rest, or as near as the guard lets it."""
        start = self._commanded  # which is not the last goal where the guard let the arm go no further
        way = np.concatenate([goal.position - start.position, rotation_between(start.quaternion, goal.quaternion)])
        longest_s = max(float(np.linalg.norm(way[:3])) / SPEED_M_S, float(np.linalg.norm(way[3:])) / TURN_RAD_S)
        seconds = max(longest_s, RAMP_S) + RAMP_S
        for share in np.linspace(0.0, 1.0, round(seconds / self.period_s) + 1)[1:]:
            done, rate = _eased(float(share), RAMP_S / seconds)
            self.tick(_between(start, goal, done), rate / seconds * way)
        rest, since = 0, self._due
        while rest < REST_TICKS and self._due < since + LONGEST_SETTLING_S:
            v = self.tick(goal).v_base_tcp
            still = np.linalg.norm(v[:3]) < REST_M_S and np.linalg.norm(v[3:]) < REST_RAD_S
            rest = rest + 1 if still else 0

    def disarmed(self, think: Callable[[], Thought]) -> Thought:
        """What `think` returns, which may take its time: no setpoint is awaited from a disarmed arm."""
        self.client.stop()
        thought = think()
        self._arm()
        return thought

    def hold_until(self, done: Callable[[], bool]) -> None:
        """Stay here until then."""
        while not done():
            self.tick(self._goal)

    def frames_at_rest(self) -> tuple[list[Frame], Pose]:
        """Pictures that were taken since the arm came to rest, and where the tool was then."""
        since = self._due - self.period_s + (_HOST_MARGIN_S if self._clock == "host" else 0.0)
        while len(found := [(stamp, frame) for stamp, frame in self._frames if stamp > since]) < FRAMES:
            self.tick(self._goal)
            if self._due > since + LATEST_S:
                raise CameraStalled(
                    f"No picture is stamped later than {LATEST_S:g} s ago: check camera.clock in the cell file."
                )
        self.tick(self._goal)  # so that the way reaches beyond the last picture
        stamps, poses = self.recorded()
        middle = float(np.mean([stamp for stamp, _ in found]))  # an arm at rest may still creep by a tenth of a mm
        return [frame for _, frame in found], pose_at(stamps, poses, middle)

    def sway(self, pose: Pose) -> list[tuple[float, Frame]]:
        """To and fro along the tool's x and y; the pictures taken meanwhile, and when (robot time)."""
        self._way.clear()
        begun = self._due
        axis = quat_rotate(pose.quaternion, np.array([0.8, 0.6, 0.0]))
        while (t := self._due - begun) < SWAYS * SWAY_S:
            ease = min(1.0, t / 0.4)
            aside = ease * SWAY_M * np.sin(2 * np.pi * t / SWAY_S)
            self.tick(Pose(pose.position + aside * axis, pose.quaternion))
        return [(stamp, frame) for stamp, frame in self._frames if stamp > begun]

    def recorded(self) -> tuple[np.ndarray, list[Pose]]:
        """Robot time (N,) and tool poses of the last ticks."""
        return np.array([stamp for stamp, _ in self._way]), [pose for _, pose in self._way]


def _eased(share: float, ramp: float) -> tuple[float, float]:
    """Part of the way after that part of the time, and its derivative: speed rises and falls evenly over `ramp`."""
    if share < ramp:
        return share**2 / (2 * ramp * (1 - ramp)), share / (ramp * (1 - ramp))
    if share > 1 - ramp:
        return 1 - (1 - share) ** 2 / (2 * ramp * (1 - ramp)), (1 - share) / (ramp * (1 - ramp))
    return (share - ramp / 2) / (1 - ramp), 1 / (1 - ramp)


def _between(a: Pose, b: Pose, share: float) -> Pose:
    return Pose(a.position + share * (b.position - a.position), np.asarray(slerp(a.quaternion, b.quaternion, share)))
