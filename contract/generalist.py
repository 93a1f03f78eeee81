"""A generalist's folder: pictures and an instruction in, the tool's next motion out; nothing else is seen (RLDG).

model.onnx          one input per camera, `words`, and the normalised action
model.safetensors   the same weights, to fine-tune from
card.json           instructions, cameras, meaning of the action, provenance, size and sha256 of both
"""

from __future__ import annotations

import difflib
import json
import re
import shutil
import tempfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from contract.artifact import fingerprint, replace_folder

FORMAT = 1
CARD, MODEL, WEIGHTS = "card.json", "model.onnx", "model.safetensors"
FILES = {CARD, MODEL, WEIGHTS}
WORD_COUNT = 64
"""Places that the words of an instruction are spread over."""


class GeneralistUnusable(RuntimeError):
    """A generalist's folder is missing, cut short, or not what was written."""


class UnknownInstruction(ValueError):
    """The generalist was not trained on that instruction."""


class MissingPicture(ValueError):
    """A camera that the generalist looks at gave no picture, or one of another size."""


@dataclass(frozen=True)
class Card:
    """What a generalist is.

    cameras: whose pictures it needs, side_px square. low, high: what -1 and 1 of the normalised motion are, m and rad
    about the base's axes in 1 / rate_hz seconds (6,); where both are equal the axis is locked.
    """

    instructions: tuple[str, ...]
    cameras: tuple[str, ...]
    side_px: int
    rate_hz: float
    low: tuple[float, ...]
    high: tuple[float, ...]
    provenance: dict[str, Any] = field(default_factory=dict)


def plain(instruction: str) -> str:
    """Lower case, words and single spaces only."""
    return " ".join(re.findall(r"[a-z0-9]+", instruction.lower()))


def words(instruction: str) -> np.ndarray:
    """Which words there are, whatever their order. Shape: (WORD_COUNT,) float32"""
    vector = np.zeros(WORD_COUNT, np.float32)
    for word in plain(instruction).split():
        vector[zlib.crc32(word.encode()) % WORD_COUNT] = 1.0
    return vector


class Session(Protocol):
    """What runs model.onnx, e.g. an `onnxruntime.InferenceSession`."""

    def run(self, outputs: None, inputs: dict[str, np.ndarray]) -> Sequence[Any]: ...


class Generalist:
    """A trained one: its card, and what runs its network."""

    def __init__(self, card: Card, session: Session) -> None:
        self.card, self._session = card, session
        self._low, self._high = np.array(card.low), np.array(card.high)

    def check(self, instruction: str) -> None:
        """Raises UnknownInstruction with the nearest one it knows."""
        known = [plain(each) for each in self.card.instructions]
        if plain(instruction) not in known:
            near = difflib.get_close_matches(plain(instruction), known, n=1, cutoff=0.0)[0]
            raise UnknownInstruction(
                f"This generalist does not know “{instruction}”; the nearest that it was trained on is “{near}”."
            )

    def act(self, images: Mapping[str, np.ndarray], instruction: str) -> np.ndarray:
        """What the commanded tool should do in the next 1 / rate_hz seconds. Shape: (7,), or (N, 7) of a batch.

        images: camera to RGB (side_px, side_px, 3) or (N, side_px, side_px, 3) uint8. Answer: translation m, rotation
        vector rad, base frame; the chance that the gripper should be open. Raises UnknownInstruction, MissingPicture.
        """
        self.check(instruction)
        shown = {name: self._pictures(images, name) for name in self.card.cameras}
        single = next(iter(shown.values())).ndim == 3
        inputs = {name: pictures[None] if single else pictures for name, pictures in shown.items()}
        count = len(next(iter(inputs.values())))
        inputs["words"] = np.repeat(words(instruction)[None], count, 0)
        (normalised,) = self._session.run(None, inputs)
        share = (np.clip(normalised[:, :6], -1.0, 1.0) + 1.0) / 2
        motion = self._low + share * (self._high - self._low)
        action = np.concatenate([motion, 1 / (1 + np.exp(-normalised[:, 6:]))], -1)
        return action[0] if single else action

    def _pictures(self, images: Mapping[str, np.ndarray], camera: str) -> np.ndarray:
        side = self.card.side_px
        pictures = images.get(camera)
        if pictures is None:
            raise MissingPicture(f"There is no picture of camera '{camera}', which this generalist looks at.")
        if pictures.shape[-3:] != (side, side, 3) or pictures.dtype != np.uint8:
            raise MissingPicture(f"Camera '{camera}' gave {pictures.shape}, not {side} x {side} pixels of RGB.")
        return np.ascontiguousarray(pictures)


