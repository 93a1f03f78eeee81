"""The fixed-rate loop: on every tick of robot time, look, decide, command. A missed tick is counted and skipped."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from contract.messages import GripperCommand, ObjectState, RobotState, Setpoint
from robot_runtime.policy import Decision, PolicyRunner
from robot_runtime.wire import Executed


class StaleEstimate(RuntimeError):
    """The object has not been seen for longer than the task allows. Check the camera, then start again."""


class NotAtStart(RuntimeError):
    """The arm is not where the policy was trained to begin. Drive it there with `move_home`."""


class OperatorStopped(RuntimeError):
    """The operator stopped the arm."""


class Arm(Protocol):
    """The part of `BridgeClient` that the loop uses."""

    def latest(self) -> RobotState: ...
    def wait_until(self, robot_time: float) -> RobotState: ...
    def send(self, setpoint: Setpoint) -> Executed: ...
    def gripper(self, command: GripperCommand) -> None: ...
    def saw(self, seen: ObjectState) -> None: ...
    def check(self) -> None: ...


class ObjectSource(Protocol):
    """Where the object is believed to be."""

    def latest(self, state: RobotState) -> ObjectState | None:
        """The newest belief, carried along with the tool at `state` while it is held; None before the first sight."""


NEARLY = 0.4
"""Of a period: a tick that is due sooner after a late one is skipped."""
START_WITHIN_M = 0.1
"""Training begins a few centimetres around the task card's start."""


@dataclass
class LoopStatistics:
    """What one or more runs of the loop did. lateness_s: robot time from when a tick was due to its state."""

    ticks: int = 0
    skipped_ticks: int = 0
    clipped: int = 0
    refused: int = 0
    lateness_s: list[float] = field(default_factory=list)
    object_age_s: list[float] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, other: LoopStatistics) -> None:
        """Add another run's figures to these."""
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)

    def jitter_ms(self) -> dict[str, float]:
        """Lateness of the ticks: median, 95th percentile and largest, milliseconds."""
        if not self.lateness_s:
            return {"median": 0.0, "p95": 0.0, "max": 0.0}
        median, p95, largest = 1e3 * np.percentile(self.lateness_s, [50, 95, 100])
        return {"median": round(float(median), 2), "p95": round(float(p95), 2), "max": round(float(largest), 2)}


@dataclass(frozen=True)
class Tick:
    """What a watcher of the loop is shown after each tick."""

    index: int
    state: RobotState
    seen: ObjectState
    decision: Decision
    executed: Executed


class PolicyLoop:
    """Runs one policy on one arm."""

    def __init__(self, arm: Arm, objects: ObjectSource, runner: PolicyRunner) -> None:
        self._arm, self._objects, self._runner = arm, objects, runner

    def run(
        self, ticks: int, finished: Callable[[Tick], bool], stop_asked: Callable[[], bool] = lambda: False
    ) -> LoopStatistics:
        """Up to `ticks` decisions, fewer when `finished` says so. The arm must be armed; it is left holding.

        Raises NotAtStart, StaleEstimate, OperatorStopped, BridgeFaulted or BridgeLost; `statistics` holds the figures
        until then.
        """
        spec, arm, runner = self._runner.spec, self._arm, self._runner
        self.statistics = statistics = LoopStatistics()
        state = arm.latest()
        away_m = float(np.linalg.norm(state.pose_base_tcp.position - spec.start_position_m))
        if away_m > START_WITHIN_M:
            raise NotAtStart(f"The tool is {away_m:.2f} m from where '{spec.name}' begins: `move_home` first.")
        runner.start(state)
        due, told_closed = state.stamp, False
        for index in range(ticks):
            if stop_asked():
                raise OperatorStopped("Stopped by the operator.")
            state = arm.wait_until(due)
            statistics.ticks += 1
            statistics.lateness_s.append(state.stamp - due)
            seen = self._see(state, spec.max_object_age_s)
            statistics.object_age_s.append(state.stamp - seen.stamp)
            arm.saw(seen)  # before what it leads to, so that a flight record shows why
            decision = runner.decide(state, seen)
            executed = arm.send(decision.setpoint)
            runner.executed(executed.pose_base_tcp)
            if decision.closed != told_closed:
                arm.gripper(GripperCommand(decision.closed, spec.gripper_force_n))
                told_closed = decision.closed
            self._note(executed)
            arm.check()
            if finished(Tick(index, state, seen, decision, executed)):
                break
            due = self._next_due(due, spec.period_s)
        return statistics

    def _see(self, state: RobotState, max_age_s: float) -> ObjectState:
        seen = self._objects.latest(state)
        if seen is None:
            raise StaleEstimate(
                "The object has not been seen yet: check the camera and the detector, then start again."
            )
        age_s = state.stamp - seen.stamp
        if age_s > max_age_s:
            raise StaleEstimate(
                f"The {seen.name} was last seen {age_s:.2f} s ago, longer than {max_age_s:g} s: check that the camera"
                " sees it, then start again."
            )
        return seen

    def _note(self, executed: Executed) -> None:
        if executed.clipped:
            self.statistics.clipped += 1
            self.statistics.notes.extend(executed.clipped)
        if executed.refused is not None:
            self.statistics.refused += 1
            self.statistics.notes.append(executed.refused)

    def _next_due(self, due: float, period_s: float) -> float:
        """The next tick; those that have passed, or are so near that the guard would refuse them, are skipped."""
        late = self._arm.latest().stamp - (due + period_s)
        missed = max(0, int((late + NEARLY * period_s) // period_s))
        self.statistics.skipped_ticks += missed
        return due + (1 + missed) * period_s
