"""A generalist's folder: what it is written with comes back, and what is wrong with it is said in one sentence."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import _generalist
from contract import generalist
from contract.generalist import Card, GeneralistUnusable, MissingPicture, UnknownInstruction

SIDE = 8


def onnx_that_answers(action: list[float]) -> bytes:
    """A graph with the inputs of a generalist of one camera that gives the same action whatever it sees."""
    import onnx
    from onnx import helper, numpy_helper

    nodes = [
        helper.make_node("ReduceSum", ["words"], ["total"], keepdims=1),
        helper.make_node("Mul", ["total", "nothing"], ["zero"]),
        helper.make_node("Cast", ["wrist"], ["shown"], to=onnx.TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["shown"], ["seen"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Unsqueeze", ["seen", "last"], ["column"]),
        helper.make_node("Mul", ["column", "nothing"], ["blank"]),
        helper.make_node("Add", ["blank", "zero"], ["rows"]),
        helper.make_node("Add", ["rows", "answer"], ["action"]),
    ]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "made up",
        [
            value("wrist", onnx.TensorProto.UINT8, ["batch", SIDE, SIDE, 3]),
            value("words", onnx.TensorProto.FLOAT, ["batch", generalist.WORD_COUNT]),
        ],
        [value("action", onnx.TensorProto.FLOAT, ["batch", 7])],
        [
            numpy_helper.from_array(np.float32(0.0), "nothing"),
            numpy_helper.from_array(np.array([1], np.int64), "last"),
            numpy_helper.from_array(np.array([action], np.float32), "answer"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString())


def card(**others: object) -> Card:
    plain: dict[str, object] = {
        "instructions": ("lift the cube", "pick up the peg"), "cameras": ("wrist",), "side_px": SIDE, "rate_hz": 10.0,
        "low": (-0.02, -0.02, -0.01, 0.0, 0.0, -0.1), "high": (0.02, 0.02, 0.03, 0.0, 0.0, 0.1),
    }  # fmt: skip
    return Card(**plain | others)  # type: ignore[arg-type]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    onnx = onnx_that_answers([1.0, -1.0, 0.0, 0.5, 0.5, 3.0, -2.0])
    return generalist.write(tmp_path / "made_up", card(), onnx, {"weight": np.arange(3.0)})


def pictures(*shape: int) -> dict[str, np.ndarray]:
    return {"wrist": np.zeros((*shape, SIDE, SIDE, 3), np.uint8)}


def test_the_answer_is_physical_and_clipped_and_a_locked_axis_does_not_move(folder: Path) -> None:
    action = _generalist.load(folder).act(pictures(), "lift the cube")
    assert np.allclose(action, [0.02, -0.02, 0.01, 0.0, 0.0, 0.1, 1 / (1 + np.exp(2.0))])


def test_a_batch_gets_as_many_answers(folder: Path) -> None:
    assert _generalist.load(folder).act(pictures(5), "lift the cube").shape == (5, 7)


def test_words_are_what_counts_not_their_case_or_signs() -> None:
    assert np.array_equal(generalist.words("Lift the cube!"), generalist.words("lift  the cube"))
    assert not np.array_equal(generalist.words("lift the cube"), generalist.words("push the cube"))


def test_an_unknown_instruction_is_refused_with_the_nearest(folder: Path) -> None:
    with pytest.raises(UnknownInstruction, match="lift the cube"):
        _generalist.load(folder).act(pictures(), "lift the cub")


@pytest.mark.parametrize("images", [{}, {"wrist": np.zeros((4, 4, 3), np.uint8)}, {"wrist": np.zeros((8, 8, 3))}])
def test_a_missing_or_odd_picture_is_refused(folder: Path, images: dict[str, np.ndarray]) -> None:
    with pytest.raises(MissingPicture, match="wrist"):
        _generalist.load(folder).act(images, "lift the cube")


def test_weights_come_back(folder: Path) -> None:
    assert np.array_equal(generalist.read_tensors(folder)["weight"], np.arange(3.0))


def test_a_folder_that_is_none_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(GeneralistUnusable, match=r"finetune\.py small"):
        _generalist.load(tmp_path)


@pytest.mark.parametrize("name", [generalist.MODEL, generalist.WEIGHTS])
def test_a_file_that_was_cut_short_is_refused(folder: Path, name: str) -> None:
    (folder / name).write_bytes((folder / name).read_bytes()[:-1])
    with pytest.raises(GeneralistUnusable, match=name):
        _generalist.load(folder)


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"format": 1, "files": {}, "other": 2}'])
def test_a_card_that_is_none_is_refused(folder: Path, text: str) -> None:
    (folder / generalist.CARD).write_text(text)
    with pytest.raises(GeneralistUnusable, match="incomplete"):
        generalist.read_card(folder)


def test_another_format_is_refused(folder: Path) -> None:
    said = json.loads((folder / generalist.CARD).read_text()) | {"format": 99}
    (folder / generalist.CARD).write_text(json.dumps(said))
    with pytest.raises(GeneralistUnusable, match="format 99"):
        generalist.read_card(folder)


def test_writing_again_replaces_the_older_one_whole(folder: Path) -> None:
    generalist.write(folder, card(rate_hz=5.0), onnx_that_answers([0.0] * 7), {"weight": np.zeros(1)})
    assert generalist.read_card(folder).rate_hz == 5.0
    assert sorted(path.name for path in folder.parent.iterdir()) == ["made_up"]
