"""Trials of a policy on an arm: begin from rest with the object in sight, run, judge, and count honestly."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from contract.messages import GripperCommand, RobotState
from contract.task_spec import TaskSpec
from robot_runtime.bridge_client import BridgeClient, BridgeFaulted, BridgeLost, BridgeRefused
from robot_runtime.loop import LoopStatistics, ObjectSource, PolicyLoop, StaleEstimate, Tick
from robot_runtime.policy import Actor, PolicyRunner
from safety.faults import LatchedFault

SETTLED_SAMPLES = 5
SETTLED_SPREAD_M = 0.004
"""The object counts as at rest once this many different measurements lie this close to their mean."""

SETTLE_TIMEOUT_S = 5.0
GRIPPER_TIMEOUT_S = 5.0
EXTRA_HOLD_S = 0.5
"""Held this much longer than the task asks, since the estimate may call the object lifted a little early."""

LATE_S = 0.05
"""The state that a trial ends with is a little older than its end."""


class NothingInSight(RuntimeError):
    """The object cannot be seen at rest, so no trial begins. Put it into the work area, in the camera's view."""


class GripperStuck(RuntimeError):
    """The gripper did not open. Look at the gripper, then start again."""


@dataclass(frozen=True)
class Trial:
    """One trial. Times in robot seconds. success: None until judged. failure: one sentence, or None.

    began_s: robot time when the arm was armed. duration_s: from then to the end, or to the success once judged.
    """

    index: int
    seed: int
    success: bool | None
    failure: str | None
    began_s: float
    duration_s: float
    believed_success: bool
    faults: int
    loop: LoopStatistics

    @staticmethod
    def not_begun(index: int, seed: int, failure: str) -> Trial:
        """A trial that failed before its first action."""
        return Trial(index, seed, False, failure, 0.0, 0.0, False, 0, LoopStatistics())

    def judged(self, success: bool, success_stamp: float | None = None) -> Trial:
        """This trial with its verdict. success_stamp: robot time of the success, where known; after the end is late."""
        needed_s = self.duration_s if success_stamp is None else success_stamp - self.began_s
        success &= needed_s <= self.duration_s + LATE_S
        duration_s = min(needed_s, self.duration_s)
        return replace(self, success=success, failure=None if success else self.failure, duration_s=duration_s)

    def as_dict(self) -> dict[str, Any]:
        """For the report."""
        plain = {k: v for k, v in asdict(self).items() if k != "loop"}
        loop = self.loop
        age_s = float(np.mean(loop.object_age_s)) if loop.object_age_s else None
        counts = {name: getattr(loop, name) for name in ("ticks", "skipped_ticks", "clipped", "refused")}
        return {
            **plain,
            **counts,
            "object_age_s": age_s,
            "jitter_ms": loop.jitter_ms(),
            "notes": sorted(set(loop.notes)),
        }


@dataclass
class LiftBelief:
    """Whether the robot itself takes the task for done: the object held, lifted, and still for long enough."""

    spec: TaskSpec
    since: float | None = None
    highest_m: float = -math.inf
    ever_held: bool = False
    ever_closed: bool = False
    done: bool = False
    nearest_m: float = field(default=math.inf)

    def watch(self, tick: Tick) -> bool:
        """Note one tick; true once there is nothing left to do."""
        seen, position = tick.seen, tick.seen.pose_base_object.position
        height = float(position[2]) - self.spec.object_width_m / 2
        reach = float(np.linalg.norm(position - tick.state.pose_base_tcp.position))
        self.nearest_m = min(self.nearest_m, reach)
        self.ever_held |= seen.held
        self.ever_closed |= tick.decision.closed
        if seen.held:
            self.highest_m = max(self.highest_m, height)
        speed = float(np.linalg.norm(tick.state.v_base_tcp[:3]))
        up = seen.held and height >= self.spec.lift_height_m and speed < self.spec.still_speed_m_s
        if not up:
            self.since = None
        elif self.since is None:
            self.since = tick.state.stamp
        held_s = 0.0 if self.since is None else tick.state.stamp - self.since
        self.done |= held_s >= self.spec.hold_s
        return held_s >= self.spec.hold_s + EXTRA_HOLD_S

    def explain(self) -> str:
        """Why the task is not done, as far as the robot can tell."""
        name = self.spec.object_name
        if self.done:
            return f"The robot took the {name} for lifted, the judge did not."
        if self.ever_held:
            return f"The {name} was held but lifted {100 * self.highest_m:.1f} cm at most, or not held still up there."
        if self.ever_closed:
            return f"The gripper closed without holding the {name}; the tool came within {100 * self.nearest_m:.1f} cm."
        return f"The gripper never closed; the tool came within {100 * self.nearest_m:.1f} cm of the {name}."


def go_to_start(
    client: BridgeClient, spec: TaskSpec, looked_at: Callable[[LatchedFault], bool] = lambda fault: False
) -> RobotState:
    """Stop, open the gripper, rise and drive to the start pose, clearing a latched fault first; a second try if that
    itself ends in a fault. Whatever ends it early stops the arm. looked_at: as `TrialRunner`'s.
    Raises BridgeFaulted, GripperStuck."""
    try:
        with contextlib.suppress(BridgeFaulted):
            return _go_to_start(client, spec, looked_at)
        return _go_to_start(client, spec, looked_at)
    except BaseException:
        with contextlib.suppress(BridgeLost, BridgeRefused, BridgeFaulted):
            client.stop()
        raise


