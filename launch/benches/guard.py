"""Random and adversarial setpoints through the guard: whether all that passes keeps every limit, what that costs, and
how smooth the reference behind it stays."""

from __future__ import annotations

import gc
import json
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

import _reports
from contract.messages import Setpoint
from contract.poses import Pose, quat_from_axis_angle, quat_multiply
from contract.tasks import LIFT_CUBE
from robot_runtime.cell import load_cell
from robot_runtime.cell_limits import guard_limits, reference_limits
from robot_runtime.reference import ReferenceLimits, SmoothReference
from safety.guard import GuardLimits, Measured, Trail, Verdict, judge, violations
from sim_training.envs.kinematics import forward_with_jacobian

AT_ONCE = 200
"""Arms whose kinematics are computed together; what the first of them is told goes on to a reference."""


@dataclass(frozen=True)
class Arguments:
    """How many."""

    sequences: int = 20_000
    """Of setpoints, each to an arm somewhere else."""
    length: int = 8
    """Setpoints in each."""
    seed: int = 0
    """Of everything."""
    workers: int = 1
    """Processes. More find more faults in the same time; costs are those of a busy machine then."""
    cell: str = "mock"
    """Whose limits."""
    report: Path | None = None
    """Also write the figures here."""


class Adversary:
    """Makes setpoints: what a policy sends, and what nobody should. Everything from one generator."""

    def __init__(self, rng: np.random.Generator, limits: GuardLimits):
        self._rng, self._limits = rng, limits

    def setpoint(self, before: Setpoint, sequence: int, now: float) -> Setpoint:
        """The next one after `before`, at robot time `now`."""
        rng, period = self._rng, self._limits.period_s
        kind = rng.integers(12)
        spread = (0.012, 0.012, 0.012, 0.05, 0.3, 3.0, 1e6, 0.0, 0.012, 0.012, 0.012, 1e300)[kind]
        position = before.pose_base_tcp.position + spread * rng.uniform(-1, 1, 3)
        turn = rng.uniform(-1, 1, 3) * (0.06 if kind < 3 else np.pi)
        quaternion = quat_multiply(quat_from_axis_angle(turn), before.pose_base_tcp.quaternion)
        twist = rng.uniform(-1, 1, 6) * (0.0, 0.2, 5.0, 1e6)[rng.integers(4)]
        stamp = now + period * rng.uniform(-1, 2)
        if kind == 8:
            values = [position, quaternion, twist]
            values[rng.integers(3)][rng.integers(3)] = (np.nan, np.inf, -np.inf)[rng.integers(3)]
        elif kind == 9:
            quaternion = quaternion * rng.uniform(0, 3)
        elif kind == 10:
            sequence, stamp = sequence - int(rng.integers(0, 3)), now + rng.uniform(-10, 10)
        return Setpoint(stamp, sequence, Pose(position, quaternion), twist)


