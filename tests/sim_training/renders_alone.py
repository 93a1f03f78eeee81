"""SAPIEN's labelled pictures: their labels are true, and they show what the mock cell's renderer shows."""

from __future__ import annotations

import numpy as np
import pytest

from contract.tasks import LIFT_CUBE, PEG_UPRIGHT
from robot_runtime.mock_cell import arrangements, renders, scene
from sim_training.renders import Sample, render_samples

SIZE = scene.CAMERA_WIDTH, scene.CAMERA_HEIGHT
COUNT = 8


def drawn(spec: arrangements.TaskSpec, empty_share: float = 0.0) -> list[Sample]:
    shown = arrangements.arrangements(COUNT, 5, spec, empty_share)
    return list(render_samples(shown, spec.half_size_m, 0, *SIZE))


@pytest.mark.parametrize("spec", [LIFT_CUBE, PEG_UPRIGHT], ids=["cube", "peg"])
def test_every_visible_point_of_the_object_lies_on_its_labelled_faces(spec: arrangements.TaskSpec) -> None:
    seen = [sample for sample in drawn(spec) if sample.mask.sum() > 40]
    assert len(seen) >= 4
    for sample in seen:
        v, u = np.nonzero(sample.mask)
        rays = np.linalg.solve(sample.K, np.stack([u, v, np.ones_like(u)]).astype(float)).T
        points = sample.T_base_camera.apply(rays * sample.depth_m[v, u][:, None])
        beyond = np.abs(sample.pose_base_object.inverse().apply(points)) - spec.half_size_m
        assert np.allclose(beyond.max(axis=1), 0.0, atol=2e-4)


def test_both_renderers_show_the_same_arrangement_alike() -> None:
    pairs = list(zip(drawn(PEG_UPRIGHT), renders.render_samples(COUNT, 5, spec=PEG_UPRIGHT), strict=True))
    for ours, mujocos in pairs:
        assert np.allclose(ours.pose_base_object.position, mujocos.pose_base_object.position)
        assert np.allclose(ours.K, mujocos.K)
    # The arms differ a little in shape, so where one hides the object the other may not.
    overlaps = [(a.mask & b.mask).sum() / max(1, (a.mask | b.mask).sum()) for a, b in pairs]
    assert np.median(overlaps) > 0.95
    depths = [np.median(np.abs(a.depth_m - b.depth_m)[a.depth_m > 0]) for a, b in pairs]
    assert np.median(depths) < 0.002


def test_a_picture_can_lack_the_object() -> None:
    assert not any(sample.mask.any() for sample in drawn(LIFT_CUBE, empty_share=1.0))
