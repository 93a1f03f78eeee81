"""What VLAs' numbers become: physical deltas in the base frame, against rotations computed by SciPy and by hand."""

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.spatial.transform import Rotation

from sim_training.teachers import adapters
from sim_training.teachers.adapters import lerobot, openvla
from sim_training.teachers.adapters.conversions import (
    Convention,
    PolicyDoesNotFit,
    action_statistics,
    between_quantiles,
    central,
    deltas,
    from_tokens,
    opening,
    resized,
    tool_state,
)

RNG = np.random.default_rng(0)


def tool_poses(count: int) -> tuple[np.ndarray, Rotation]:
    """Random ones as they are asked about, and their orientations. Shape: (count, 7)"""
    turned = Rotation.random(count, random_state=1)
    return np.concatenate([RNG.normal(size=(count, 3)), turned.as_quat()[:, [3, 0, 1, 2]]], -1).astype(
        np.float32
    ), turned


def test_roll_pitch_yaw_about_fixed_axes_become_a_rotation_vector():
    actions = np.concatenate([RNG.normal(size=(20, 3)), RNG.uniform(-1.0, 1.0, (20, 3)), np.ones((20, 1))], -1)
    found = deltas(actions[:, None], tool_poses(20)[0], Convention())
    np.testing.assert_allclose(found[:, :3], actions[:, :3], rtol=1e-6)
    expected = Rotation.from_euler("xyz", actions[:, 3:6]).as_rotvec()
    np.testing.assert_allclose(found[:, 3:6], expected, atol=1e-6)


def test_a_positive_yaw_turns_about_the_base_z_axis_whatever_the_tool_points_at():
    action = np.array([[[0.0, 0.0, 0.0, 0.0, 0.0, 0.3, 1.0]]])
    np.testing.assert_allclose(deltas(action, tool_poses(1)[0], Convention())[0, 3:6], [0.0, 0.0, 0.3], atol=1e-6)


def test_deltas_in_the_tool_frame_are_turned_into_the_base_frame():
    tcp, turned = tool_poses(20)
    actions = RNG.uniform(-0.5, 0.5, (20, 7))
    found = deltas(actions[:, None], tcp, Convention(frame="tool", rotation="rotation_vector"))
    np.testing.assert_allclose(found[:, :3], turned.apply(actions[:, :3]), atol=1e-6)
    after = turned * Rotation.from_rotvec(actions[:, 3:6])
    np.testing.assert_allclose(found[:, 3:6], (after * turned.inv()).as_rotvec(), atol=1e-6)


@pytest.mark.parametrize("frame", ["base", "tool"])
def test_steps_of_a_chunk_add_up_to_where_the_tool_ends(frame):
    tcp, turned = tool_poses(10)
    chunk = RNG.uniform(-0.4, 0.4, (10, 4, 7))
    found = deltas(chunk, tcp, Convention(frame=frame, rotation="rotation_vector", chunk_steps=3))
    position, orientation = np.zeros((10, 3)), turned
    for step in range(3):
        turn = Rotation.from_rotvec(chunk[:, step, 3:6])
        if frame == "tool":
            position, orientation = position + orientation.apply(chunk[:, step, :3]), orientation * turn
        else:
            position, orientation = position + chunk[:, step, :3], turn * orientation
    np.testing.assert_allclose(found[:, :3], position, atol=1e-6)
    np.testing.assert_allclose(found[:, 3:6], (orientation * turned.inv()).as_rotvec(), atol=1e-6)
    np.testing.assert_allclose(found[:, 6], np.clip(2 * chunk[:, 2, 6] - 1, -1, 1), atol=1e-6)


def test_units_of_a_policy_become_metres_and_radians():
    action = np.array([[[1.0, 0.0, 0.0, 0.0, 0.0, 1.0, -1.0]]])
    libero = Convention(0.05, 0.5, "rotation_vector", gripper_open=-1.0, gripper_closed=1.0)
    found = deltas(action, tool_poses(1)[0], libero)
    np.testing.assert_allclose(found, [[0.05, 0.0, 0.0, 0.0, 0.0, 0.5, 1.0]], atol=1e-6)


@pytest.mark.parametrize(
    ("opens", "closes", "said", "ours"),
    [(1, 0, 1, 1), (1, 0, 0, -1), (1, 0, 0.25, -0.5), (0, 1, 1, -1), (-1, 1, -1, 1), (-1, 1, 3, -1), (1, 0, 1.2, 1)],
)
def test_ours_opens_with_1_and_closes_with_minus_1_whatever_a_policy_says(opens, closes, said, ours):
    convention = Convention(gripper_open=opens, gripper_closed=closes)
    assert opening(np.array([said]), convention) == pytest.approx(ours)


