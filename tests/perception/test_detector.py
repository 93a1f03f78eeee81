"""The shipped detector, and what it may not need."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from contract.tasks import LIFT_CUBE, PEG_UPRIGHT
from perception.camera import Frame
from perception.detector import (
    Detector,
    DetectorMissing,
    PictureSizeMismatch,
    pad_to_stride,
    weights_folder,
)
from perception.detector_runtimes import KINDS, Runtime, RuntimeMissing
from perception.measuring import measure
from perception.pose_estimation import measure_cube
from perception.synthetic_data import Labelled, labelled, polygon, random_crop
from robot_runtime.mock_cell.renders import render_samples

ROOT = Path(__file__).resolve().parents[2]
UNHIDDEN_PX = 200


def test_the_shipped_detector_finds_the_cube_in_pictures_it_has_never_seen() -> None:
    detector = Detector(weights_folder(LIFT_CUBE.name))
    overlaps, distances = [], []
    for sample in render_samples(40, seed=990_000):
        if sample.mask.sum() < UNHIDDEN_PX:
            continue
        found = detector.detect(sample.rgb)
        assert found, "an unhidden cube was not found"
        mask = found[0].mask
        overlaps.append((mask & sample.mask).sum() / (mask | sample.mask).sum())
        measured = measure_cube(mask, sample.depth_m, sample.K, sample.T_base_camera, LIFT_CUBE.object_width_m)
        if measured is not None and not sample.held:
            distances.append(np.linalg.norm(measured.position - sample.pose_base_object.position))
    assert len(distances) >= 15
    assert np.median(overlaps) > 0.8
    assert np.median(distances) < 0.0025


def test_the_shipped_detector_of_pegs_finds_their_ends_well_enough_to_measure_them() -> None:
    detector = Detector(weights_folder(PEG_UPRIGHT.name))
    angles, seen = [], 0
    for sample in render_samples(30, seed=990_001, spec=PEG_UPRIGHT):
        truth = labelled(sample, PEG_UPRIGHT.half_size_m[0])
        if truth.ends_px is None or not np.isfinite(truth.ends_px).all() or sample.mask.sum() < 3 * UNHIDDEN_PX:
            continue
        seen += 1
        found = detector.detect(sample.rgb)
        if not found:
            continue
        frame = Frame(sample.rgb, sample.depth_m, sample.K, 1, 0.0, "robot", 0.0)
        measured = measure(PEG_UPRIGHT, found[0], frame, sample.T_base_camera)
        if measured is not None:
            axis = sample.pose_base_object.matrix()[:3, 0]
            angles.append(np.arccos(min(1.0, abs(axis @ measured.axis))))
    assert seen >= 15
    assert len(angles) >= 0.8 * seen
    assert np.median(angles) < np.deg2rad(3.0)


def test_all_runtimes_find_the_same_masks() -> None:
    on = {name: Detector(weights_folder(LIFT_CUBE.name), runtime=name) for name in KINDS}
    compared = 0
    for sample in render_samples(10, seed=990_000):
        found = {name: detector.detect(sample.rgb) for name, detector in on.items()}
        for name, here in found.items():
            assert len(here) == len(found["onnxruntime"])
            for one, other in zip(here, found["onnxruntime"], strict=True):
                assert one.score == pytest.approx(other.score, abs=1e-3), name
                np.testing.assert_allclose(one.box_px, other.box_px, atol=0.05)
                assert (one.mask ^ other.mask).sum() <= 2, f"{name} draws another rim"
                compared += one.mask.any()
    assert compared >= 20


RUNS_EXPORTED: list[Runtime] = ["onnxruntime", "openvino"]


@pytest.mark.parametrize("runtime", RUNS_EXPORTED)
def test_keypoints_come_in_the_pixels_of_the_picture(tmp_path: Path, runtime: Runtime) -> None:
    """A network that always sees one stick, sure, and another that it is not sure of."""
    sure = [20.0, 30.0, 60.0, 50.0, 0.9, 0.0, 21.0, 31.0, 0.8, 59.0, 49.0, 0.3]
    unsure = [*sure[:4], 0.05, *sure[5:]]
    write_constant_network(tmp_path / "detector.onnx", np.array([[unsure, sure]], np.float32), (256, 448))
    detector = Detector(tmp_path, runtime=runtime)
    picture = np.zeros((240, 424, 3), np.uint8)
    (found,) = detector.detect(picture)
    assert found.score == pytest.approx(0.9)
    np.testing.assert_allclose(found.box_px, [8, 22, 48, 42], atol=1e-5)
    np.testing.assert_allclose(found.keypoints_px, [[9, 23], [47, 41]], atol=1e-5)
    np.testing.assert_allclose(found.keypoint_scores, [0.8, 0.3], atol=1e-6)


def write_constant_network(path: Path, rows: np.ndarray, shape: tuple[int, int]) -> None:
    """An ONNX file that answers every picture of that shape with those rows."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    nodes = [
        helper.make_node("ReduceMean", ["images"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "nothing"], ["zero"]),
        helper.make_node("Add", ["rows", "zero"], ["output0"]),
    ]
    graph = helper.make_graph(
        nodes, "constant",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, *shape])],
        [helper.make_tensor_value_info("output0", TensorProto.FLOAT, rows.shape)],
        [numpy_helper.from_array(rows, "rows"), numpy_helper.from_array(np.float32(0.0), "nothing")],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    onnx.save(model, path)


