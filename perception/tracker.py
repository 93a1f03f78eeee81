"""Sightings and robot states to one belief about one object: filtered while seen, carried by the tool while held."""

from __future__ import annotations

import bisect
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from contract.grasp import REACH_M, attach, is_holding, within_reach
from contract.messages import ObjectState, RobotState
from contract.poses import Pose, slerp
from contract.task_spec import TaskSpec
from perception.object_belief import Belief, Sighting, stepped
from perception.object_filter import Candidate, Shape, Track, begun, predicted

HISTORY_S = 2.0
LATEST_S = 1.0
"""A sighting that comes so much later than a newer one is not taken in any more."""
_SIGHTINGS_TO_LOSE = 4
"""As often in a row a held object is seen further than `REACH_M` from where the tool should carry it before it counts
as lost."""
_ALIKE_M = 0.02
"""What is seen so near to a remembered object of the same looks is that one."""
_RELEASE_SPREAD = np.array([0.005, 0.005, 0.005, 0.1, 0.1, 0.1]) ** 2
"""What letting go adds to the uncertainty: the object may have shifted between the fingers."""
_KEPT_INNOVATIONS = 20_000


@dataclass(frozen=True)
class _Film:
    """The sightings of the last LATEST_S in order. before: the belief they add to. beliefs: after each of them."""

    before: Belief | None
    sightings: tuple[Sighting, ...] = ()
    beliefs: tuple[Belief | None, ...] = ()

    @property
    def belief(self) -> Belief | None:
        """After all of them."""
        return self.beliefs[-1] if self.beliefs else self.before

    @property
    def newest(self) -> float:
        """Stamp of the last."""
        return self.sightings[-1].stamp if self.sightings else -np.inf

    def with_sighting(self, shape: Shape, apart_m: float, sighting: Sighting) -> _Film:
        """The film with one more, wherever it belongs; the same film where it comes too late or twice."""
        if sighting.stamp < self.newest - LATEST_S:
            return self
        order = sighting.order()
        place = bisect.bisect_left(self.sightings, order, key=Sighting.order)
        if place < len(self.sightings) and self.sightings[place].order() == order:
            return self
        sightings = (*self.sightings[:place], sighting, *self.sightings[place:])
        beliefs = list(self.beliefs[:place])
        belief = beliefs[-1] if beliefs else self.before
        for one in sightings[place:]:
            belief = stepped(shape, apart_m, belief, one)
            beliefs.append(belief)
        settled = sum(one.stamp < sightings[-1].stamp - LATEST_S for one in sightings)
        before = beliefs[settled - 1] if settled else self.before
        return _Film(before, sightings[settled:], tuple(beliefs[settled:]))