@pytest.mark.parametrize("shape", [(2, 7), (2, 1, 6), (2, 1, 7)])
def test_a_policy_that_answers_another_shape_is_one_sentence(shape):
    with pytest.raises(PolicyDoesNotFit, match="at least 2 steps"):
        deltas(np.zeros(shape), tool_poses(2)[0], Convention(chunk_steps=2))


def test_only_masked_dimensions_are_stretched_between_the_quantiles():
    statistics = {
        "q01": np.array([-0.02] * 3 + [-0.1] * 3 + [0.0]),
        "q99": np.array([0.04] * 3 + [0.1] * 3 + [1.0]),
        "mask": np.array([True] * 6 + [False]),
    }
    normalised = np.array([[-1.0, 0.0, 1.0, -1.0, 0.0, 1.0, 0.7]])
    np.testing.assert_allclose(
        between_quantiles(normalised, statistics), [[-0.02, 0.01, 0.04, -0.1, 0.0, 0.1, 0.7]], atol=1e-12
    )
    del statistics["mask"]
    assert between_quantiles(normalised, statistics)[0, 6] == pytest.approx(0.85)


@settings(deadline=None)
@given(arrays(float, 7, elements=st.floats(-1, 1)))
def test_tokens_undo_what_openvla_does_to_actions_up_to_a_bin(action):
    vocabulary = 32_000
    tokens = vocabulary - np.digitize(action, np.linspace(-1.0, 1.0, 256))  # its paper: 256 bins, last tokens replaced
    assert np.abs(from_tokens(tokens, vocabulary) - action).max() <= 1.0 / 255 + 1e-12


def test_tokens_that_are_no_actions_are_taken_as_the_nearest_bin():
    low, high = from_tokens(np.array([32_000, 5]), 32_000)
    assert (low, high) == (pytest.approx(-1 + 1 / 255), pytest.approx(1 - 1 / 255))


def test_statistics_are_chosen_by_data_set_and_a_single_one_needs_no_name():
    bridge, own = {"action": {"q01": [0.0]}}, {"action": {"q01": [1.0]}}
    assert action_statistics({"bridge": bridge, "own": own}, "own")["q01"] == 1.0
    assert action_statistics({"own": own}, None)["q01"] == 1.0
    assert action_statistics(own, None)["q01"] == 1.0
    for dataset in (None, "kitchen"):
        with pytest.raises(PolicyDoesNotFit, match="--dataset: bridge, own"):
            action_statistics({"bridge": bridge, "own": own}, dataset)


def test_a_state_is_the_tool_pose_and_what_is_not_known_is_not_made_up():
    tcp, turned = tool_poses(5)
    np.testing.assert_allclose(tool_state(tcp, 6)[:, 3:], turned.as_rotvec(), atol=1e-5)
    np.testing.assert_array_equal(tool_state(tcp, 7), tcp)
    with pytest.raises(PolicyDoesNotFit, match="8 numbers"):
        tool_state(tcp, 8)


def test_the_middle_of_an_image_is_shown():
    image = np.zeros((1, 100, 100, 3), np.uint8)
    image[0, 3:97, 3:97] = 255
    assert central(image, 0.9).shape == (1, 95, 95, 3)
    assert central(image, 0.8).min() == 255
    assert resized(image, 50, 40).shape == (1, 50, 40, 3)


def test_openvla_is_asked_in_the_words_it_was_trained_on():
    asked = openvla.prompt("Lift the cube")
    assert asked == "In: What action should the robot take to lift the cube?\nOut:"


def test_with_several_cameras_a_person_says_which_one_is_ours():
    assert lerobot.only_camera({"front": (3, 8, 8)}, None) == "front"
    assert lerobot.only_camera({"front": (3, 8, 8), "wrist": (3, 8, 8)}, "wrist") == "wrist"
    for wanted in (None, "top"):
        with pytest.raises(PolicyDoesNotFit, match="--image-key: front, wrist"):
            lerobot.only_camera({"front": (3, 8, 8), "wrist": (3, 8, 8)}, wanted)


@pytest.mark.parametrize("name", ["openvla", "octo", "lerobot", "openpi"])
def test_an_adapter_loads_its_library_only_when_it_loads_its_model(name):
    path = Path(adapters.__file__).parent / f"{name}.py"
    assert path.read_text().startswith("# /// script\n"), "it runs in an environment of its own"
    tops = [node for node in ast.parse(path.read_text()).body if isinstance(node, ast.Import | ast.ImportFrom)]
    modules = {alias.name for node in tops if isinstance(node, ast.Import) for alias in node.names}
    modules |= {str(node.module) for node in tops if isinstance(node, ast.ImportFrom)}
    assert {module.partition(".")[0] for module in modules} <= {
        *("__future__", "dataclasses", "functools", "json", "numpy", "pathlib", "sim_training", "typing")
    }
