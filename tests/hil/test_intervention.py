"""A hand on a device takes the arm from a policy and gives it back, over the real wires and through the guard."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from _true_poses import TruePoses
from contract.task_spec import TaskSpec
from contract.tasks import LIFT_CUBE
from robot_runtime.loop import Tick
from robot_runtime.policy import Actor
from robot_runtime.teleoperation.device import Reading
from robot_runtime.teleoperation.intervention import LET_GO_S, Intervention, Still
from robot_runtime.trials import Trial, TrialRunner
from tests.robot_runtime.teleoperation.hands import SyntheticHand, pushing

from .conftest import WholeCell
from .scripted import ScriptedLift

pytestmark = pytest.mark.hil


class EnoughSeen(Exception):
    """Ends a trial."""


def run(
    cell: WholeCell, actor: Actor, hand: Callable[[float], Reading], spec: TaskSpec = LIFT_CUBE, ticks: int = 1000
) -> tuple[list[Tick], Trial | None]:
    """One trial with a synthetic hand that is asked what it does so many seconds after the start."""
    began: list[float] = []

    def read() -> Reading:
        now = cell.client.latest().stamp
        began.append(now)
        return hand(now - began[0])

    intervention = Intervention(actor, [SyntheticHand(read)], cell.client.latest)
    runner = TrialRunner(cell.client, TruePoses(LIFT_CUBE, cell.scoring), spec, intervention)
    runner.go_to_start()
    cell.scoring.reset(seed=3)
    runner.wait_for_object()
    intervention.start()
    began.clear()
    seen: list[Tick] = []

    def watch(tick: Tick) -> None:
        seen.append(tick)
        if len(seen) == ticks:
            raise EnoughSeen

    try:
        return seen, runner.run(0, 3, watch, extra_s=3.0)
    except EnoughSeen:
        return seen, None


def test_a_policy_is_overruled_for_a_while_goes_on_and_lifts_the_cube(whole_cell: WholeCell) -> None:
    seen, trial = run(
        whole_cell, ScriptedLift(LIFT_CUBE), lambda now: pushing(0, 1.0) if 0.5 <= now < 1.0 else Reading()
    )
    assert whole_cell.scoring.truth().success, trial
    begin = seen[0].state.stamp
    human = [tick for tick in seen if tick.decision.human]
    assert human[0].state.stamp - begin == pytest.approx(0.5, abs=2 * LIFT_CUBE.period_s)
    assert human[-1].state.stamp - begin == pytest.approx(1.0 + LET_GO_S, abs=2 * LIFT_CUBE.period_s)
    assert len(human) == 1 + human[-1].index - human[0].index, "nobody else decides meanwhile"
    aside = human[-1].state.pose_base_tcp.position - human[0].state.pose_base_tcp.position
    assert aside[1] < -0.08, "y of a tool that points down is the base's -y"
    assert trial is not None
    assert (trial.faults, trial.loop.refused) == (0, 0), trial.loop.notes


def test_the_guard_clips_a_hand_that_is_too_fast(whole_cell: WholeCell) -> None:
    hasty = replace(LIFT_CUBE, translation_scale_m=0.03)
    seen, _ = run(whole_cell, Still(), lambda now: pushing(1.0) if 0.2 <= now < 0.6 else Reading(), hasty, ticks=16)
    fast = [tick for tick in seen if tick.executed.clipped]
    assert fast
    assert all(tick.decision.human for tick in fast)
    assert any("speed" in note for tick in fast for note in tick.executed.clipped), fast[0].executed.clipped
    commands = np.array([tick.executed.pose_base_tcp.position for tick in seen])
    moved_m_s = np.linalg.norm(np.diff(commands, axis=0), axis=-1) / LIFT_CUBE.period_s
    limit = whole_cell.cell.limits.speed_m_s
    assert 0.8 * limit < np.median(moved_m_s[moved_m_s > 0.02])
    assert whole_cell.client.status().counters.limit_violations == 0
