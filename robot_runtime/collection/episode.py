"""One episode on disk: an HDF5 file, written beside its place and renamed there once it is whole.

A kill at any moment loses at most the running episode; a file that has its name is complete.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import cv2
import h5py
import numpy as np

FORMAT = 1
RATE_HZ = 10.0
SIDE_PX = 128
JPEG_QUALITY = 95
FIRST_LABEL = "labelled_before"
"""Note of an episode whose label a classifier wrote over."""

COLUMNS: dict[str, tuple[int, ...]] = {
    "stamp": (),
    "q": (7,),
    "dq": (7,),
    "pose_base_tcp": (7,),
    "v_base_tcp": (6,),
    "wrench_base": (6,),
    "gripper_width": (),
    "gripper_closed": (),
    "command_base_tcp": (7,),
    "pose_base_object": (7,),
    "object_sigma": (),
    "object_age": (),
    "object_held": (),
    "asked_base": (7,),
    "asked_wrist": (7,),
    "executed_base": (7,),
    "executed_wrist": (7,),
    "human": (),
}
"""What every step has, and its shape; float64, SI units, frames in the names.

Poses are x, y, z and a quaternion wxyz. command_base_tcp: where the tool was commanded to when the step began.
asked_*, executed_*: the step's action, physical: translation m, rotation vector rad, gripper 1 open or 0 closed. The
commanded tool pose at the step's end relative to the one at its beginning, as it was asked for and as the bridge let it
pass; turned about the base's axes, or both expressed in the frame of the commanded tool (`actions.py`).
human: 1 where a person's hand was on the device, 0 where the policy decided.
"""


class EpisodeBroken(ValueError):
    """The file is no whole episode. Delete it, or leave it out."""


@dataclass(frozen=True)
class About:
    """What holds for the whole episode.

    variant: which of the task's objects, by name. success: None where nobody has judged it; success_by: `truth` of a
    mock cell or a simulator, `classifier` or `operator`. contract_hash: of the task card that policy and arm shared.
    calibration: which, in words that name it. policy: what acted, with its provenance; synthetic stand-ins say so in
    it. cell: name of the cell, or of the simulator. began: date and time, ISO 8601, UTC. cameras: name to serial and
    mode. timings: figures of the loop and of the recorder. notes: anything else, by name.
    """

    task: str
    instruction: str
    variant: str
    success: bool | None
    success_by: str | None
    contract_hash: str
    calibration: str
    policy: str
    cell: str
    began: str
    seed: int
    duration_s: float
    rate_hz: float = RATE_HZ
    cameras: dict[str, str] = field(default_factory=dict)
    timings: dict[str, Any] = field(default_factory=dict)
    notes: dict[str, Any] = field(default_factory=dict)

    @property
    def first_label(self) -> tuple[bool | None, str | None]:
        """Success and who said so, before a classifier wrote over it."""
        success, by = self.notes.get(FIRST_LABEL, (self.success, self.success_by))
        return success, by


@dataclass(frozen=True)
class Episode:
    """What was recorded.

    steps: the columns of COLUMNS, each (N, ...). images: camera to N JPEG files of SIDE_PX squares; `wrist` is the one
    on the hand. image_stamps: camera to the robot time of each picture, (N,). ticks: raw signals at the policy's own
    rate, each (M, ...). frames: full pictures, only where they were asked for.
    """

    about: About
    steps: dict[str, np.ndarray]
    images: dict[str, list[bytes]]
    image_stamps: dict[str, np.ndarray]
    ticks: dict[str, np.ndarray] = field(default_factory=dict)
    frames: dict[str, list[bytes]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.steps["stamp"])

    def pictures(self, camera: str) -> np.ndarray:
        """Decoded. Shape: (N, SIDE_PX, SIDE_PX, 3) uint8 RGB"""
        return np.stack([decode(file) for file in self.images[camera]])


def encode(rgb: np.ndarray) -> bytes:
    """As a JPEG file. rgb: (height, width, 3) uint8"""
    done, file = cv2.imencode(".jpg", rgb[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    assert done
    return file.tobytes()


def decode(file: bytes) -> np.ndarray:
    """A JPEG or PNG file as RGB. Shape: (height, width, 3) uint8. Raises EpisodeBroken."""
    bgr = cv2.imdecode(np.frombuffer(file, np.uint8), cv2.IMREAD_COLOR) if file else None
    if bgr is None:
        raise EpisodeBroken("A picture of the episode cannot be decoded.")
    return np.ascontiguousarray(bgr[..., ::-1])


def square(rgb: np.ndarray) -> np.ndarray:
    """The middle of a picture, as large as the dataset wants it. Shape: (SIDE_PX, SIDE_PX, 3)"""
    height, width = rgb.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return cv2.resize(rgb[top : top + side, left : left + side], (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_AREA)


def name_of(number: int) -> str:
    """Of the episode with that number in its folder."""
    return f"episode_{number:05d}.h5"


def files(folder: Path) -> list[Path]:
    """All episodes in a folder, in order; what a killed process has left half-written is not among them."""
    return sorted(folder.glob("episode_*.h5"))


def write(path: Path, episode: Episode) -> None:
    """Whole or not at all. Raises OSError, e.g. of a full disk; nothing is left behind then."""
    check(episode)
    staging = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with staging.open("wb") as file:
            file.write(_bytes(episode))
            file.flush()
            os.fsync(file.fileno())
        staging.replace(path)
    finally:
        staging.unlink(missing_ok=True)


def _bytes(episode: Episode) -> bytes:
    """The file's content, made in memory: on a full disk HDF5 itself was seen to end the process."""
    with h5py.File("episode", "w", driver="core", backing_store=False) as file:
        _fill(file, episode)
        file.flush()
        image: bytes = file.id.get_file_image()
    return image


