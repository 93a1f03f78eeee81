"""The cameras of a cell file: addresses, modes, and where each of them is."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np

from calibration import store
from robot_runtime.cell_errors import CellError

Rows = tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class _Mode:
    """What any RGB-D camera is asked for.

    address: `usb` for the RealSense with that serial, `tcp://host:port` of a frame stream for a software device, or
    `file:PATH.db3` of a recording.
    clock: whether hardware stamps are already `robot` time or need mapping from the `host` clock.
    calibration: file that `launch/calibrate.py` has written, relative to the cell file; or the transform is given.
    """

    address: str
    serial: str
    width: int
    height: int
    rate_hz: int
    clock: Literal["host", "robot"]
    calibration: str | None = field(default=None, kw_only=True)

    def _load(self, mount: Literal["fixed", "wrist"]) -> store.Calibration:
        assert self.calibration is not None
        return store.load(Path(self.calibration), mount, self.serial, self.width, self.height)


@dataclass(frozen=True)
class CameraSettings(_Mode):
    """The fixed camera. T_base_camera: optical frame (x right, y down, z forward) to robot base, m. Shape: (4, 4)"""

    T_base_camera: Rows | None = None

    @property
    def T_base_camera_matrix(self) -> np.ndarray:
        """Where it is: as given, or from its calibration. Shape: (4, 4). Raises store.CalibrationError."""
        if self.T_base_camera is not None:
            return np.array(self.T_base_camera, dtype=float)
        return self.load_calibration().T_reference_camera.matrix()

    @property
    def calibrated_K(self) -> np.ndarray | None:
        """Pinhole matrix in pixels from its calibration, None without one. Shape: (3, 3). Raises CalibrationError."""
        return None if self.calibration is None else self.load_calibration().K

    def load_calibration(self) -> store.Calibration:
        """Of this serial and mode. Raises store.CalibrationError if it must not be used."""
        return self._load("fixed")


@dataclass(frozen=True)
class WristCameraSettings(_Mode):
    """The camera on the hand. T_tcp_camera: optical frame to tool, m. Shape: (4, 4)"""

    T_tcp_camera: Rows | None = None

    @property
    def T_tcp_camera_matrix(self) -> np.ndarray:
        """Where it is on the hand: as given, or from its calibration. Shape: (4, 4). Raises store.CalibrationError."""
        if self.T_tcp_camera is not None:
            return np.array(self.T_tcp_camera, dtype=float)
        return self.load_calibration().T_reference_camera.matrix()

    def load_calibration(self) -> store.Calibration:
        """Of this serial and mode. Raises store.CalibrationError if it must not be used."""
        return self._load("wrist")


AnyCamera = CameraSettings | WristCameraSettings
SomeCamera = TypeVar("SomeCamera", CameraSettings, WristCameraSettings)


def calibration_name(eye: AnyCamera) -> str:
    """Which calibration says where it is, for whoever reads the pictures later. Raises store.CalibrationError."""
    if eye.calibration is None:
        return f"{eye.serial} as given in the cell file"
    found = eye.load_calibration()
    return f"{found.serial} of {found.date}"


def beside(eye: SomeCamera, folder: Path) -> SomeCamera:
    """With the calibration's path made absolute, taken from the folder of the cell file."""
    if eye.calibration is None:
        return eye
    return replace(eye, calibration=str((folder / Path(eye.calibration).expanduser()).resolve()))


def check_cameras(fixed: CameraSettings, wrist: WristCameraSettings | None) -> None:
    """Raises CellError for what no cell can mean."""
    _check(fixed, "camera", "T_base_camera", fixed.T_base_camera)
    if wrist is None:
        return
    _check(wrist, "wrist_camera", "T_tcp_camera", wrist.T_tcp_camera)
    if fixed.serial == wrist.serial:
        raise CellError(f"camera and wrist_camera both have serial {fixed.serial}: give each the serial printed on it.")
    if fixed.address == wrist.address != "usb":
        raise CellError(f"camera and wrist_camera both have address {fixed.address}: give each its own.")


def _check(eye: AnyCamera, name: str, transform: str, rows: Rows | None) -> None:
    for key, number, low, high, unit in (
        ("width", eye.width, 64, 4096, "pixels"), ("height", eye.height, 64, 4096, "pixels"),
        ("rate_hz", eye.rate_hz, 1, 120, "Hz"),
    ):  # fmt: skip
        if not low <= number <= high:
            raise CellError(f"{name}.{key} is {number}; it must be {low} to {high} {unit}: check the unit.")
    if eye.address != "usb" and not eye.address.startswith(("tcp://", "file:")):
        raise CellError(f"{name}.address is '{eye.address}'; it must be 'usb', 'tcp://host:port' or 'file:PATH.db3'.")
    if (rows is None) == (eye.calibration is None):
        raise CellError(
            f"{name} must have either `calibration`, a file that launch/calibrate.py writes, or `{transform}`."
        )
    if rows is not None:
        _check_rigid(f"{name}.{transform}", rows)


def _check_rigid(name: str, rows: Rows) -> None:
    if [len(row) for row in rows] != [4, 4, 4, 4]:
        raise CellError(f"{name} must be four rows of four numbers.")
    T = np.array(rows)
    R = T[:3, :3]
    if not (np.allclose(R @ R.T, np.eye(3), atol=1e-3) and np.linalg.det(R) > 0 and np.allclose(T[3], [0, 0, 0, 1])):
        raise CellError(f"{name} is not a rigid transform: a rotation, a translation and last row 0 0 0 1.")
    if np.linalg.norm(T[:3, 3]) > 5.0:
        raise CellError(f"{name} puts the camera more than 5 m away: give it in metres, not millimetres.")
