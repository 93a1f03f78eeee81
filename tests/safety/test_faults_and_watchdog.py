from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safety.faults import FAULTS, ModeMachine, NotNow
from safety.limits import UnknownArm, arm_limits
from safety.watchdog import judge_silence

MODES = ("disarmed", "armed", "moving", "holding", "stopping", "homing")


@given(st.lists(st.sampled_from([*MODES, "trip", "trip_at_rest", "recover"]), max_size=30))
def test_after_a_fault_the_arm_moves_again_only_after_recover(steps):
    machine, recovered = ModeMachine(), True
    for step in steps:
        try:
            if step.startswith("trip"):
                machine.trip("overspeed", "Cause.", 1.0, at_rest=step == "trip_at_rest")
                recovered = False
            elif step == "recover":
                machine.recover()
                recovered = True
            else:
                machine.to(step)
        except NotNow:
            pass
        if not recovered:
            assert machine.fault is not None
            assert machine.mode in ("stopping", "faulted")


def test_the_first_fault_is_the_one_that_is_kept():
    machine = ModeMachine()
    machine.trip("overspeed", "First cause.", 1.0, at_rest=True)
    machine.trip("contact_force", "Second cause.", 2.0, at_rest=True)
    assert machine.fault.name == "overspeed"
    with pytest.raises(NotNow, match=r"First cause\."):
        machine.to("armed")


def test_a_moving_arm_stops_before_it_is_faulted():
    machine = ModeMachine()
    machine.to("armed")
    machine.to("moving")
    machine.trip("overspeed", "Cause.", 1.0, at_rest=False)
    assert machine.mode == "stopping"
    with pytest.raises(NotNow):
        machine.recover()
    machine.to("disarmed")
    assert machine.mode == "faulted"


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_cleared_by_nobody_but_who_the_table_says(name):
    machine = ModeMachine()
    machine.trip(name, "Cause.", 1.0, at_rest=True)
    for by_person in (False, True):
        cleared_by = FAULTS[name].cleared_by
        allowed = cleared_by.startswith("commander") or (cleared_by == "person" and by_person)
        if allowed:
            machine.recover(by_person)
            assert machine.mode == "disarmed"
            return
        with pytest.raises(NotNow, match=r"Cause\."):
            machine.recover(by_person)
        assert machine.fault is not None


def test_a_program_clears_a_reflex_once_and_again_only_after_a_person_did():
    machine = ModeMachine()

    def trip() -> None:
        machine.trip("arm_reflex", "Cause.", 1.0, at_rest=True)

    for _ in range(2):
        trip()
        machine.recover()
        trip()
        with pytest.raises(NotNow, match="not the first time"):
            machine.recover()
        machine.recover(by_person=True)


@given(st.floats(0, 5), st.floats(0, 5))
def test_silence_only_ever_gets_worse(a, b):
    order = ("fresh", "hold", "stop")
    shorter, longer = sorted((a, b))
    judged = [order.index(judge_silence(10.0 + s, 10.0, 0.2, 2.0)) for s in (shorter, longer)]
    assert judged[0] <= judged[1]


def test_silence_holds_after_a_fifth_of_a_second_and_stops_after_two():
    assert [judge_silence(t, 0.0, 0.2, 2.0) for t in (0.19, 0.2, 1.99, 2.0)] == ["fresh", "hold", "hold", "stop"]


def test_an_unknown_arm_is_answered_with_the_nearest_name():
    with pytest.raises(UnknownArm, match="'panda'"):
        arm_limits("pande")
