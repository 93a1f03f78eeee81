"""The clumsy hand lets the policy begin, spoils it in the middle, and never lets go again."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from contract.messages import RobotState
from contract.tasks import LIFT_CUBE
from robot_runtime.teleoperation.clumsy import WAYS, ClumsyHand
from tests.robot_runtime.test_loop import robot_state


def policy_lifts(hand: ClumsyHand, states: list[RobotState]) -> tuple[list[bool], int, float]:
    """Down, closed on the object, up; when the hand touched, how often it gripped, and how far up it went."""
    touched, grips, height = [], 0, 0.25
    closed = False
    for k in range(120):
        if not (touched and touched[-1]):
            height = max(0.02, 0.25 - 0.01 * k) if k < 40 else min(0.16, 0.02 + 0.01 * (k - 40))
            closed = k >= 35
        state = robot_state(0.05 * k, np.array([0.5, 0.0, height]))
        states.append(replace(state, gripper_closed=closed, gripper_width=0.04 if closed else 0.08))
        read = hand.read()
        touched.append(read.touched)
        grips += read.grips
        closed ^= read.grips
        height -= 0.012 * read.twist_wrist[2]
    return touched, grips, height


def test_every_way_takes_over_once_and_keeps_the_arm() -> None:
    seen = {}
    for seed in range(40):
        states = [robot_state(0.0, np.array([0.5, 0.0, 0.25]))]
        hand = ClumsyHand(LIFT_CUBE, lambda states=states: states[-1])  # type: ignore[misc]
        hand.start(seed)
        touched, grips, height = policy_lifts(hand, states)
        first = touched.index(True)
        assert first > 10, "the policy has begun"
        assert all(touched[first:])
        seen[hand.way] = (grips, height)
    assert set(seen) == set(WAYS)
    assert {way: grips for way, (grips, _) in seen.items()} == {
        "drops": 1, "holds low": 0, "closes early": 1, "misses": 1, "gives up": 0,
    }  # fmt: skip
    assert seen["holds low"][1] < LIFT_CUBE.lift_height_m
    assert seen["gives up"][1] > LIFT_CUBE.lift_height_m


def test_the_same_seed_spoils_the_same_way() -> None:
    hands = [ClumsyHand(LIFT_CUBE, lambda: robot_state(0.0, np.zeros(3))) for _ in range(2)]
    for seed in range(5):
        for hand in hands:
            hand.start(seed)
        assert hands[0].way == hands[1].way
