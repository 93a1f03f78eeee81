"""What is to be calibrated, and the plan of its tour."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from calibration import tour
from calibration.board import Board
from calibration.hand_eye import Mount
from contract.poses import Pose
from robot_runtime.cell import Cell
from robot_runtime.cell_cameras import AnyCamera


class NoSuchCamera(RuntimeError):
    """The cell file names no camera of that mount."""


def eye_of(cell: Cell, mount: Mount) -> AnyCamera:
    """The camera of that mount. Raises NoSuchCamera where the cell has none."""
    if mount == "fixed":
        return cell.camera
    if cell.wrist_camera is None:
        raise NoSuchCamera(f"Cell '{cell.name}' has no `wrist_camera`: add one to its file, or use --mount fixed.")
    return cell.wrist_camera


@dataclass(frozen=True)
class Task:
    """What is to be calibrated, and how: the camera of that mount, by so many poses; seed: of the tour.

    refine_intrinsics: fx, fy, cx and cy are unknowns, too.
    """

    cell: Cell
    mount: Mount
    board: Board
    folder: Path
    poses: int = tour.POSES
    seed: int = 0
    refine_intrinsics: bool = False

    @property
    def header(self) -> dict[str, Any]:
        """What samples must have in common to belong together."""
        eye = eye_of(self.cell, self.mount)
        mode = [eye.width, eye.height, eye.rate_hz]
        return {"board": str(self.board), "mount": self.mount, "serial": eye.serial, "mode": mode}

    @property
    def rough_wrist(self) -> Pose:
        """T_tcp_camera as the cell file gives it, or the usual mount."""
        wrist = self.cell.wrist_camera
        given = wrist is not None and wrist.T_tcp_camera is not None
        return Pose.from_matrix(wrist.T_tcp_camera_matrix) if wrist is not None and given else tour.wrist_mount()


@dataclass(frozen=True)
class Plan:
    """What is known roughly, and the tool poses to drive to."""

    eye: tour.Eye
    poses: list[Pose]

    def to_plain(self) -> dict[str, Any]:
        """For the folder of samples."""
        return {
            "X": self.eye.T_reference_camera.matrix().tolist(), "Y": self.eye.T_other_board.matrix().tolist(),
            "K": self.eye.K.tolist(), "poses": [pose.matrix().tolist() for pose in self.poses],
        }  # fmt: skip

    @staticmethod
    def of_plain(plain: dict[str, Any], mount: Mount, size_px: tuple[int, int]) -> Plan:
        """From what `to_plain` made of it."""
        X, Y = (Pose.from_matrix(np.array(plain[name])) for name in "XY")
        poses = [Pose.from_matrix(np.array(rows)) for rows in plain["poses"]]
        return Plan(tour.Eye(mount, X, Y, np.array(plain["K"]), size_px), poses)
