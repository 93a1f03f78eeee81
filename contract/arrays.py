"""One small door between numpy arrays and torch tensors, so the contract is written once for both."""

from __future__ import annotations

import math
import sys
from typing import Any

import numpy as np


def namespace(x: Any) -> Any:
    """The module (`numpy` or `torch`) whose functions work on `x`."""
    return sys.modules["torch"] if type(x).__module__.startswith("torch") else np


def is_single(x: Any) -> bool:
    """Whether `x` is one numpy vector, not a batch."""
    return type(x) is np.ndarray and x.ndim == 1


def norm(x: Any) -> Any:
    """Euclidean length over the last axis, that axis kept. Shape: (..., n) -> (..., 1)"""
    return namespace(x).sqrt((x * x).sum(-1)[..., None])


def limit_norm(x: Any, bound: float) -> Any:
    """`x` shortened, never lengthened, to at most `bound` over the last axis. Shape: (..., n)"""
    if is_single(x):
        length = math.sqrt(float(x @ x))
        return x * (bound / length) if length > bound else x
    xp = namespace(x)
    return x * xp.clip(bound / xp.clip(norm(x), 1e-12, None), None, 1.0)
