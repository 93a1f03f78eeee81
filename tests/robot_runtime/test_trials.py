"""Success is judged by time held high, and rates come with honest intervals."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from contract.tasks import LIFT_CUBE
from robot_runtime.bridge_client import BridgeFaulted
from robot_runtime.loop import LoopStatistics
from robot_runtime.trials import EXTRA_HOLD_S, LiftBelief, Trial, go_to_start, summary, wilson_interval


def tick(stamp: float, height_m: float, held: bool = True, speed_m_s: float = 0.0, closed: bool = True) -> Any:
    position = np.array([0.5, 0.0, height_m + LIFT_CUBE.object_width_m / 2])
    pose = SimpleNamespace(position=position)
    state = SimpleNamespace(stamp=stamp, v_base_tcp=np.array([0, 0, speed_m_s, 0, 0, 0]), pose_base_tcp=pose)
    seen = SimpleNamespace(held=held, pose_base_object=pose)
    return SimpleNamespace(state=state, seen=seen, decision=SimpleNamespace(closed=closed))


def watch(belief: LiftBelief, duration_s: float, **now: Any) -> list[bool]:
    return [belief.watch(tick(stamp, **now)) for stamp in np.arange(0, duration_s, LIFT_CUBE.period_s)]


def test_a_cube_held_high_and_still_is_taken_for_lifted_only_after_the_cards_time() -> None:
    belief = LiftBelief(LIFT_CUBE)
    watch(belief, LIFT_CUBE.hold_s, height_m=0.11)
    assert not belief.done
    over = watch(belief, LIFT_CUBE.hold_s + EXTRA_HOLD_S + 0.1, height_m=0.11)
    assert belief.done
    assert over[-1]
    assert not over[0]


@pytest.mark.parametrize(
    ("now", "words"),
    [
        ({"height_m": 0.05}, "lifted 5.0 cm at most"),
        ({"height_m": 0.12, "speed_m_s": 0.2}, "not held still"),
        ({"height_m": 0.0, "held": False}, "closed without holding"),
        ({"height_m": 0.0, "held": False, "closed": False}, "never closed"),
    ],
)
def test_what_is_not_a_lift_is_explained(now: dict[str, Any], words: str) -> None:
    belief = LiftBelief(LIFT_CUBE)
    assert not any(watch(belief, 3.0, **now))
    assert words in belief.explain()


def test_wilson_interval_agrees_with_the_published_formula() -> None:
    assert wilson_interval(45, 50) == pytest.approx((0.7864, 0.9565), abs=1e-4)
    assert wilson_interval(50, 50) == pytest.approx((0.9287, 1.0), abs=1e-4)
    assert wilson_interval(0, 0) == (0.0, 1.0)


class HomingArm:
    """Synthetic: an open gripper; what stops each drive to the start, if anything, is told beforehand."""

    def __init__(self, *ends: BaseException | None) -> None:
        self.ends, self.calls = list(ends), list[str]()

    def __getattr__(self, name: str) -> Any:
        def call(*_: Any, **__: Any) -> Any:
            self.calls.append(name)
            return SimpleNamespace(fault=None, stamp=1.0, gripper_stamp=1.0, gripper_width=0.08)

        return call

    def move_home(self, q_rad: Any) -> None:
        self.calls.append("move_home")
        if (end := self.ends.pop(0)) is not None:
            raise end


@pytest.mark.parametrize("ends", [(KeyboardInterrupt(),), (BridgeFaulted("one"), BridgeFaulted("two"))])
def test_a_drive_to_the_start_that_is_interrupted_stops_the_arm_at_once(ends: tuple[BaseException, ...]) -> None:
    arm: Any = HomingArm(*ends)
    with pytest.raises(type(ends[-1])):
        go_to_start(arm, LIFT_CUBE)
    assert arm.calls[-2:] == ["move_home", "stop"]
    assert arm.calls.count("move_home") == len(ends)


def test_one_fault_on_the_way_to_the_start_is_tried_again() -> None:
    arm: Any = HomingArm(BridgeFaulted("one"), None)
    go_to_start(arm, LIFT_CUBE)
    assert arm.calls.count("move_home") == 2


def trial(index: int, success: bool | None) -> Trial:
    loop = LoopStatistics(ticks=10, clipped=1, lateness_s=[0.001], object_age_s=[0.1], notes=["speed: 0.26 m/s"])
    done = Trial(index, index, None, "It fell.", 100.0, 4.0, bool(success), index % 2, loop)
    return done if success is None else done.judged(success, 102.5 if success else None)


@pytest.mark.parametrize(
    ("stamp", "success", "duration_s"), [(102.5, True, 2.5), (104.01, True, 4.0), (104.2, False, 4.0)]
)
def test_a_success_after_the_end_is_none(stamp: float, success: bool, duration_s: float) -> None:
    verdict = trial(0, None).judged(True, stamp)
    assert (verdict.success, verdict.duration_s) == (success, pytest.approx(duration_s))
    assert verdict.failure == (None if success else "It fell.")


def test_the_report_counts_judged_trials_and_is_plain_json() -> None:
    report = summary([trial(0, True), trial(1, False), trial(2, True), trial(3, None)], wall_s=9.87)
    report = json.loads(json.dumps(report))
    assert (report["trials"], report["successes"]) == (3, 2)
    assert report["cycle_time_s"] == pytest.approx(2.5)
    assert (report["clipped"], report["skipped_ticks"]) == (4, 0)
    assert report["wilson_low"] < report["success_rate"] < report["wilson_high"]
    assert [t["failure"] for t in report["per_trial"]] == [None, "It fell.", None, "It fell."]
