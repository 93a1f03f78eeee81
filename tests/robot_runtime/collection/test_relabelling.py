"""Human states with RL actions: the policy sees what it would have seen, and the person's actions are kept."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from contract import artifact
from contract.messages import ObjectState, RobotState
from contract.tasks import LIFT_CUBE, PICK_PLACE
from robot_runtime.collection import actions
from robot_runtime.collection.checking import problems
from robot_runtime.collection.folders import DatasetError
from robot_runtime.collection.relabelling import agreement, check_fits, observation, relabelled
from robot_runtime.policy import PolicyRunner
from tests.robot_runtime.collection.made_up import episode

SHIPPED = Path(__file__).resolve().parents[3] / "policies" / "lift_cube"


@dataclass
class Constant:
    """Always the same action."""

    action: np.ndarray
    shown: list[np.ndarray] = field(default_factory=list)

    def act(self, observation: np.ndarray) -> np.ndarray:
        self.shown.append(observation)
        return self.action


def test_the_policy_is_shown_what_the_runtime_shows_it() -> None:
    steps = episode(steps=4, seed=2).steps
    steps["asked_base"][0, :3] = 2 * 0.25 * LIFT_CUBE.translation_scale_m
    steps["asked_base"][0, 3:6] = [0.01, 0.0, -0.5 * 2 * LIFT_CUBE.rotation_scale_rad[2]]
    runner = PolicyRunner(LIFT_CUBE, Constant(np.zeros(7)))
    pose = actions.pose_of(steps["pose_base_tcp"][1])
    state = RobotState(
        stamp=float(steps["stamp"][1]), q=steps["q"][1], dq=steps["dq"][1], pose_base_tcp=pose,
        v_base_tcp=steps["v_base_tcp"][1], wrench_base=steps["wrench_base"][1],
        gripper_width=float(steps["gripper_width"][1]), gripper_stamp=float(steps["stamp"][1]), gripper_closed=False,
    )  # fmt: skip
    held = bool(steps["object_held"][1])
    cube = actions.pose_of(steps["pose_base_object"][1])
    seen = ObjectState(state.stamp - 0.05, "cube", cube, 0.001**2 * np.eye(4), 1.0, held)
    runner.start(state)
    runner.executed(actions.pose_of(steps["command_base_tcp"][1]))
    runner._previous_action = np.array([0.25, 0.25, 0.25, 0.0, 0.0, -0.5, 1.0])
    np.testing.assert_allclose(observation(LIFT_CUBE, steps, 1, 2), runner.observation(state, seen), atol=1e-9)


def test_a_step_holds_the_actions_of_its_two_ticks_within_the_contracts_bounds() -> None:
    action = np.array([0.5, 0.0, 0.0, 0.3, 0.0, 0.4, -1.0])
    made = relabelled(episode(seed=1), LIFT_CUBE, Constant(action), "constant")
    wanted = [LIFT_CUBE.translation_scale_m, 0.0, 0.0, 0.0, 0.0, 0.8 * LIFT_CUBE.rotation_scale_rad[2], 0.0]
    np.testing.assert_allclose(made.steps["executed_base"][0], wanted, atol=1e-9)
    deep = relabelled(episode(seed=1), LIFT_CUBE, Constant(np.array([0.0, 0, -1, 0, 0, 0, 0])), "constant")
    lowest = deep.steps["command_base_tcp"][:, 2] + deep.steps["executed_base"][:, 2]
    assert (lowest >= LIFT_CUBE.command_low_m[2] - 1e-9).all()


def test_the_persons_states_label_and_actions_stay() -> None:
    made = episode(seed=4, success=True, policy="a person (synthetic)")
    turned = relabelled(made, LIFT_CUBE, Constant(np.ones(7)), "expert")
    for name in made.steps:
        if not name.startswith(("asked", "executed")):
            np.testing.assert_array_equal(turned.steps[name], made.steps[name])
    np.testing.assert_array_equal(turned.steps["demonstrated_wrist"], made.steps["executed_wrist"])
    assert turned.images == made.images
    assert turned.about.success is True
    assert turned.about.policy == "states of a person (synthetic), actions of expert"
    assert list(problems(turned)) == [], "the chain of commands is the person's"


def test_the_shipped_policy_goes_for_the_cube_from_a_persons_states() -> None:
    made = episode(steps=10, seed=0)
    policy = artifact.load(SHIPPED, LIFT_CUBE)
    made.steps["pose_base_object"][:, :3] = made.steps["pose_base_tcp"][:, :3] + [0.08, 0.0, -0.2]
    turned = relabelled(made, LIFT_CUBE, policy, "shipped")
    assert (turned.steps["executed_base"][:, 0] > 0.0).all(), "towards the cube"
    assert -1.0 <= agreement(turned.steps) <= 1.0
    same = turned.steps | {"demonstrated_base": turned.steps["executed_base"]}
    assert agreement(same) == pytest.approx(1.0, abs=1e-6)


def test_another_contract_and_what_episodes_do_not_hold_are_refused() -> None:
    check_fits(LIFT_CUBE, "lift_cube", LIFT_CUBE.contract_hash())
    with pytest.raises(DatasetError, match="relabel with the code that they were recorded with"):
        check_fits(LIFT_CUBE, "lift_cube", "0" * 64)
    with pytest.raises(DatasetError, match="do not hold the goal"):
        check_fits(PICK_PLACE, "pick_place", PICK_PLACE.contract_hash())