def _go_to_start(client: BridgeClient, spec: TaskSpec, looked_at: Callable[[LatchedFault], bool]) -> RobotState:
    client.stop()
    if (fault := client.status().fault) is not None:
        client.recover(by_person=looked_at(fault))
    client.gripper(GripperCommand(False, spec.gripper_force_n))
    begin = client.latest().stamp
    wide_enough = 0.9 * spec.gripper_open_m
    while (state := client.latest()).gripper_width < wide_enough or state.gripper_stamp < begin:
        if state.stamp - begin > GRIPPER_TIMEOUT_S:
            raise GripperStuck(f"The gripper opened only to {1e3 * state.gripper_width:.0f} mm: look at it.")
        client.wait_until(state.stamp + spec.period_s)
    client.move_home(spec.start_q_rad)
    return client.latest()


class TrialRunner:
    """Runs trials of one policy through one bridge."""

    def __init__(
        self,
        client: BridgeClient,
        objects: ObjectSource,
        spec: TaskSpec,
        actor: Actor,
        looked_at: Callable[[LatchedFault], bool] = lambda fault: False,
    ) -> None:
        """looked_at: asked before a latched fault is cleared, whether a person has looked at the arm."""
        self.client, self.spec = client, spec
        self._looked_at = looked_at
        self._objects = objects
        self._loop = PolicyLoop(client, objects, PolicyRunner(spec, actor))

    def go_to_start(self) -> RobotState:
        """As the function of that name."""
        return go_to_start(self.client, self.spec, self._looked_at)

    def wait_for_object(self) -> None:
        """Returns once the object lies still in sight, from measurements made after now. Raises NothingInSight."""
        begin = self.client.latest().stamp
        stamps: list[float] = []
        positions: list[np.ndarray] = []
        state = self.client.latest()
        while state.stamp - begin < SETTLE_TIMEOUT_S:
            seen = self._objects.latest(state)
            if seen is not None and seen.stamp > begin and not seen.held and seen.stamp not in stamps[-1:]:
                stamps.append(seen.stamp)
                positions.append(seen.pose_base_object.position)
                recent = np.array(positions[-SETTLED_SAMPLES:])
                spread = np.linalg.norm(recent - recent.mean(0), axis=-1).max()
                if len(recent) == SETTLED_SAMPLES and spread < SETTLED_SPREAD_M:
                    return
            state = self.client.wait_until(state.stamp + 0.01)
        raise NothingInSight(
            f"The {self.spec.object_name} was seen {len(stamps)} times in {SETTLE_TIMEOUT_S:g} s and not at rest:"
            " put it into the work area, in the camera's view."
        )

    def run(
        self,
        index: int,
        seed: int,
        show: Callable[[Tick], bool | None] = lambda tick: None,
        stop_asked: Callable[[], bool] = lambda: False,
        extra_s: float = 0.0,
    ) -> Trial:
        """One trial from the start pose, arm disarmed before and after; not yet judged.

        show: called after every tick; true ends the trial. stop_asked: looked at on every tick. extra_s: it may take
        so much longer than the task card's horizon. Raises OperatorStopped, BridgeLost.
        """
        belief = LiftBelief(self.spec)
        failure: str | None = None
        faults_before = self.client.status().counters.faults
        self.client.arm()
        begin = self.client.latest().stamp

        def finished(tick: Tick) -> bool:
            over = bool(show(tick))
            return belief.watch(tick) or over

        try:
            self._loop.run(self.spec.horizon + round(extra_s * self.spec.rate_hz), finished, stop_asked)
        except (StaleEstimate, BridgeFaulted) as error:
            failure = str(error)
        except BaseException:
            with contextlib.suppress(BridgeLost, BridgeRefused, BridgeFaulted):
                self.client.stop()
            raise
        duration_s = self.client.latest().stamp - begin
        self.client.stop()
        return Trial(
            index=index,
            seed=seed,
            success=None,
            failure=failure or belief.explain(),
            began_s=begin,
            duration_s=duration_s,
            believed_success=belief.done and failure is None,
            faults=self.client.status().counters.faults - faults_before,
            loop=self._loop.statistics,
        )


def wilson_interval(successes: int, trials: int, z: float = 1.959964) -> tuple[float, float]:
    """95 % interval of a success rate. Wilson, JASA 22 (1927)."""
    if trials == 0:
        return 0.0, 1.0
    rate = successes / trials
    centre = rate + z * z / (2 * trials)
    spread = z * math.sqrt(rate * (1 - rate) / trials + z * z / (4 * trials * trials))
    scale = 1 + z * z / trials
    return max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale)


def summary(trials: list[Trial], wall_s: float) -> dict[str, Any]:
    """The report of all judged trials. cycle_time_s: mean robot time of the successful ones."""
    judged = [trial for trial in trials if trial.success is not None]
    successes = [trial for trial in judged if trial.success]
    low, high = wilson_interval(len(successes), len(judged))
    loop = LoopStatistics()
    for trial in trials:
        loop.add(trial.loop)
    return {
        "trials": len(judged),
        "successes": len(successes),
        "success_rate": len(successes) / len(judged) if judged else 0.0,
        "wilson_low": low,
        "wilson_high": high,
        "clipped": loop.clipped,
        "refused": loop.refused,
        "cycle_time_s": float(np.mean([t.duration_s for t in successes])) if successes else None,
        "loop_jitter_ms": loop.jitter_ms(),
        "skipped_ticks": loop.skipped_ticks,
        "object_age_s": float(np.mean(loop.object_age_s)) if loop.object_age_s else None,
        "wall_s": round(wall_s, 1),
        "per_trial": [trial.as_dict() for trial in trials],
    }
