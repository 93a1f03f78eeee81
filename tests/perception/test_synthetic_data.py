"""Labels and noise of training pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from contract.poses import Pose, quat_from_yaw
from contract.tasks import PEG_UPRIGHT
from perception.depth_noise import noisy_depth
from perception.measurement import project
from perception.synthetic_data import (
    Labelled,
    label_line,
    labelled,
    ordered_ends,
    padded,
    random_crop,
    sensor_noise,
    write_dataset,
)
from robot_runtime.mock_cell.renders import Sample
from tests.perception import made_up

HALF_M = PEG_UPRIGHT.half_size_m


def peg(yaw: float) -> Sample:
    """A render of a peg in which nothing hides it."""
    pose = Pose(np.array([0.55, 0.05, 0.02]), quat_from_yaw(np.asarray(yaw)))
    mask, depth = made_up.box_on_table(pose, np.array(HALF_M))
    rgb = np.random.default_rng(0).integers(0, 256, (*mask.shape, 3), dtype=np.uint8)
    return Sample(rgb, depth.astype(np.float32), mask, pose, made_up.camera(), made_up.K, False)


def test_a_pegs_label_says_where_its_ends_are_whichever_crop_is_taken() -> None:
    rng = np.random.default_rng(0)
    sample = peg(1.3)
    tips = sample.pose_base_object.apply(np.array([[-HALF_M[0], 0, 0], [HALF_M[0], 0, 0]]))
    truth = ordered_ends(project(tips, made_up.K, made_up.camera().inverse()))
    whole = padded(labelled(sample, HALF_M[0]))
    for _ in range(20):
        crop = random_crop(rng, whole, 224)
        if crop.mask.sum() < sample.mask.sum():
            continue
        numbers = np.array([float(word) for word in label_line(crop).split()])
        ends = numbers[5:].reshape(2, 3)
        assert np.all(ends[:, 2] == 2)
        apart = (ends[1, :2] - ends[0, :2]) * 224
        np.testing.assert_allclose(apart, truth[1] - truth[0], atol=0.01)
        v, u = np.nonzero(crop.mask)
        np.testing.assert_allclose(
            numbers[1:3] * 224, [(u.min() + u.max() + 1) / 2, (v.min() + v.max() + 1) / 2], atol=0.01
        )


def test_a_hidden_end_has_no_label() -> None:
    sample = peg(1.3)
    ends = labelled(sample, HALF_M[0]).ends_px
    assert ends is not None
    mask = sample.mask & (np.arange(sample.mask.shape[1]) < ends.mean(axis=0)[0])
    half = labelled(Sample(**{**vars(sample), "mask": mask}), HALF_M[0])
    assert half.ends_px is not None
    assert np.isfinite(half.ends_px).all(axis=1).sum() == 1
    assert sorted(label_line(half).split()[7::3]) == ["0.00000", "2.00000"]


def test_the_order_of_the_ends_does_not_jump_for_pegs_that_stand_or_lie_across() -> None:
    for angle in np.deg2rad([*range(80, 101, 5), *range(-10, 31, 5)]):
        end = 30 * np.array([np.cos(angle), np.sin(angle)])
        first = ordered_ends(np.stack([-end, end]))[0]
        assert np.allclose(first, -end)


def test_depth_noise_grows_with_distance_and_holes_lie_at_edges() -> None:
    rng = np.random.default_rng(0)
    sample = peg(0.8)
    noisy = np.stack([noisy_depth(rng, sample.depth_m) for _ in range(20)])
    known = noisy > 0
    assert 0.8 < known.mean() < 0.999
    off = np.where(known, noisy - sample.depth_m, np.nan)
    near, far = (sample.depth_m > 0.5) & (sample.depth_m < 0.8), sample.depth_m > 1.0
    assert np.nanstd(off[:, far]) > 1.5 * np.nanstd(off[:, near])
    assert abs(np.nanmean(off)) < 2e-4
    jump = np.zeros_like(sample.mask)
    jump[:, 1:] = np.abs(np.diff(sample.depth_m, axis=1)) > 0.04 * sample.depth_m[:, 1:]
    assert known[:, jump].mean() < known.mean() - 0.2


def test_noise_keeps_the_picture_recognisable_and_is_not_always_the_same() -> None:
    rng = np.random.default_rng(0)
    picture = np.full((60, 80, 3), 120, np.uint8)
    picture[20:40, 30:50] = (200, 30, 20)
    drawn = np.stack([sensor_noise(rng, picture) for _ in range(30)])
    assert (drawn[:, 30, 40, 0] > drawn[:, 30, 40, 1] + 60).all()
    assert np.std(drawn[:, 30, 40, 0].astype(float)) > 5


def test_a_data_set_of_pegs_says_that_it_has_two_points(tmp_path: Path) -> None:
    whole = labelled(peg(0.3), HALF_M[0])
    empty = Labelled(whole.rgb, np.zeros_like(whole.mask), np.full((2, 2), np.nan))
    counts = write_dataset(tmp_path, [whole, empty], [whole], "peg", 160, seed=0)
    assert counts == (4, 1)
    assert "kpt_shape: [2, 3]" in (tmp_path / "data.yaml").read_text()
    assert (tmp_path / "train/labels/00003.txt").read_text() == ""
    assert len((tmp_path / "val/labels/00000.txt").read_text().split()) == 11
