"""The raw samples beside a calibration: one PNG, one depth image and one JSON each, written beside and renamed."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from calibration.board import BoardView
from calibration.hand_eye import Sample
from contract.poses import Pose

_DEPTH_UNIT_M = 0.001
_FINISHED = "finished"


class OtherCollection(RuntimeError):
    """The folder holds samples of another board, camera or mount."""


class BrokenSample(RuntimeError):
    """A sample cannot be read."""


@dataclass(frozen=True)
class Taken:
    """One sample with its picture. number: which pose of the tour. depth_m: (H, W)."""

    number: int
    sample: Sample
    stamp_s: float
    rgb: np.ndarray
    depth_m: np.ndarray


class SampleFolder:
    """Samples of one collection. The tour is kept, too, so that a collection that was cut off can go on."""

    def __init__(self, folder: Path, header: dict[str, Any]) -> None:
        """header: board, mount, serial and mode. Raises OtherCollection."""
        self.folder, self._header = folder, header
        self._collection = folder / "collection.json"
        if self._collection.exists():
            found = json.loads(self._collection.read_text())
            differing = [key for key in header if found["header"].get(key) != header[key]]
            if differing:
                raise OtherCollection(
                    f"{folder} holds samples with another {', '.join(differing)}: name another --out, or remove it."
                )

    @property
    def tour(self) -> dict[str, Any] | None:
        """What `begin` was given; None before."""
        if not self._collection.exists():
            return None
        found: dict[str, Any] = json.loads(self._collection.read_text())["tour"]
        return found

    @property
    def finished(self) -> bool:
        """Whether these samples have given a calibration."""
        return (self.folder / _FINISHED).exists()

    def finish(self) -> None:
        """Note that they have."""
        _write(self.folder / _FINISHED, b"")

    def begin(self, tour: dict[str, Any]) -> None:
        """Write down what is going to be collected."""
        self.folder.mkdir(parents=True, exist_ok=True)
        _write(self._collection, json.dumps({"header": self._header, "tour": tour}, indent=1).encode())

    def numbers(self) -> list[int]:
        """Which poses have been sampled."""
        return sorted(int(path.stem.removeprefix("sample_")) for path in self.folder.glob("sample_[0-9]*.json"))

    def add(self, taken: Taken) -> None:
        """Keep one; its JSON comes last and makes it count."""
        name, view, pose = f"sample_{taken.number:02d}", taken.sample.view, taken.sample.pose_base_tcp
        depth = np.round(taken.depth_m / _DEPTH_UNIT_M).astype(np.uint16)
        for suffix, picture in ((".png", taken.rgb[..., ::-1]), ("_depth.png", depth)):
            _write(self.folder / f"{name}{suffix}", cv2.imencode(".png", picture)[1].tobytes())
        content = {
            "stamp_s": taken.stamp_s, "position": pose.position.tolist(), "quaternion": pose.quaternion.tolist(),
            "ids": view.ids.tolist(), "corners_px": view.corners_px.tolist(), "points": view.points_board.tolist(),
        }  # fmt: skip
        _write(self.folder / f"{name}.json", json.dumps(content).encode())

    def read(self, number: int) -> Taken:
        """One of them. Raises BrokenSample."""
        name = self.folder / f"sample_{number:02d}"
        try:
            content = json.loads(name.with_suffix(".json").read_text())
            rgb = cv2.imread(str(name.with_suffix(".png")))
            depth = cv2.imread(f"{name}_depth.png", cv2.IMREAD_UNCHANGED)
            if rgb is None or depth is None:
                raise ValueError("a picture is missing")
            pose = Pose(np.array(content["position"]), np.array(content["quaternion"]))
            parts = (np.array(content[key]) for key in ("ids", "corners_px", "points"))
            view = BoardView(*parts)
            return Taken(
                number, Sample(pose, view), content["stamp_s"], rgb[..., ::-1], depth.astype(np.float32) * _DEPTH_UNIT_M
            )
        except (OSError, KeyError, TypeError, ValueError, AttributeError) as error:
            raise BrokenSample(
                f"{name}.json or its pictures cannot be read ({error}): remove them, run again."
            ) from error

    def all(self) -> Iterator[Taken]:
        """In the order of the tour. Raises BrokenSample."""
        return (self.read(number) for number in self.numbers())

    def set_aside(self) -> Path:
        """Rename the folder, so that the next collection begins anew; returns where the samples are now."""
        number = 1
        while (aside := self.folder.with_name(f"{self.folder.name}.aside-{number}")).exists():
            number += 1
        self.folder.rename(aside)
        return aside


def _write(path: Path, content: bytes) -> None:
    staging = path.with_name(f".{path.name}.{os.getpid()}")
    staging.write_bytes(content)
    staging.replace(path)