def test_a_runtime_that_is_not_installed_is_named_and_not_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(RuntimeMissing, match="cannot run on openvino .*setup.sh"):
        Detector(weights_folder(LIFT_CUBE.name), runtime="openvino")


def test_running_needs_neither_torch_nor_ultralytics() -> None:
    program = """
import sys
import numpy as np
from perception.detector import Detector, weights_folder
import perception.estimator
Detector(weights_folder("lift_cube")).detect(np.zeros((240, 424, 3), np.uint8))
print(sorted({"torch", "torchvision", "ultralytics", "pyrealsense2", "mujoco"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]", done.stderr


def test_missing_weights_and_another_picture_size_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(DetectorMissing, match="run launch/train_detector.py"):
        Detector(tmp_path)
    with pytest.raises(PictureSizeMismatch, match="640x480"):
        Detector(weights_folder(LIFT_CUBE.name)).detect(np.zeros((480, 640, 3), np.uint8))


def test_an_empty_picture_holds_no_cube() -> None:
    detector = Detector(weights_folder(LIFT_CUBE.name))
    noise = np.random.default_rng(0).integers(0, 256, (240, 424, 3), dtype=np.uint8)
    for picture in (np.zeros_like(noise), np.full_like(noise, 180), noise):
        assert detector.detect(picture) == []


def test_padding_moves_no_pixel_but_by_the_border() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (240, 424, 3), dtype=np.uint8)
    padded = pad_to_stride(picture)
    assert padded.shape == (256, 448, 3)
    assert np.array_equal(padded[8:248, 12:436], picture)


def test_a_label_outlines_its_mask_to_a_fraction_of_a_pixel() -> None:
    mask = np.zeros((160, 160), bool)
    mask[50:70, 30:60] = True
    outline = polygon(mask)
    assert outline is not None
    np.testing.assert_allclose(outline.min(axis=0) * 160, [30, 50], atol=0.2)
    np.testing.assert_allclose(outline.max(axis=0) * 160, [60, 70], atol=0.2)
    mask[:] = False
    assert polygon(mask) is None


def test_a_crop_usually_holds_the_whole_cube() -> None:
    random = np.random.default_rng(0)
    mask = np.zeros((256, 448), bool)
    mask[100:120, 400:420] = True
    picture = np.zeros((256, 448, 3), np.uint8)
    seen = [random_crop(random, Labelled(picture, mask), 160).mask.sum() for _ in range(200)]
    assert np.mean(np.equal(seen, mask.sum())) > 0.85


@pytest.mark.parametrize("task", [LIFT_CUBE.name, PEG_UPRIGHT.name])
@pytest.mark.parametrize("name", ["card.json", "detector.onnx", "detector.pt"])
def test_shipped_weights_name_no_folder_of_the_machine_that_made_them(task: str, name: str) -> None:
    content = (weights_folder(task) / name).read_bytes()
    assert not re.findall(rb"/(?:home|root|work|tmp|Users|mnt|opt)/[\w./-]+", content)
