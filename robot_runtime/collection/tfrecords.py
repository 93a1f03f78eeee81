"""Files of `tf.train.Example` records, as TensorFlow reads and writes them, without TensorFlow."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

import crc32c
import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

_MASK = 0xA282EAD8
"""Added to a rotated checksum (tensorflow/core/lib/hash/crc32c.h)."""

_LISTS = {"BytesList": "TYPE_BYTES", "FloatList": "TYPE_FLOAT", "Int64List": "TYPE_INT64"}
_KINDS = {"bytes_list": "BytesList", "float_list": "FloatList", "int64_list": "Int64List"}


class RecordsBroken(ValueError):
    """A record file was cut short or changed. Export it again."""


def write_record(file: BinaryIO, record: bytes) -> None:
    """Appends one: length, its checksum, the record, its checksum."""
    length = struct.pack("<Q", len(record))
    file.write(length + _checksum(length) + record + _checksum(record))


def read_records(path: Path) -> Iterator[bytes]:
    """All of a file. Raises RecordsBroken."""
    with path.open("rb") as file:
        while head := file.read(12):
            length, checksum = head[:8], head[8:]
            if len(head) < 12 or checksum != _checksum(length):
                raise RecordsBroken(f"{path} was cut short or changed: export it again.")
            record = file.read(struct.unpack("<Q", length)[0])
            if file.read(4) != _checksum(record):
                raise RecordsBroken(f"{path} was cut short or changed: export it again.")
            yield record


def encode_example(columns: Mapping[str, Sequence[bytes] | np.ndarray]) -> bytes:
    """One example: floats for arrays of floats, whole numbers for others, bytes for lists of bytes."""
    example = _example_class()()
    for name, values in columns.items():
        feature = example.features.feature[name]
        if not isinstance(values, np.ndarray):
            feature.bytes_list.value.extend(values)
        elif values.dtype.kind == "f":
            feature.float_list.value.extend(values.ravel().tolist())
        else:
            feature.int64_list.value.extend(values.ravel().astype(np.int64).tolist())
    encoded: bytes = example.SerializeToString(deterministic=True)
    return encoded


def decode_example(record: bytes) -> dict[str, list[bytes] | np.ndarray]:
    """Inverse of `encode_example`, flat: float32 or int64 arrays. Raises RecordsBroken."""
    example = _example_class()()
    try:
        example.ParseFromString(record)
    except DecodeError:
        raise RecordsBroken("A record is no tf.train.Example: export the dataset again.") from None
    columns: dict[str, list[bytes] | np.ndarray] = {}
    for name, feature in example.features.feature.items():
        kind = feature.WhichOneof("kind")
        values = getattr(feature, kind).value
        number = np.float32 if kind == "float_list" else np.int64
        columns[name] = list(values) if kind == "bytes_list" else np.array(values, number)
    return columns


def _checksum(content: bytes) -> bytes:
    crc = crc32c.crc32c(content)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + _MASK) & 0xFFFFFFFF)


@cache
def _example_class() -> Any:
    """Made from what tensorflow/core/example/{example,feature}.proto declare."""
    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="example.proto", package="tensorflow", syntax="proto3")
    for name, kind in _LISTS.items():
        message = file.message_type.add(name=name)
        message.field.add(name="value", number=1, label=field.LABEL_REPEATED, type=getattr(field, kind))
    feature = file.message_type.add(name="Feature")
    feature.oneof_decl.add(name="kind")
    for number, (name, kind) in enumerate(_KINDS.items(), start=1):
        _message_field(feature, name, number, kind).oneof_index = 0
    features = file.message_type.add(name="Features")
    entry = features.nested_type.add(name="FeatureEntry")
    entry.options.map_entry = True
    entry.field.add(name="key", number=1, label=field.LABEL_OPTIONAL, type=field.TYPE_STRING)
    _message_field(entry, "value", 2, "Feature")
    _message_field(features, "feature", 1, "Features.FeatureEntry").label = field.LABEL_REPEATED
    _message_field(file.message_type.add(name="Example"), "features", 1, "Features")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("tensorflow.Example"))


def _message_field(message: Any, name: str, number: int, kind: str) -> Any:
    field = descriptor_pb2.FieldDescriptorProto
    return message.field.add(
        name=name, number=number, label=field.LABEL_OPTIONAL, type=field.TYPE_MESSAGE, type_name=f".tensorflow.{kind}"
    )
