"""Dataclasses and arrays as msgpack and back, bit for bit: what is computed again from them comes out the same."""

from __future__ import annotations

import dataclasses
import struct
import types
import typing
from functools import lru_cache
from typing import Any

import msgpack
import numpy as np

_ARRAY = 1
_DTYPE = np.dtype("<f8")
_NAMES: dict[type, tuple[str, ...]] = {}
"""Fields of the dataclasses met so far."""


class NotExact(ValueError):
    """These bytes do not hold what was expected of them: another version of the program wrote them."""


def pack(value: Any) -> bytes:
    """`value`, made of dataclasses, float arrays, tuples, numbers, text and None."""
    packed: bytes = msgpack.packb(value, default=_plain)
    return packed


def unpack(kind: Any, packed: bytes) -> Any:
    """What `pack` was given, as the type `kind`. Raises NotExact."""
    try:
        return _as(kind, msgpack.unpackb(packed, ext_hook=_array, strict_map_key=False))
    except (TypeError, KeyError, ValueError, msgpack.UnpackException) as error:
        raise NotExact(f"{kind} cannot be read: {error}") from error


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        # The order in memory is kept: linear algebra may round differently for the other one.
        flags = value.flags
        fortran = flags.f_contiguous and not flags.c_contiguous
        head = struct.pack(f"<2B{value.ndim}I", fortran, value.ndim, *value.shape)
        floats = value if value.dtype == _DTYPE else value.astype(_DTYPE)
        return msgpack.ExtType(_ARRAY, head + floats.tobytes("F" if fortran else "C"))
    names = _NAMES.get(type(value))
    if names is None:
        if isinstance(value, np.generic):
            return value.item()
        names = _NAMES[type(value)] = tuple(field.name for field in dataclasses.fields(value))
    return {name: getattr(value, name) for name in names}


def _array(code: int, content: bytes) -> np.ndarray:
    if code != _ARRAY:
        raise NotExact(f"Unknown extension {code}.")
    fortran, dimensions = content[0], content[1]
    shape = struct.unpack_from(f"<{dimensions}I", content, 2)
    flat = np.frombuffer(content, _DTYPE, offset=2 + 4 * dimensions)
    return flat.reshape(shape, order="F" if fortran else "C").copy(order="K")


def _as(kind: Any, plain: Any) -> Any:
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return None if plain is None else _as(next(one for one in inner if one is not type(None)), plain)
    if origin is tuple:
        kinds = [inner[0]] * len(plain) if inner[-1] is Ellipsis else inner
        return tuple(_as(one, item) for one, item in zip(kinds, plain, strict=True))
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        hints = _hints(kind)
        if set(hints) != set(plain):
            raise NotExact(f"expected {sorted(hints)}, found {sorted(plain)}")
        return kind(**{name: _as(hints[name], item) for name, item in plain.items()})
    if kind is not Any and not isinstance(plain, kind):
        raise NotExact(f"expected {kind}, found {type(plain)}")
    return plain


@lru_cache
def _hints(kind: type) -> dict[str, Any]:
    hints = typing.get_type_hints(kind)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind)}
