"""What the mock cell's cameras see: the scene of a snapshot, dressed and disturbed as it is at that moment."""

from __future__ import annotations

import itertools

import cv2
import numpy as np

from contract.tasks import LIFT_CUBE
from perception.depth_noise import DepthNoise
from robot_runtime.mock_cell import looks, scene, variants
from robot_runtime.mock_cell.arrangements import DISTRACTORS, NOWHERE_M, random_distractors
from robot_runtime.mock_cell.board_on_show import BoardOnShow, pose_of_plain
from robot_runtime.mock_cell.rendering import SceneRenderer, mujoco
from robot_runtime.mock_cell.renders import place_distractor
from robot_runtime.mock_cell.snapshots import Snapshot

_BLUR_PX = 4.0
"""Standard deviation of an unfocused picture's blur."""
_NOISES = 16
"""Depth noise is drawn so often, ahead: drawing it anew for every picture would cost a third as much as the picture."""
_LOOKALIKE = f"distractor_{DISTRACTORS}"


class Pictures:
    """What the cameras see of each snapshot, disturbances included. Raises NoOffscreenRendering."""

    def __init__(self) -> None:
        self._model = scene.build_model(distractors=DISTRACTORS + 1, calibration=True)
        self._data = mujoco.MjData(self._model)
        self._renderer = SceneRenderer(self._model, scene.CAMERA_WIDTH, scene.CAMERA_HEIGHT)
        self._lookalike = self._data.mocap_pos[self._model.body(_LOOKALIKE).mocapid[0]]
        self._board = BoardOnShow(self._model, self._data, self._renderer)
        random = np.random.default_rng(0)
        shape = scene.CAMERA_HEIGHT, scene.CAMERA_WIDTH
        self._noises = itertools.cycle([DepthNoise.drawn(random, shape) for _ in range(_NOISES)])
        self._dress(None, None)
        mujoco.mj_forward(self._model, self._data)
        # The first picture compiles shaders; nobody should wait for that later.
        self._last = {name: self._renderer.render(self._data) for name in (scene.CAMERA_NAME, scene.WRIST_CAMERA_NAME)}

    def of(self, snapshot: Snapshot, camera: str = scene.CAMERA_NAME) -> tuple[np.ndarray, np.ndarray]:
        """Colour (H, W, 3) uint8 and depth (H, W) in metres, noisy and with holes."""
        view = snapshot.view
        if view.fault == "frozen":
            return self._last[camera]
        if (view.looks, view.variant) != self._dressed:
            self._dress(view.looks, view.variant)
        standing = view.lookalike
        self._lookalike[:] = NOWHERE_M if standing is None else (*standing, scene.CUBE_EDGE_M / 2)
        self._data.qpos[:] = snapshot.qpos
        mujoco.mj_kinematics(self._model, self._data)
        self._board.show(view.board)
        T_base_camera = scene.nominal_T_base_camera() if view.camera is None else pose_of_plain(view.camera)
        T_tcp_wrist = scene.nominal_T_tcp_camera() if view.wrist is None else pose_of_plain(view.wrist)
        scene.set_camera_pose(self._model, T_base_camera)
        scene.set_camera_pose(self._model, scene.tool_pose(self._data) @ T_tcp_wrist, scene.WRIST_CAMERA_NAME)
        mujoco.mj_kinematics(self._model, self._data)
        mujoco.mj_camlight(self._model, self._data)
        self._renderer.look_through(camera)
        rgb, depth_m = self._renderer.render(self._data)
        self._last[camera] = _faulty(view.fault, rgb, next(self._noises).on(depth_m))
        return self._last[camera]

    def close(self) -> None:
        """Frees the graphics context."""
        self._renderer.close()

    def _dress(self, seed: int | None, variant: str | None) -> None:
        """The laboratory of that seed, with things on the table where no task puts its object; the nominal for None."""
        self._dressed = seed, variant
        for i in range(DISTRACTORS):
            place_distractor(self._model, self._data, f"distractor_{i}", None)
        if seed is None:
            looks.apply(self._model, looks.Looks())
        else:
            random = np.random.default_rng(seed)
            looks.apply(self._model, looks.random_looks(random))
            for i, shown in enumerate(random_distractors(random, _outside_the_work_area)):
                place_distractor(self._model, self._data, f"distractor_{i}", shown)
        cube = variants.variant(variant or variants.NOMINAL)
        variants.shape(self._model, cube.edge_m)
        if variant is not None:
            self._model.geom("cube").rgba[:3] = cube.rgb
        scene.dress_as_cube(self._model, _LOOKALIKE)
        self._renderer.reload_looks()


def _faulty(fault: str, rgb: np.ndarray, depth_m: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What the fault leaves of a picture."""
    if fault == "dark":
        return np.zeros_like(rgb), depth_m
    if fault == "blurred":
        return np.asarray(cv2.GaussianBlur(rgb, (0, 0), _BLUR_PX)), depth_m
    return rgb, np.zeros_like(depth_m) if fault == "no_depth" else depth_m


def _outside_the_work_area(xy: np.ndarray, radius_m: float) -> bool:
    beyond = np.maximum(LIFT_CUBE.object_low_m - xy, xy - LIFT_CUBE.object_high_m)
    return bool(beyond.max() > radius_m + scene.CUBE_EDGE_M)