class ObjectTracker:
    """Belief about one object. Thread-safe: camera and robot may report from different threads.

    Everything is ordered by robot-time stamps of when it was measured, never by when it was reported: a sighting that
    arrives late is put where it belongs, and those after it are taken in again.

    innovations: normalised innovation squared of each sighting that came in order, chi-square distributed with as many
    degrees of freedom as `shape.dimensions` if what measures is honest about its covariance.
    """

    def __init__(self, spec: TaskSpec) -> None:
        self._spec = spec
        self.shape = Shape.of(spec)
        self.innovations: deque[float] = deque(maxlen=_KEPT_INNOVATIONS)
        self._apart_m = min(spec.half_size_m)
        self._lock = threading.RLock()
        self._arriving = threading.Lock()
        self._states: deque[RobotState] = deque()
        self._film = _Film(None)
        self._not_before = -np.inf
        self._hold: tuple[Pose, Track] | None = None  # T_tcp_object, and what was believed at the grasp
        self._lost_grip = False
        self._sightings_elsewhere = 0

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
                if self._hold is not None:
                    self._release(state)
            elif self._hold is None and not self._lost_grip and self._belief is not None:
                track = predicted(self.shape, self._belief.ours, state.stamp)
                pose = track.mean(self.shape)
                if within_reach(state.pose_base_tcp, pose):
                    self._hold = attach(state.pose_base_tcp, pose), track
                    self._sightings_elsewhere = 0

    def see(self, stamp: float, candidates: Sequence[Candidate]) -> None:
        """Takes in what one frame of that robot time shows: everything in it that may be the object, in any order.

        Dropped are frames from before a release or `forget`, later than LATEST_S, and such as come twice.
        """
        if not candidates:
            return
        sighting = Sighting(stamp, tuple(candidates))
        with self._arriving:
            while not self._taken_in(sighting):
                pass

    def belief(self, state: RobotState | None = None) -> ObjectState | None:
        """Where the object is at `state`, or None before the first sight; without a state, where it was last seen.

        Its stamp stays that of the last sighting; while held, the object is where the tool carries it, seen or not.
        """
        with self._lock:
            if state is not None:
                self.see_robot(state)
            belief, held = self._belief, self._hold
            if belief is None:
                return None
            if held is None:
                stamp = belief.ours.stamp
                track = belief.ours if state is None else predicted(self.shape, belief.ours, state.stamp)
                pose = track.mean(self.shape)
            else:
                now = state if state is not None else self._states[-1]
                pose, stamp, track = now.pose_base_tcp @ held[0], now.stamp, held[1]
            name, covariance = self._spec.object_name, track.covariance(self.shape)
            return ObjectState(stamp, name, pose, covariance, track.confidence, held is not None)

    def forget(self) -> None:
        """Drops the belief, as when somebody else has moved the object. Robot states are kept."""
        with self._lock:
            self._hold = None
            self._start_anew(None, self._states[-1].stamp if self._states else -np.inf)

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

    @property
    def _belief(self) -> Belief | None:
        return self._film.belief

    def _taken_in(self, sighting: Sighting) -> bool:
        """One try; False where the belief was begun anew meanwhile.

        The filter works unlocked on what nobody else changes: a late sighting must not keep the control loop waiting.
        """
        with self._lock:
            if self._hold is not None:
                self._compare_with_hold(sighting)
                return True
            film, not_before = self._film, self._not_before
        if sighting.stamp <= not_before:
            return True
        longer = film.with_sighting(self.shape, self._apart_m, sighting)
        with self._lock:
            if self._film is not film:
                return False
            self._film = longer
            self._note_innovation(film, sighting)
        return True

    def _note_innovation(self, before: _Film, sighting: Sighting) -> None:
        track = None if self._belief is None else self._belief.ours
        if track is not None and track.nis is not None and before.newest < sighting.stamp == track.stamp:
            self.innovations.append(track.nis)

    def _start_anew(self, belief: Belief | None, stamp: float) -> None:
        """From here on only what was seen after `stamp` counts."""
        self._film, self._not_before = _Film(belief), stamp

    def _release(self, state: RobotState) -> None:
        assert self._hold is not None
        T_tcp_object, track = self._hold
        pose = state.pose_base_tcp @ T_tcp_object
        spread = np.diag(_RELEASE_SPREAD[: self.shape.dimensions])
        let_go = Candidate(pose, track.covariance(self.shape) + spread, track.confidence)
        self._hold = None
        self._start_anew(Belief(begun(self.shape, state.stamp, let_go), self._others()), state.stamp)

    def _compare_with_hold(self, sighting: Sighting) -> None:
        """Ends a hold that the camera contradicts several times in a row: the object slipped out of the fingers."""
        tool = self.tool_at(sighting.stamp)
        if tool is None or self._hold is None:
            return
        others = [track.mean(self.shape).position for track in self._others()]
        places = [(one, one.pose_base_object.position) for one in sighting.candidates]
        ours = [(one, at) for one, at in places if all(np.linalg.norm(at - other) > _ALIKE_M for other in others)]
        if not ours:
            return
        carried = (tool @ self._hold[0]).position
        away_m, nearest = min((float(np.linalg.norm(at - carried)), k) for k, (_, at) in enumerate(ours))
        self._sightings_elsewhere = self._sightings_elsewhere + 1 if away_m > REACH_M else 0
        if self._sightings_elsewhere >= _SIGHTINGS_TO_LOSE:
            self._hold, self._lost_grip = None, True
            there = begun(self.shape, sighting.stamp, ours[nearest][0])
            self._start_anew(Belief(there, self._others()), sighting.stamp)

    def _others(self) -> tuple[Track, ...]:
        return () if self._belief is None else self._belief.others
