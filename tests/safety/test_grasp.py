"""Fingers that close on something, carry it, lose it, or close on nothing."""

from __future__ import annotations

from safety.grasp import Grasp

STEP_S = 0.02


def follow(widths: list[float], heights: list[float], closed: bool = True, grasp: Grasp | None = None) -> Grasp:
    """What is known after these readings, `STEP_S` apart."""
    grasp = grasp or Grasp()
    for k, (width, height) in enumerate(zip(widths, heights, strict=True)):
        grasp = grasp.after(k * STEP_S, width, closed, height)
    return grasp


def closing(to_m: float) -> list[float]:
    """From 80 mm at 0.1 m/s, then still for half a second."""
    steps = int((0.08 - to_m) / (0.1 * STEP_S))
    return [0.08] * 5 + [0.08 - 0.1 * STEP_S * k for k in range(steps)] + [to_m] * 25


def taken() -> Grasp:
    widths = closing(0.04)
    return follow(widths, [0.02] * len(widths))


def test_fingers_that_come_to_rest_around_something_hold_it_from_that_height_on():
    grasp = taken()
    assert grasp.holds
    assert grasp.taken_height == 0.02


def test_fingers_that_have_not_begun_to_close_hold_nothing():
    assert not follow([0.08] * 50, [0.02] * 50).holds


def test_fingers_that_meet_hold_nothing():
    widths = closing(0.0)
    assert not follow(widths, [0.02] * len(widths)).holds


def test_an_object_that_slips_while_it_is_carried_is_lost_until_the_fingers_open():
    up = follow([0.04] * 10, [0.1] * 10, grasp=taken())
    assert up.holds
    gone = follow([0.03, 0.01, 0.0, 0.0], [0.1] * 4, grasp=up)
    assert gone.lost
    assert not gone.holds
    assert not follow([0.0], [0.1], closed=False, grasp=gone).lost


def test_a_slip_where_it_was_taken_is_only_another_try():
    gone = follow([0.03, 0.01, 0.0], [0.025] * 3, grasp=taken())
    assert not gone.lost
    assert not gone.holds


def test_a_held_object_that_yields_a_little_is_still_held():
    assert follow([0.0385, 0.0375, 0.038], [0.1] * 3, grasp=taken()).holds
