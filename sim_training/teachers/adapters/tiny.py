"""A synthetic teacher that needs no weights: its deltas follow from the image's mean and the instruction's letters."""

from __future__ import annotations

import time
import zlib
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from sim_training.teachers.server import ServerConfig, serve

_STEP_M, _TURN_RAD = 0.05, 0.2


class TinyModel:
    """Deterministic, so that both ends of a wire can say what should have arrived."""

    name = "synthetic tiny"

    def __init__(self, call_s: float = 0.0, row_s: float = 0.0):
        """call_s, row_s: what a forward pass costs once and for each image, seconds."""
        self._call_s, self._row_s = call_s, row_s

    def predict(self, images: np.ndarray, instructions: list[str], tcp: np.ndarray) -> np.ndarray:
        """See `Model.predict`."""
        time.sleep(self._call_s + self._row_s * len(images))
        colour = images[:, ::8, ::8].mean((1, 2)) / 127.5 - 1.0
        word = np.array([zlib.crc32(text.encode()) / 2**31 - 1.0 for text in instructions])[:, None]
        turn = _TURN_RAD * np.concatenate([np.zeros((len(images), 2)), word], -1)
        return np.concatenate([_STEP_M * colour, turn, np.where(word > 0, 1.0, -1.0)], -1).astype(np.float32)


@dataclass(frozen=True)
class Arguments:
    """Serve a synthetic teacher that needs no weights, for tests and measurements."""

    server: ServerConfig = field(default_factory=ServerConfig)
    call_s: float = 0.0
    """What a forward pass costs, seconds."""
    row_s: float = 0.0
    """What each image adds to that, seconds."""


if __name__ == "__main__":
    import tyro

    chosen = tyro.cli(Arguments, config=(tyro.conf.OmitArgPrefixes,))
    serve(partial(TinyModel, chosen.call_s, chosen.row_s), chosen.server)
