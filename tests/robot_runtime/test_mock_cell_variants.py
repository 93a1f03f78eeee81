"""The mock cell's cubes: other colours and sizes, in the physics as in the pictures, all known to the detector."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from contract.tasks import LIFT_CUBE
from perception.detector import Detector, weights_folder
from robot_runtime.mock_cell import scene
from robot_runtime.mock_cell.pictures import Pictures
from robot_runtime.mock_cell.rendering import mujoco
from robot_runtime.mock_cell.snapshots import Snapshot, View
from robot_runtime.mock_cell.variants import UNSEEN, VARIANTS, UnknownVariant, shape, variant


@pytest.fixture(scope="module")
def model() -> mujoco.MjModel:
    return scene.build_model()


def test_an_unknown_one_is_answered_with_the_nearest_name() -> None:
    with pytest.raises(UnknownVariant, match="did you mean 'orange_cube'"):
        variant("orang_cube")
    assert UNSEEN in VARIANTS
    assert len(VARIANTS) >= 3


@pytest.mark.parametrize("name", VARIANTS)
def test_it_lies_on_the_table_as_high_as_it_is(model: mujoco.MjModel, name: str) -> None:
    edge_m = variant(name).edge_m
    shape(model, edge_m)
    data = mujoco.MjData(model)
    data.qpos[:7], data.qpos[7:9] = LIFT_CUBE.start_q_rad, 0.04
    data.qpos[9:16] = 0.55, 0.0, edge_m / 2 + 0.002, 1.0, 0.0, 0.0, 0.0
    cube = model.body("cube").dofadr[0]
    for _ in range(300):
        data.qfrc_applied[:cube] = data.qfrc_bias[:cube]
        mujoco.mj_step(model, data)
    assert data.qpos[11] == pytest.approx(edge_m / 2, abs=3e-4)


@pytest.mark.parametrize("name", VARIANTS)
def test_fingers_that_are_its_width_apart_touch_it(model: mujoco.MjModel, name: str) -> None:
    """Also those of the larger one, for which the compiled model has no contact boxes."""
    edge_m = variant(name).edge_m
    shape(model, edge_m)
    data = mujoco.MjData(model)
    for slack_m, touches in ((-0.0004, True), (0.0008, False)):
        data.qpos[:7], data.qpos[7:9] = LIFT_CUBE.start_q_rad, edge_m / 2 + slack_m / 2
        mujoco.mj_kinematics(model, data)
        tool = scene.tool_pose(data)
        data.qpos[9:12], data.qpos[12:16] = tool.position, tool.quaternion
        mujoco.mj_forward(model, data)
        bodies = {int(model.geom_bodyid[geom]) for contact in data.contact for geom in contact.geom}
        assert (model.body("cube").id in bodies) == touches


def test_the_cameras_see_its_colour_and_the_detector_finds_it() -> None:
    detector, pictures = Detector(weights_folder(LIFT_CUBE.name)), Pictures()
    try:
        qpos = np.zeros(16)
        qpos[:7], qpos[7:9] = LIFT_CUBE.start_q_rad, 0.04
        qpos[9:16] = 0.6, 0.1, 0.02, 0.9, 0.0, 0.0, np.sqrt(1 - 0.81)
        shown = [None, *VARIANTS]
        seen = [pictures.of(Snapshot(1, 0.0, qpos, View(variant=name)))[0] for name in shown]
        assert np.array_equal(seen[0], seen[1]), "the nominal one is what lies there anyway"
        for k in range(1, len(seen)):
            assert max(found.score for found in detector.detect(seen[k])) > 0.5, shown[k]
            assert all(np.abs(seen[k].astype(int) - other).max() > 40 for other in seen[k + 1 :])
        elsewhere = replace(View(), looks=5, variant=UNSEEN)
        assert detector.detect(pictures.of(Snapshot(1, 0.0, qpos, elsewhere))[0])
    finally:
        pictures.close()