DWELL_S = 0.6
"""So long fingers may take to close; meanwhile pictures of them say little about whether they should."""


class Gripper:
    """What to tell the grippers of N arms: who changes its mind must be sure, and a while after it last did."""

    def __init__(self, rate_hz: float, count: int = 1) -> None:
        """All begin open. rate_hz: of the answers."""
        self._dwell = round(DWELL_S * rate_hz)
        self.closed = np.zeros(count, bool)
        self._age = np.full(count, self._dwell)

    def tell(self, chance: np.ndarray, rows: np.ndarray | slice = slice(None)) -> np.ndarray:
        """The contract's gripper action: 1 opens, -1 closes. chance: that they should be open, (n,) for those rows."""
        closed, age = self.closed[rows], self._age[rows]
        turned = np.where(closed, chance > _SURE, chance < 1 - _SURE) & (age >= self._dwell)
        self.closed[rows] = closed ^ turned
        self._age[rows] = np.where(turned, 1, age + 1)
        return np.where(self.closed[rows], -1.0, 1.0)


_SURE = 0.75


def read_card(folder: Path) -> Card:
    """What is in `folder`, its files verified. Raises GeneralistUnusable."""
    try:
        text = (folder / CARD).read_text()
    except OSError:
        raise GeneralistUnusable(
            f"There is no generalist in {folder}: train one with launch/finetune.py small, or name its folder."
        ) from None
    try:
        plain_card: dict[str, Any] = json.loads(text)
        files = plain_card.pop("files")
        kind = plain_card.pop("format")
        values: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in plain_card.items()}
        card = Card(**values)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise GeneralistUnusable(f"{folder / CARD} is incomplete: copy or train the generalist again.") from None
    if kind != FORMAT:
        raise GeneralistUnusable(f"{folder} is of format {kind}, this code reads {FORMAT}: train the generalist again.")
    for name, expected in files.items():
        if not (folder / name).is_file() or fingerprint(folder / name) != expected:
            raise GeneralistUnusable(f"{folder / name} is not the file that was written: copy or train it again.")
    return card


def write(folder: Path | str, card: Card, onnx: bytes, tensors: Mapping[str, np.ndarray]) -> Path:
    """Writes the folder whole or not at all, replacing an older one."""
    from safetensors.numpy import save_file

    folder = Path(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        (staging / MODEL).write_bytes(onnx)
        save_file({name: np.ascontiguousarray(values) for name, values in tensors.items()}, staging / WEIGHTS)
        said = {
            **vars(card),
            "format": FORMAT,
            "files": {each: fingerprint(staging / each) for each in (MODEL, WEIGHTS)},
        }
        (staging / CARD).write_text(json.dumps(said, indent=2) + "\n")
        staging.chmod(0o755)
        replace_folder(staging, folder)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return folder


def read_tensors(folder: Path | str) -> dict[str, np.ndarray]:
    """Its weights, by name. Raises GeneralistUnusable."""
    from safetensors.numpy import load_file

    read_card(Path(folder))
    tensors: dict[str, np.ndarray] = load_file(Path(folder) / WEIGHTS)
    return tensors
