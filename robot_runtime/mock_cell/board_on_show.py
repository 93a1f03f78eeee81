"""The calibration board in the pictures of the mock cell's cameras: its size, its picture, and where it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from calibration.board import Board
from contract.poses import Pose
from robot_runtime.mock_cell import scene
from robot_runtime.mock_cell.snapshots import PlainPose, ShownBoard

if TYPE_CHECKING:
    import mujoco

    from robot_runtime.mock_cell.rendering import SceneRenderer

# A board's frame has y down and z away from the viewer; the plate shows its picture on the side of +z, y up.
_T_BOARD_PLATE = Pose(np.array([0.0, 0.0, scene.BOARD_THICKNESS_M / 2]), np.array([0.0, 1.0, 0.0, 0.0]))
_AWAY_M = (0.0, 0.0, -5.0)


def pose_of_plain(values: PlainPose) -> Pose:
    """As a Pose."""
    return Pose(np.array(values[:3]), np.array(values[3:]))


class BoardOnShow:
    """Of one model and its renderer. The model must have been built with `calibration`."""

    def __init__(self, model: mujoco.MjModel, data: mujoco.MjData, renderer: SceneRenderer) -> None:
        self._model, self._data, self._renderer = model, data, renderer
        self._mocap = model.body("board").mocapid[0]
        self._name: str | None = None

    def show(self, board: ShownBoard | None) -> None:
        """Puts it where it is now, with the arm where `mj_kinematics` has put it; None takes it away."""
        if board is None:
            self._data.mocap_pos[self._mocap] = _AWAY_M
            return
        if board.name != self._name:
            self._paint(Board.parse(board.name))
            self._name = board.name
        T_base_board = pose_of_plain(board.pose)
        if board.on == "tool":
            T_base_board = scene.tool_pose(self._data) @ T_base_board
        plate = T_base_board @ _T_BOARD_PLATE
        self._data.mocap_pos[self._mocap], self._data.mocap_quat[self._mocap] = plate.position, plate.quaternion

    def _paint(self, board: Board) -> None:
        """The plate's size, and its picture into the texture."""
        width, height = board.plate_m
        geom = self._model.geom("board")
        half = np.array([width, height, scene.BOARD_THICKNESS_M]) / 2
        geom.size[:] = half
        self._model.geom_rbound[geom.id] = np.linalg.norm(half)
        pixels = cv2.resize(board.image(), scene.BOARD_TEXTURE_PX, interpolation=cv2.INTER_AREA)
        texture = self._model.texture("board").id
        start = self._model.tex_adr[texture]
        rgb = np.repeat(pixels[..., None], 3, axis=2)
        self._model.tex_data[start : start + rgb.size] = rgb.reshape(-1)
        self._renderer.reload_texture("board")
