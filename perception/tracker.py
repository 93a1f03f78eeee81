"""Measurements and robot states to one belief about one object: filtered while seen, carried by the tool while held."""

from __future__ import annotations

import threading
from collections import deque

import numpy as np

from contract.grasp import REACH_M, attach, is_holding, within_reach
from contract.messages import ObjectState, RobotState
from contract.poses import Pose, quat_from_yaw, slerp, yaw_of
from contract.task_spec import TaskSpec

HISTORY_S = 2.0
_DRIFT = np.diag([0.001, 0.001, 0.001, 0.01]) ** 2
"""What an object at rest may creep in one second (m², rad²). One that is pushed moves further and is jumped to."""
_GATE = 4.0
_OUTLIERS_TO_JUMP = 2
_SIGHTINGS_TO_LOSE = 4
"""As often in a row a held object is seen further than `REACH_M` from where the tool should carry it before it counts
as lost."""
_RELEASE_SPREAD = np.diag([0.005, 0.005, 0.005, 0.1]) ** 2
"""What letting go adds to the uncertainty: the object may have shifted between the fingers."""


class ObjectTracker:
    """Belief about one object. Thread-safe: camera and robot may report from different threads.

    Everything is ordered by robot-time stamps of when it was measured, never by when it was reported.
    """

    def __init__(self, spec: TaskSpec) -> None:
        self._spec = spec
        self._lock = threading.RLock()
        self._states: deque[RobotState] = deque()
        self._mean: np.ndarray | None = None  # x, y, z, yaw
        self._covariance = np.zeros((4, 4))
        self._stamp = -np.inf
        self._confidence = 0.0
        self._outliers = 0
        self._T_tcp_object: Pose | None = None
        self._lost_grip = False
        self._sightings_elsewhere = 0

    @property
    def yaw(self) -> float:
        """Believed yaw in radians, 0 before the first sight: hint for the next measurement."""
        mean = self._mean
        return 0.0 if mean is None else float(mean[3])

    def see_robot(self, state: RobotState) -> None:
        """Notes a robot state; begins and ends the hold. States may be repeated."""
        with self._lock:
            if self._states and state.stamp <= self._states[-1].stamp:
                return
            self._states.append(state)
            while self._states[0].stamp < state.stamp - HISTORY_S:
                self._states.popleft()
            holding = bool(is_holding(self._spec, state.gripper_width, state.gripper_closed))
            if not holding:
                self._lost_grip = False
                if self._T_tcp_object is not None:
                    self._release(state)
            elif self._T_tcp_object is None and not self._lost_grip and self._mean is not None:
                pose = self._seen_pose(self._mean)
                if within_reach(state.pose_base_tcp, pose):
                    self._T_tcp_object = attach(state.pose_base_tcp, pose)
                    self._sightings_elsewhere = 0

    def see_object(
        self, stamp: float, position: np.ndarray, yaw: float, covariance: np.ndarray, confidence: float
    ) -> None:
        """Takes in one measurement: base-frame metres and radians, covariance (4, 4), robot-time stamp.

        Measurements not newer than the belief are dropped: they were taken before a release, or come twice.
        """
        measured = np.array([*position, yaw])
        with self._lock:
            if self._T_tcp_object is not None:
                self._compare_with_hold(stamp, measured, covariance, confidence)
                return
            if stamp <= self._stamp:
                return
            if self._mean is None:
                self._restart(stamp, measured, covariance, confidence)
                return
            spread = self._covariance + _DRIFT * (stamp - self._stamp)
            innovation = measured - self._mean
            innovation[3] = (innovation[3] + np.pi / 4) % (np.pi / 2) - np.pi / 4
            total = spread + covariance
            if innovation @ np.linalg.solve(total, innovation) > _GATE**2:
                self._outliers += 1
                if self._outliers >= _OUTLIERS_TO_JUMP:
                    self._restart(stamp, self._mean + innovation, covariance, confidence)
                return
            gain = spread @ np.linalg.inv(total)
            self._mean = self._mean + gain @ innovation
            self._covariance = (np.eye(4) - gain) @ spread
            self._stamp, self._confidence, self._outliers = stamp, confidence, 0

    def belief(self, state: RobotState | None = None) -> ObjectState | None:
        """The newest belief, or None before the first sight. While held, it is where the tool of `state` carries it."""
        with self._lock:
            if state is not None:
                self.see_robot(state)
            if self._mean is None:
                return None
            held = self._T_tcp_object
            if held is None:
                pose, stamp = self._seen_pose(self._mean), self._stamp
            else:
                now = state if state is not None else self._states[-1]
                pose, stamp = now.pose_base_tcp @ held, now.stamp
            name = self._spec.object_name
            return ObjectState(stamp, name, pose, self._covariance.copy(), self._confidence, held is not None)

    def forget(self) -> None:
        """Drops the belief, as when somebody else has moved the object. Robot states are kept."""
        with self._lock:
            self._mean, self._T_tcp_object, self._outliers = None, None, 0
            self._stamp = self._states[-1].stamp if self._states else -np.inf

    def tool_at(self, stamp: float) -> Pose | None:
        """Measured tool pose at that robot time, interpolated; None outside the last `HISTORY_S`."""
        with self._lock:
            states = list(self._states)
        for before, after in zip(states, states[1:], strict=False):
            if before.stamp <= stamp <= after.stamp:
                share = (stamp - before.stamp) / (after.stamp - before.stamp)
                a, b = before.pose_base_tcp, after.pose_base_tcp
                return Pose(a.position + share * (b.position - a.position), slerp(a.quaternion, b.quaternion, share))
        return None

    def _restart(self, stamp: float, mean: np.ndarray, covariance: np.ndarray, confidence: float) -> None:
        self._mean, self._covariance = mean, covariance.copy()
        self._stamp, self._confidence, self._outliers = stamp, confidence, 0

    def _release(self, state: RobotState) -> None:
        assert self._T_tcp_object is not None
        pose = state.pose_base_tcp @ self._T_tcp_object
        self._T_tcp_object = None
        mean = np.array([*pose.position, float(yaw_of(pose.quaternion))])
        self._restart(state.stamp, mean, self._covariance + _RELEASE_SPREAD, self._confidence)

    def _compare_with_hold(self, stamp: float, measured: np.ndarray, covariance: np.ndarray, confidence: float) -> None:
        """Ends a hold that the camera contradicts several times in a row: the object slipped out of the fingers."""
        tool = self.tool_at(stamp)
        if tool is None or self._T_tcp_object is None:
            return
        carried = tool @ self._T_tcp_object
        elsewhere = np.linalg.norm(measured[:3] - carried.position) > REACH_M
        self._sightings_elsewhere = self._sightings_elsewhere + 1 if elsewhere else 0
        if self._sightings_elsewhere >= _SIGHTINGS_TO_LOSE:
            self._T_tcp_object, self._lost_grip = None, True
            self._restart(stamp, measured, covariance, confidence)

    @staticmethod
    def _seen_pose(mean: np.ndarray) -> Pose:
        return Pose(mean[:3].copy(), quat_from_yaw(mean[3]))
