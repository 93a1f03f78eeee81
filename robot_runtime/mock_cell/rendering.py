"""Colour, depth and segmentation of one scene camera. EGL only: no window, no display."""

from __future__ import annotations

import os

import numpy as np

from robot_runtime.mock_cell import looks
from robot_runtime.mock_cell.scene import CAMERA_NAME

os.environ.setdefault("MUJOCO_GL", "egl")
import mujoco


class NoOffscreenRendering(RuntimeError):
    """MuJoCo found no EGL device to render with. On Debian/Ubuntu: apt-get install libegl1 libgl1-mesa-dri."""


class SceneRenderer:
    """Renders the model's fixed camera. Use from one thread. Raises NoOffscreenRendering."""

    def __init__(self, model: mujoco.MjModel, width: int, height: int) -> None:
        try:
            self._gl = mujoco.GLContext(width, height)
            self._gl.make_current()
            self._context = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_100.value)
        except Exception as error:
            raise NoOffscreenRendering(f"{NoOffscreenRendering.__doc__} ({error})") from error
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN.value, self._context)
        self._context.readDepthMap = mujoco.mjtDepthMap.mjDEPTH_ZEROFAR.value
        self._model = model
        self._scene = mujoco.MjvScene(model=model, maxgeom=400)
        self._scene.flags[mujoco.mjtRndFlag.mjRND_SHADOW] = False
        self._scene.flags[mujoco.mjtRndFlag.mjRND_REFLECTION] = False
        self._option = mujoco.MjvOption()
        self._camera = mujoco.MjvCamera()
        self._camera.type = mujoco.mjtCamera.mjCAMERA_FIXED
        self._camera.fixedcamid = model.camera(CAMERA_NAME).id
        self._rect = mujoco.MjrRect(0, 0, width, height)
        self._rgb = np.empty((height, width, 3), np.uint8)
        self._depth = np.empty((height, width), np.float32)

    def close(self) -> None:
        """Frees the graphics context."""
        self._context.free()
        self._gl.free()

    def reload_looks(self) -> None:
        """Uploads the textures that `looks.apply` wrote."""
        for name in looks.TEXTURES:
            self.reload_texture(name)

    def reload_texture(self, name: str) -> None:
        """Uploads one texture that has been written."""
        self._gl.make_current()
        mujoco.mjr_uploadTexture(self._model, self._context, self._model.texture(name).id)

    def look_through(self, camera_name: str) -> None:
        """From now on the pictures are that camera's."""
        self._camera.fixedcamid = self._model.camera(camera_name).id

    def render(self, data: mujoco.MjData) -> tuple[np.ndarray, np.ndarray]:
        """Colour (H, W, 3) uint8 and depth along the optical axis (H, W) float32 in metres, from one pass."""
        self._update(data)
        mujoco.mjr_render(self._rect, self._scene, self._context)
        mujoco.mjr_readPixels(self._rgb, self._depth, self._rect, self._context)
        # Reversed z: 1 at the near plane, 0 at the far one (the inverse of OpenGL's frustum, stretched to 0..1).
        near, far = (
            self._model.vis.map.znear * self._model.stat.extent,
            self._model.vis.map.zfar * self._model.stat.extent,
        )
        depth_m = near * far / (near + self._depth * (far - near))
        return self._rgb[::-1].copy(), depth_m[::-1].astype(np.float32)

    def segment(self, data: mujoco.MjData, geom_name: str) -> np.ndarray:
        """Where that geom is visible. Shape: (H, W) bool"""
        self._update(data)
        flags = self._scene.flags.copy()
        self._scene.flags[mujoco.mjtRndFlag.mjRND_SEGMENT] = True
        self._scene.flags[mujoco.mjtRndFlag.mjRND_IDCOLOR] = True
        mujoco.mjr_render(self._rect, self._scene, self._context)
        mujoco.mjr_readPixels(self._rgb, None, self._rect, self._context)
        np.copyto(self._scene.flags, flags)
        ids = self._rgb[::-1].astype(np.uint32) @ np.array([1, 1 << 8, 1 << 16], np.uint32)
        geom_id = self._model.geom(geom_name).id
        for geom in self._scene.geoms[: self._scene.ngeom]:
            if geom.objtype == mujoco.mjtObj.mjOBJ_GEOM and geom.objid == geom_id:
                return np.asarray(ids == geom.segid + 1)
        return np.zeros(ids.shape, bool)

    def _update(self, data: mujoco.MjData) -> None:
        self._gl.make_current()
        everything = mujoco.mjtCatBit.mjCAT_ALL.value
        mujoco.mjv_updateScene(self._model, data, self._option, None, self._camera, everything, self._scene)
