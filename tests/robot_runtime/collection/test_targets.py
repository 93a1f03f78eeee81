"""Equally many successful episodes of every variant, whatever fails on the way."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robot_runtime.collection.targets import Targets
from tests.robot_runtime.collection.made_up import about


@settings(deadline=None)
@given(
    episodes=st.integers(1, 40),
    variants=st.integers(1, 4),
    stay=st.integers(1, 6),
    luck=st.lists(st.booleans(), min_size=1, max_size=20),
    anew=st.integers(1, 9),
)
def test_all_targets_are_met_and_none_exceeded_whenever_it_is_begun_again(
    episodes: int, variants: int, stay: int, luck: list[bool], anew: int
) -> None:
    names = [f"variant {k}" for k in range(variants)]
    targets, done = Targets.shared(episodes, names, stay), []
    for k in range(7 * 40):
        name = targets.next()
        if name is None:
            break
        assert targets.tallies[name].missing
        done.append(about(variant=name, success=luck[k % len(luck)] or k % 7 == 0))
        targets.add(name, bool(done[-1].success), 1.0)
        if k % anew == 0:
            targets = Targets.shared(episodes, names, stay)
            targets.count(done)
    assert targets.missing == 0
    successes = [sum(bool(each.success) for each in done if each.variant == name) for name in names]
    assert sum(successes) == episodes
    assert max(successes) - min(successes) <= 1


def test_the_variant_that_is_most_behind_is_next_unless_swapping_costs_a_hand() -> None:
    targets = Targets.shared(6, ["a", "b"])
    order = []
    for _ in range(6):
        order.append(targets.next())
        targets.add(str(order[-1]), True, 1.0)
    assert order == ["a", "b", "b", "a", "a", "b"], "between equals the one that lies there"
    by_hand = Targets.shared(6, ["a", "b"], stay=3)
    order = []
    for _ in range(6):
        order.append(by_hand.next())
        by_hand.add(str(order[-1]), True, 1.0)
    assert order == ["a", "a", "a", "b", "b", "b"]


def test_failures_are_tried_again_and_counted_in_a_row() -> None:
    targets = Targets.shared(2, ["a", "b"])
    for success in (False, False, True, False):
        targets.add("a", success, 1.0)
    assert targets.failures_in_a_row == 1
    assert (targets.tallies["a"].episodes, targets.tallies["a"].successes) == (4, 1)
    assert targets.next() == "b"


def test_the_report_gives_a_rate_with_its_interval() -> None:
    targets = Targets.shared(4, ["a", "b"])
    targets.count([about(variant="a", duration_s=3.0), about(variant="b", success=False), about(variant="c")])
    report = targets.report()
    assert (report["episodes"], report["successes"], report["success_rate"]) == (2, 1, 0.5)
    assert report["wilson_low"] < 0.5 < report["wilson_high"]
    assert report["cycle_time_s"] == pytest.approx(3.0)
    assert not report["complete"]
    assert targets.failures_in_a_row == 0, "those of an earlier run are forgiven"
