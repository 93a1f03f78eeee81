"""The scene and its labelled renders agree with each other and with the cell file."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest

from contract.tasks import LIFT_CUBE
from robot_runtime.cell import load_cell
from robot_runtime.mock_cell import looks, renders, scene


@pytest.fixture(scope="module")
def samples() -> list[renders.Sample]:
    return list(renders.render_samples(8, seed=5))


def test_every_visible_point_of_the_cube_lies_on_its_labelled_faces(samples: list[renders.Sample]) -> None:
    seen = [sample for sample in samples if sample.mask.sum() > 40]
    assert len(seen) >= 4
    for sample in seen:
        v, u = np.nonzero(sample.mask)
        rays = np.linalg.solve(sample.K, np.stack([u, v, np.ones_like(u)]).astype(float)).T
        points = sample.T_base_camera.apply(rays * sample.depth_m[v, u][:, None])
        on_cube = np.abs(sample.pose_base_object.inverse().apply(points)).max(axis=1)
        assert np.allclose(on_cube, scene.CUBE_EDGE_M / 2, atol=2e-4)


def test_the_same_seed_gives_the_same_pictures(samples: list[renders.Sample]) -> None:
    again = next(renders.render_samples(1, seed=5))
    assert np.array_equal(again.rgb, samples[0].rgb)
    assert not np.array_equal(samples[0].rgb, samples[1].rgb)


def test_the_arm_starts_at_the_tasks_tool_pose() -> None:
    model = scene.build_model()
    data = mujoco.MjData(model)
    data.qpos[:7] = LIFT_CUBE.start_q_rad
    mujoco.mj_kinematics(model, data)
    hand = data.body("robot0_hand")
    tool = hand.xpos + hand.xmat.reshape(3, 3)[:, 2] * scene.TCP_FROM_HAND_M
    assert np.allclose(tool, LIFT_CUBE.start_position_m, atol=1e-4)
    assert abs(hand.xquat @ LIFT_CUBE.start_quaternion) > 1 - 1e-6


def test_no_distractor_has_the_cubes_colour() -> None:
    rng = np.random.default_rng(0)
    for _ in range(300):
        red, green, blue = looks.distractor_rgb(rng)
        assert red < 2.6 * max(green, blue) + 0.02


def test_the_cell_file_says_where_the_camera_is() -> None:
    T = scene.nominal_T_base_camera().matrix()
    written = load_cell("mock").camera.T_base_camera_matrix
    assert np.allclose(written, T, atol=1e-3), f"launch/cells/mock.yaml: T_base_camera must be {T.round(5).tolist()}"