def _fill(file: h5py.File, episode: Episode) -> None:
    file.attrs["format"] = FORMAT
    file.attrs["about"] = json.dumps(asdict(episode.about))
    groups = {"steps": episode.steps, "image_stamps": episode.image_stamps, "ticks": episode.ticks}
    for group, columns in groups.items():
        made = file.create_group(group)
        for name, values in columns.items():
            made.create_dataset(name, data=values, compression="gzip", compression_opts=1, shuffle=True)
    for group, cameras in (("images", episode.images), ("frames", episode.frames)):
        made = file.create_group(group)
        for name, pictures in cameras.items():
            column = made.create_dataset(name, (len(pictures),), h5py.vlen_dtype(np.uint8))
            for index, picture in enumerate(pictures):
                column[index] = np.frombuffer(picture, np.uint8)


def check(episode: Episode) -> None:
    """Raises EpisodeBroken with what is missing or of another length."""
    count = len(episode.steps.get("stamp", ()))
    if count == 0:
        raise EpisodeBroken("The episode has no steps.")
    for name, shape in COLUMNS.items():
        got = np.shape(episode.steps.get(name, ()))
        if got != (count, *shape):
            raise EpisodeBroken(f"Column '{name}' has shape {got}, not {(count, *shape)}.")
        if not np.isfinite(episode.steps[name]).all():
            raise EpisodeBroken(f"Column '{name}' holds a number that is not finite.")
    if "wrist" not in episode.images:
        raise EpisodeBroken("The episode has no pictures of camera 'wrist'.")
    for camera, pictures in episode.images.items():
        if len(pictures) != count or np.shape(episode.image_stamps.get(camera, ())) != (count,):
            raise EpisodeBroken(f"Camera '{camera}' has {len(pictures)} pictures for {count} steps.")


def read_about(path: Path) -> About:
    """What holds for the whole of it, without reading the rest. Raises EpisodeBroken."""
    with _opened(path) as file:
        return _about(path, file)


def read_columns(path: Path) -> tuple[About, dict[str, np.ndarray], tuple[str, ...]]:
    """What it is about, the columns of its steps, and which cameras it has; no pictures. Raises EpisodeBroken."""
    with _opened(path) as file:
        try:
            columns = {name: file["steps"][name][:] for name in file["steps"]}
            return _about(path, file), columns, tuple(sorted(file["images"]))
        except (KeyError, OSError) as error:
            raise EpisodeBroken(f"{path} is damaged ({' '.join(str(error).split())}): leave it out.") from error


def read(path: Path, with_frames: bool = False) -> Episode:
    """All of it. Raises EpisodeBroken."""
    with _opened(path) as file:
        about = _about(path, file)
        try:
            columns: dict[str, Any] = {group: {name: file[group][name][:] for name in file[group]} for group in _TABLES}
            wanted = ("images", "frames") if with_frames else ("images",)
            pictures: dict[str, Any] = {
                group: {camera: [row.tobytes() for row in file[group][camera][:]] for camera in file[group]}
                for group in wanted
            }
        except (KeyError, OSError, TypeError, ValueError) as error:
            raise EpisodeBroken(f"{path} is damaged ({' '.join(str(error).split())}): leave it out.") from error
    episode = Episode(about, **columns, **pictures)
    try:
        check(episode)
    except EpisodeBroken as error:
        raise EpisodeBroken(f"{path}: {error}") from None
    return episode


_TABLES = ("steps", "image_stamps", "ticks")


class _opened:
    """An HDF5 file. Raises EpisodeBroken where it is none."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> h5py.File:
        try:
            self._file = h5py.File(self._path, "r")
        except FileNotFoundError:
            raise EpisodeBroken(f"There is no file {self._path}: name an episode's.") from None
        except OSError as error:
            raise EpisodeBroken(f"{self._path} is no whole HDF5 file: it was cut short; leave it out.") from error
        return self._file

    def __exit__(self, *_: object) -> None:
        self._file.close()


def _about(path: Path, file: h5py.File) -> About:
    if file.attrs.get("format") != FORMAT:
        raise EpisodeBroken(f"{path} is no episode of format {FORMAT}, or of a newer program.")
    known = {each.name for each in fields(About)}
    try:
        plain = json.loads(file.attrs["about"])
        return About(**{name: value for name, value in plain.items() if name in known})
    except (KeyError, TypeError, ValueError) as error:
        raise EpisodeBroken(f"{path} does not say what it is about: leave it out.") from error


def read_all(folder: Path) -> Iterator[tuple[Path, Episode]]:
    """All whole episodes of a folder. Raises EpisodeBroken at the first that is not."""
    for path in files(folder):
        yield path, read(path)
