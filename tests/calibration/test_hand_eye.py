"""The solver finds the camera on random geometries, with a fifth of the samples spoilt, and says so where it cannot."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calibration.hand_eye import (
    METHODS,
    Geometry,
    Mount,
    PosesAlike,
    SamplesDisagree,
    TooFewSamples,
    board_poses,
    check_intrinsics,
    closed_form,
    solve,
)
from contract.poses import Pose, quat_from_axis_angle, quat_multiply

from .simulated import K, collect, error_deg, error_mm, random_pose, spoil

MOUNTS: list[Mount] = ["fixed", "wrist"]


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**31), mount=st.sampled_from(MOUNTS))
def test_the_camera_is_found_within_millimetres_on_any_geometry(seed: int, mount: Mount) -> None:
    samples, truth = collect(seed, mount)
    solved = solve(samples, K, mount)
    assert error_mm(solved.T_reference_camera, truth) < 4.0
    assert error_deg(solved.T_reference_camera, truth) < 0.4
    assert solved.agrees.all()


@pytest.mark.parametrize("mount", MOUNTS)
def test_without_noise_it_is_exact(mount: Mount) -> None:
    samples, truth = collect(1, mount, noise_px=0.0)
    assert error_mm(solve(samples, K, mount).T_reference_camera, truth) < 0.5


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**31), mount=st.sampled_from(MOUNTS))
def test_a_fifth_of_the_samples_may_be_spoilt(seed: int, mount: Mount) -> None:
    clean, truth = collect(seed, mount)
    samples = spoil(clean, 0.2, seed)
    changed = np.array([a is not b for a, b in zip(clean, samples, strict=True)])
    solved = solve(samples, K, mount)
    assert error_mm(solved.T_reference_camera, truth) < 5.0
    assert not (solved.agrees & changed).any()


def test_ours_beats_every_closed_form_in_the_median() -> None:
    ours, theirs = [], {name: [] for name in METHODS}
    for seed in range(8):
        samples, truth = collect(seed)
        ours.append(error_mm(solve(samples, K, "fixed").T_reference_camera, truth))
        geometry, (C, usable) = Geometry(samples, "fixed"), board_poses(samples, K)
        for name, method in METHODS.items():
            X = closed_form(geometry.A[usable], C[usable], method)
            theirs[name].append(np.inf if X is None else error_mm(Pose.from_matrix(X), truth))
    assert np.median(ours) < min(np.median(errors) for errors in theirs.values())


def test_its_covariance_is_about_as_large_as_its_errors() -> None:
    scores = []
    for seed in range(12):
        samples, truth = collect(seed)
        solved = solve(samples, K, "fixed")
        off = solved.T_reference_camera.position - truth.position
        scores.append(float(off @ np.linalg.solve(solved.covariance[:3, :3], off)))
    assert 0.5 < np.median(scores) < 8.0  # of chi-squared with three degrees of freedom: 2.4


def test_held_out_error_grows_with_the_noise() -> None:
    small, large = (solve(collect(3, noise_px=noise)[0], K, "fixed") for noise in (0.1, 0.8))
    assert small.held_out_px < 0.35
    assert large.held_out_px > 2 * small.held_out_px
    assert large.held_out_mm > small.held_out_mm


def test_poses_that_are_all_alike_are_refused_with_what_to_do() -> None:
    samples, _ = collect(0, tilt_rad=np.deg2rad(3))
    with pytest.raises(PosesAlike, match="turn the wrist more"):
        solve(samples, K, "fixed")


def test_turns_about_one_axis_only_are_refused() -> None:
    samples, _ = collect(0)
    first = samples[0].pose_base_tcp
    turned = [
        replace(
            s,
            pose_base_tcp=Pose(
                first.position, quat_multiply(quat_from_axis_angle(np.array([0, 0, a])), first.quaternion)
            ),
        )
        for s, a in zip(samples, np.linspace(-1, 1, len(samples)), strict=True)
    ]
    with pytest.raises(PosesAlike, match="about different axes"):
        solve(turned, K, "fixed")


def test_a_few_samples_are_too_few() -> None:
    with pytest.raises(TooFewSamples):
        solve(collect(0)[0][:5], K, "fixed")


def test_samples_that_do_not_agree_give_no_calibration() -> None:
    samples, _ = collect(0)
    random = np.random.default_rng(0)
    with pytest.raises(SamplesDisagree, match="samples agree|No camera pose"):
        solve(
            [
                replace(s, pose_base_tcp=s.pose_base_tcp @ random_pose(random, 0.2, 1.0)) if k % 2 else s
                for k, s in enumerate(samples)
            ],
            K,
            "fixed",
        )


def test_wrong_intrinsics_are_noticed_and_right_ones_are_not() -> None:
    samples, _ = collect(5)
    assert check_intrinsics(samples, solve(samples, K, "fixed"), K).ok
    wrong = K * np.array([[1.08, 1, 1], [1, 1.08, 1], [1, 1, 1]])
    solved = solve(samples, wrong, "fixed")
    found = check_intrinsics(samples, solved, wrong)
    assert not found.ok
    assert found.change_px[0] == pytest.approx(K[0, 0] - wrong[0, 0], abs=6.0)


def test_intrinsics_are_refined_on_request() -> None:
    samples, truth = collect(5, noise_px=0.1)
    wrong = K * np.array([[1.04, 1, 1], [1, 1.04, 1], [1, 1, 1]])
    refined = solve(samples, wrong, "fixed", refine_intrinsics=True)
    assert refined.K[0, 0] == pytest.approx(K[0, 0], rel=0.01)
    assert error_mm(refined.T_reference_camera, truth) < error_mm(
        solve(samples, wrong, "fixed").T_reference_camera, truth
    )