def run(arguments: Arguments) -> int:
    """Send them; returns the exit code, 1 if a limit was broken."""
    parts = range(-(-arguments.sequences // AT_ONCE))
    seen = _Findings()
    with ProcessPoolExecutor(arguments.workers, get_context("spawn")) as pool:
        found = pool.map(partial(_part, arguments), parts)
        for part in tqdm(found, total=len(parts), unit_scale=AT_ONCE, unit="sequence", mininterval=2.0):
            seen.add(part)
    figures = seen.figures(reference_limits(load_cell(arguments.cell)))
    print(json.dumps(figures, indent=1))
    _reports.write(arguments.report, figures)
    return int(bool(figures["violations"]) or not figures["reference_within_limits"])


def _part(arguments: Arguments, part: int) -> _Findings:
    """AT_ONCE sequences, whichever process sends them."""
    torch.set_num_threads(1)
    gc.freeze()  # as the bridge does
    cell, seen = load_cell(arguments.cell), _Findings()
    rng = np.random.default_rng((arguments.seed, part))
    _send(rng, guard_limits(cell, LIFT_CUBE.period_s), reference_limits(cell), arguments.length, seen)
    return seen


class _Findings:
    """What came of all of them."""

    def __init__(self) -> None:
        self.microseconds: list[float] = []
        self.outcomes: Counter[str] = Counter()
        self.violations: Counter[str] = Counter()
        self.acceleration, self.jerk = np.zeros(2), np.zeros(2)

    def add(self, other: _Findings) -> None:
        """Another part's."""
        self.microseconds += other.microseconds
        self.outcomes += other.outcomes
        self.violations += other.violations
        self.acceleration = np.maximum(self.acceleration, other.acceleration)
        self.jerk = np.maximum(self.jerk, other.jerk)

    def note(self, verdict: Verdict, broken: tuple[str, ...]) -> None:
        """Count one."""
        self.violations.update(broken)
        if verdict.refusal is not None:
            self.outcomes[f"refused: {verdict.refusal.name}"] += 1
        self.outcomes.update(f"clipped: {note.split(':')[0]}" for note in verdict.clipped)
        self.outcomes["passed unchanged"] += verdict.setpoint is not None and not verdict.clipped

    def figures(self, reference: ReferenceLimits) -> dict[str, Any]:
        """The report."""
        p50, p99 = np.percentile(self.microseconds, [50, 99])
        within = bool((self.acceleration <= np.array(reference.acceleration) * (1 + 1e-6)).all())
        within = within and bool((self.jerk <= np.array(reference.jerk) * (1 + 1e-6)).all())
        return {
            "setpoints": len(self.microseconds),
            "violations": sum(self.violations.values()),
            "violated": dict(self.violations),
            "cost_us_p50": float(p50),
            "cost_us_p99": float(p99),
            "reference_within_limits": within,
            "acceleration_peak": self.acceleration.tolist(),
            "acceleration_limit": list(reference.acceleration),
            "jerk_peak": self.jerk.tolist(),
            "jerk_limit": list(reference.jerk),
            "outcomes": dict(self.outcomes.most_common()),
        }


def _send(
    rng: np.random.Generator, limits: GuardLimits, reference: ReferenceLimits, length: int, seen: _Findings
) -> None:
    """AT_ONCE sequences, to arms that follow by half, and are pushed now and then."""
    adversary = Adversary(rng, limits)
    q = rng.uniform(limits.joints.q_low, limits.joints.q_high, (AT_ONCE, 7))
    arms = _measured(q, rng)
    trails = [Trail(Setpoint(0.0, -1, arm.pose_base_tcp, np.zeros(6))) for arm in arms]
    followed = SmoothReference(arms[0].pose_base_tcp, 0.0, reference)
    now = 0.0
    for sequence in range(length):
        now += limits.period_s * rng.uniform(0.2, 4.0 if rng.integers(5) == 0 else 1.2)
        for row, arm in enumerate(arms):
            asked = adversary.setpoint(trails[row].previous, sequence, now)
            began = time.perf_counter_ns()
            with np.errstate(all="ignore"):
                verdict = judge(limits, asked, trails[row], arm, now)
            seen.microseconds.append((time.perf_counter_ns() - began) / 1e3)
            broken: tuple[str, ...] = ()
            if verdict.setpoint is not None:
                broken = violations(limits, verdict.setpoint, trails[row], arm, now)
                trails[row] = trails[row].extended(verdict.setpoint, now)
            seen.note(verdict, broken)
            if row == 0:
                _follow(followed, verdict, now, limits.coast_s, seen)
        steps = np.array([_step(arm, trail) for arm, trail in zip(arms, trails, strict=True)])
        jacobians = np.array([arm.jacobian for arm in arms])
        inverse = np.linalg.pinv(jacobians, rcond=0.05)
        pushed = 0.02 * rng.standard_normal((AT_ONCE, 7)) * (rng.random((AT_ONCE, 1)) < 0.1)
        q = q + 0.5 * np.einsum("nij,nj->ni", inverse, steps) + pushed
        arms = _measured(q, rng)


def _follow(reference: SmoothReference, verdict: Verdict, now: float, coast_s: float, seen: _Findings) -> None:
    """Advance to `now` by milliseconds, noting acceleration and jerk, then take the new goal."""
    before, at = reference.reference.acceleration_base_tcp, reference.now
    for t in np.arange(at + 0.001, now, 0.001):
        acceleration = reference.advance(float(t)).acceleration_base_tcp
        for part, axes in enumerate((slice(0, 3), slice(3, 6))):
            seen.acceleration[part] = max(seen.acceleration[part], float(np.linalg.norm(acceleration[axes])))
            change = float(np.linalg.norm(acceleration[axes] - before[axes])) / 0.001
            seen.jerk[part] = max(seen.jerk[part], change)
        before = acceleration
    if verdict.setpoint is not None:
        setpoint = verdict.setpoint
        reference.set_goal(setpoint.pose_base_tcp, max(setpoint.stamp, now), setpoint.twist_base_tcp, coast_s)


def _step(arm: Measured, trail: Trail) -> np.ndarray:
    """From where the tool is to where it was told to be, translation only. Shape: (6,)"""
    return np.concatenate([trail.previous.pose_base_tcp.position - arm.pose_base_tcp.position, np.zeros(3)])


def _measured(q: np.ndarray, rng: np.random.Generator) -> list[Measured]:
    """Arms in those joint poses, some of them pressed by something. Shape: (N, 7)"""
    pose, jacobian = forward_with_jacobian(torch.tensor(q))
    positions, quaternions, jacobians = pose.position.numpy(), pose.quaternion.numpy(), jacobian.numpy()
    forces = 30 * rng.standard_normal((len(q), 3)) * (rng.random((len(q), 1)) < 0.3)
    return [
        Measured(Pose(positions[row], quaternions[row]), q[row], jacobians[row], forces[row]) for row in range(len(q))
    ]
