"""Record files hold what was written, or are refused; their bytes are TensorFlow's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robot_runtime.collection.tfrecords import (
    RecordsBroken,
    decode_example,
    encode_example,
    read_records,
    write_record,
)

FRAMED = bytes.fromhex("0300000000000000b099490e6162636e57f121")
"""What `tf.io.TFRecordWriter` of TensorFlow 2.21 wrote for the record b"abc"."""


def test_a_record_is_framed_as_tensorflow_frames_it(tmp_path: Path) -> None:
    with (tmp_path / "one").open("wb") as file:
        write_record(file, b"abc")
    assert (tmp_path / "one").read_bytes() == FRAMED
    assert list(read_records(tmp_path / "one")) == [b"abc"]


def test_a_file_that_was_cut_or_changed_anywhere_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "records"
    with path.open("wb") as file:
        for record in (b"first", b"second"):
            write_record(file, record)
    whole = path.read_bytes()
    for at in range(1, len(whole)):
        if at == len(whole) - len(b"second") - 16:
            continue  # between two records: that one is missing is seen by whoever knows how many there are
        path.write_bytes(whole[:at])
        with pytest.raises(RecordsBroken, match="cut short"):
            list(read_records(path))
    for at in range(len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with pytest.raises(RecordsBroken, match="cut short or changed"):
            list(read_records(path))


@given(
    st.lists(st.binary(max_size=20), min_size=1, max_size=5),
    st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=9),
    st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=9),
)
def test_an_example_gives_back_what_was_put_in(files: list[bytes], floats: list[float], whole: list[int]) -> None:
    given_columns = {"a/files": files, "b": np.array(floats, np.float32), "c/d": np.array(whole, np.int64)}
    found = decode_example(encode_example(given_columns))
    assert found.keys() == given_columns.keys()
    assert found["a/files"] == files
    np.testing.assert_array_equal(found["b"], given_columns["b"])
    np.testing.assert_array_equal(found["c/d"], given_columns["c/d"])


def test_yes_and_no_are_whole_numbers() -> None:
    np.testing.assert_array_equal(decode_example(encode_example({"x": np.array([True, False])}))["x"], [1, 0])


def test_what_is_no_example_is_refused() -> None:
    with pytest.raises(RecordsBroken, match="no tf.train.Example"):
        decode_example(b"\xff\xff\xff")
