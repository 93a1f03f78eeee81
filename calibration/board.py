"""Flat boards that a camera can measure itself by, ChArUco and grids of AprilTags: found, drawn, printed."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np

from contract.poses import Pose

MARGIN = 0.2
"""White edge around the pattern, in squares."""
LEAST_PART = 0.55
"""Of the board's corners that must be seen."""
SEARCH_WIDTH_PX = 1280
"""Smaller pictures are enlarged to about this before markers are looked for: their cells are two pixels wide else."""
SHARP = 0.22
"""Steepest change from one pixel to the next around a corner, in parts of the contrast there: 0.45 in a sharp picture,
0.2 when blurred by two pixels (standard deviation)."""
_EDGES = 60
_ALONG, _ROUNDS = 14, 2
"""Places along each edge of a tag where it is measured, and how often, each time from where it was found."""
REPROJECTION_PX = 2.5
SIZE_OFF = 0.10
"""Part by which the distance that follows from the board's size may differ from the depth image's."""
_PAGES_MM = {"A4": (297.0, 210.0), "A3": (420.0, 297.0), "A2": (594.0, 420.0), "A1": (841.0, 594.0)}
_EDGE_MM = 5.0


class BoardError(RuntimeError):
    """The board cannot be measured in this picture."""


class NoBoard(BoardError):
    """No board is in view: put it where the camera sees it, and light it evenly."""


class BoardHalfVisible(BoardError):
    """Only a part of the board is in view: move it, or the camera, until all of it is."""


class BlurredFrame(BoardError):
    """The picture is blurred: wait until nothing moves, focus the camera, and give it light."""


class BoardOfOtherDimensions(BoardError):
    """The board is not the one named: measure its squares, and name it so (`--board`)."""


class UnknownBoard(ValueError):
    """No board can be read from that text."""


@dataclass(frozen=True)
class BoardView:
    """The board's corners in one picture.

    ids: which corners, (N,). corners_px: (0, 0) is the centre of the top left pixel, (N, 2).
    points_board: the same on the board, metres from its centre, x right, y down, z away from the viewer, (N, 3).
    """

    ids: np.ndarray
    corners_px: np.ndarray
    points_board: np.ndarray


@dataclass(frozen=True)
class Board:
    """columns × rows of squares, or of tags. square_m: a square's edge, or from tag to tag. marker_m: a tag's edge."""

    kind: Literal["charuco", "apriltag"] = "apriltag"
    columns: int = 4
    rows: int = 3
    square_m: float = 0.060
    marker_m: float = 0.048

    def __post_init__(self) -> None:
        most = 50 if self.kind == "charuco" else 500
        tags = self.columns * self.rows // (2 if self.kind == "charuco" else 1)
        if min(self.columns, self.rows) < 3 or tags > most or not 0.004 < self.marker_m < 0.95 * self.square_m < 1.0:
            raise UnknownBoard(f"{self} cannot be: at least 3x3, at most {most} tags, a tag smaller than its square.")

    def __str__(self) -> str:
        return f"{self.kind}:{self.columns}x{self.rows}:{1e3 * self.square_m:g}:{1e3 * self.marker_m:g}"

    @staticmethod
    def parse(text: str) -> Board:
        """`charuco:5x4:45:33` is one of 5 × 4 squares of 45 mm with tags of 33 mm. Raises UnknownBoard."""
        found = re.fullmatch(r"(charuco|apriltag):(\d+)x(\d+):([\d.]+):([\d.]+)", text)
        if found is None:
            raise UnknownBoard(f"'{text}' is no board; write it as charuco:5x4:45:33 or apriltag:4x3:60:48 (mm).")
        kind: Any = found[1]
        return Board(kind, int(found[2]), int(found[3]), float(found[4]) / 1e3, float(found[5]) / 1e3)

    @property
    def pattern_m(self) -> tuple[float, float]:
        """Width and height from the outermost edge to the opposite one."""
        gap = 0.0 if self.kind == "charuco" else self.square_m - self.marker_m
        return self.columns * self.square_m - gap, self.rows * self.square_m - gap

    @property
    def plate_m(self) -> tuple[float, float]:
        """Width and height with the white edge."""
        edge = 2 * MARGIN * self.square_m
        return self.pattern_m[0] + edge, self.pattern_m[1] + edge

    def outline_board(self) -> np.ndarray:
        """Corners of the plate in the board's frame, metres. Shape: (4, 3)"""
        w, h = self.plate_m
        return np.array([[x, y, 0.0] for x, y in ((-w, -h), (w, -h), (w, h), (-w, h))]) / 2

    # --- drawing --------------------------------------------------------------------------------------------------

    def image(self, square_px: int = 200) -> np.ndarray:
        """The plate, one square so many pixels wide (a multiple of 5). Shape: (H, W) uint8, to scale"""
        scale = square_px / self.square_m
        edge = round(MARGIN * square_px)
        width, height = (round(length * scale) for length in self.pattern_m)
        if self.kind == "charuco":
            pattern = _made(self).generateImage((width, height), marginSize=0, borderBits=1)
        else:
            pattern = np.full((height, width), 255, np.uint8)
            side = round(self.marker_m * scale)
            for tag in range(self.columns * self.rows):
                row, column = divmod(tag, self.columns)
                drawn = cv2.aruco.generateImageMarker(_dictionary(self.kind), tag, side)
                pattern[row * square_px :, column * square_px :][:side, :side] = drawn
        return np.pad(pattern, edge, constant_values=255)

    def print_pdf(self, path: Path) -> str:
        """Writes the board to scale, with a line of 100 mm to check the print by; returns the page's name.

        Raises UnknownBoard if it fits on no page.
        """
        from matplotlib.figure import Figure

        width, height = (1e3 * length for length in self.plate_m)
        fitting = [n for n, (w, h) in _PAGES_MM.items() if w >= width + 2 * _EDGE_MM and h >= height + 2 * _EDGE_MM]
        if not fitting:
            raise UnknownBoard(f"{self} is {width:.0f} x {height:.0f} mm: larger than the largest page, A1.")
        page_w, page_h = _PAGES_MM[fitting[0]]
        figure = Figure(figsize=(page_w / 25.4, page_h / 25.4))
        left, bottom = (page_w - width) / 2, page_h - height - _EDGE_MM
        axes = figure.add_axes((left / page_w, bottom / page_h, width / page_w, height / page_h))
        axes.imshow(self.image(), cmap="gray", vmin=0, vmax=255, interpolation="none", aspect="auto")
        axes.axis("off")
        sheet = figure.add_axes((0, 0, 1, 1), facecolor="none")
        sheet.set(xlim=(0, page_w), ylim=(0, page_h))
        sheet.axis("off")
        sheet.plot([10, 110], [3.5, 3.5], "k|-", linewidth=0.5, markersize=6)
        sheet.text(113, 2.8, f"100 mm: measure it. {self} on {fitting[0]}, printed at 100 %.", fontsize=6)
        figure.savefig(path, format="pdf")
        return fitting[0]

    # --- finding --------------------------------------------------------------------------------------------------

    def find(self, rgb: np.ndarray) -> BoardView:
        """Its corners in a picture (H, W, 3). Raises one of BoardError."""
        gray = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
        scale = max(1, round(SEARCH_WIDTH_PX / gray.shape[1]))
        large = cv2.resize(gray, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
        tags, tag_ids = _tag_detector(self.kind).detectMarkers(large)[:2]
        known = self.columns * self.rows // (2 if self.kind == "charuco" else 1)
        found = np.zeros(0, int) if tag_ids is None else tag_ids.ravel()
        if len(found) < 2:
            why = BlurredFrame if _sharpness(gray, None) < SHARP else NoBoard
            raise why(why.__doc__)
        foreign = sorted({int(i) for i in found if i >= known})
        if len(foreign) > 0.2 * len(found):
            raise BoardOfOtherDimensions(f"Tags {foreign} are not on {self}: name the board that is there (`--board`).")
        view = self._charuco(large, tags, tag_ids) if self.kind == "charuco" else self._grid(large, tags, found, known)
        view = BoardView(view.ids, (view.corners_px + 0.5) / scale - 0.5, view.points_board)
        corners = (self.columns - 1) * (self.rows - 1) if self.kind == "charuco" else 4 * known
        if len(view.ids) < max(6, LEAST_PART * corners):
            raise BoardHalfVisible(f"{len(view.ids)} of {corners} corners are seen. {BoardHalfVisible.__doc__}")
        if _sharpness(gray, view.corners_px) < SHARP:
            raise BlurredFrame(BlurredFrame.__doc__)
        return view

    def _charuco(self, large: np.ndarray, tags: Any, tag_ids: Any) -> BoardView:
        corners, ids = _charuco_detector(self).detectBoard(large, markerCorners=tags, markerIds=tag_ids)[:2]
        if ids is None or len(ids) < 4:
            raise BoardHalfVisible(BoardHalfVisible.__doc__)
        ids = ids.ravel()
        points = np.asarray(_made(self).getChessboardCorners(), float)[ids] - self._centre()
        return BoardView(ids, _refined(large, corners.reshape(-1, 2), self._clear_px(corners, points)), points)

    def _grid(self, large: np.ndarray, tags: Any, found: np.ndarray, known: int) -> BoardView:
        ours = [k for k, tag in enumerate(found) if tag < known]
        corners = np.concatenate([tags[k].reshape(4, 2) for k in ours])
        points = np.concatenate([np.asarray(_made(self).getObjPoints()[found[k]], float) for k in ours])
        ids = np.concatenate([4 * found[k] + np.arange(4) for k in ours])
        refined = _edge_corners(large, corners.reshape(-1, 4, 2), self._clear_px(corners, points))
        return BoardView(ids, refined.reshape(-1, 2), points - self._centre())

    def _centre(self) -> np.ndarray:
        return np.array([*self.pattern_m, 0.0]) / 2

    def _clear_px(self, corners: np.ndarray, points: np.ndarray) -> float:
        """How many pixels around a corner show nothing but its own two edges, where that is least."""
        H, _ = cv2.findHomography(points[:, :2], corners.reshape(-1, 2))
        if H is None:
            raise BoardHalfVisible(BoardHalfVisible.__doc__)
        gap = self.square_m - self.marker_m
        clear_m = gap / 2 if self.kind == "charuco" else min(gap, self.marker_m / 8)
        ends = points[:, None, :2] + clear_m * np.array([[[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]])
        seen = cv2.perspectiveTransform(ends.reshape(-1, 1, 2), H).reshape(-1, 3, 2)
        return float(np.linalg.norm(seen[:, 1:] - seen[:, :1], axis=2).min())


def pose_of(view: BoardView, K: np.ndarray) -> Pose:
    """T_camera_board of one view: the better of a flat board's two. Raises BoardOfOtherDimensions if it fits badly."""
    flat = view.points_board.reshape(-1, 1, 3)
    _, turns, moves, errors = cv2.solvePnPGeneric(
        flat, view.corners_px.reshape(-1, 1, 2), K, None, flags=cv2.SOLVEPNP_IPPE
    )
    best = int(np.argmin(np.ravel(errors)))
    turn, move = cv2.solvePnPRefineLM(flat, view.corners_px.reshape(-1, 1, 2), K, None, turns[best], moves[best])
    seen = cv2.projectPoints(flat, turn, move, K, None)[0].reshape(-1, 2)
    rms_px = float(np.sqrt(np.mean(np.sum((seen - view.corners_px) ** 2, axis=1))))
    if rms_px > REPROJECTION_PX:
        raise BoardOfOtherDimensions(
            f"Its corners are off by {rms_px:.1f} px from a flat board's: {BoardOfOtherDimensions.__doc__}"
        )
    T = np.eye(4)
    T[:3, :3], T[:3, 3] = cv2.Rodrigues(turn)[0], move.ravel()
    return Pose.from_matrix(T)


def check_size(view: BoardView, T_camera_board: Pose, depth_m: np.ndarray) -> None:
    """That the board is as far away as the depth image says. Raises BoardOfOtherDimensions; silent without depth."""
    u, v = np.round(view.corners_px).astype(int).T
    inside = (u >= 0) & (v >= 0) & (u < depth_m.shape[1]) & (v < depth_m.shape[0])
    seen = depth_m[v[inside], u[inside]]
    if (seen > 0).sum() < 4:
        return
    expected = T_camera_board.apply(view.points_board)[inside][seen > 0, 2]
    ratio = float(np.median(seen[seen > 0] / expected))
    if abs(ratio - 1.0) > SIZE_OFF:
        raise BoardOfOtherDimensions(
            f"By the depth image the board is {ratio:.2f} times as large as named: {BoardOfOtherDimensions.__doc__}"
        )


def _refined(picture: np.ndarray, corners: np.ndarray, clear_px: float) -> np.ndarray:
    """To a fraction of a pixel, looking at what is clear around each. Shape: (N, 2)"""
    half = int(np.clip(clear_px, 2, 15))
    done = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_COUNT, 40, 1e-3)
    start = np.ascontiguousarray(corners.reshape(-1, 1, 2), np.float32)
    return np.asarray(cv2.cornerSubPix(picture, start.copy(), (half, half), (-1, -1), done), float).reshape(-1, 2)


def _edge_corners(picture: np.ndarray, tags: np.ndarray, clear_px: float) -> np.ndarray:
    """Corners of black tags where lines through their edges meet: blur rounds a corner inwards, a straight edge it
    leaves where it is. Shape: (T, 4, 2) -> (T, 4, 2)"""
    reach = float(np.clip(0.9 * clear_px, 2.5, 9.0))
    along, across = np.linspace(0.15, 0.85, _ALONG), np.arange(-reach, reach + 0.25, 0.5)
    found = tags.astype(float)
    for _ in range(_ROUNDS):
        ways = np.roll(found, -1, axis=1) - found
        normals = np.stack([ways[..., 1], -ways[..., 0]], axis=-1)  # outwards: corners go round clockwise
        normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
        edge = found[:, :, None] + along[:, None] * ways[:, :, None]
        at = (edge[:, :, :, None] + across[:, None] * normals[:, :, None, None]).astype(np.float32)
        seen = cv2.remap(
            picture, at[..., 0].reshape(-1, len(across)), at[..., 1].reshape(-1, len(across)), cv2.INTER_LINEAR
        )
        steps = np.maximum(np.diff(seen.astype(float), axis=1), 0.0).reshape(*edge.shape[:3], -1)
        middles = (across[1:] + across[:-1]) / 2
        off = (steps * middles).sum(axis=-1) / np.maximum(steps.sum(axis=-1), 1e-6)
        slope, level = np.linalg.lstsq(
            np.stack([along, np.ones_like(along)], 1), off.reshape(-1, _ALONG).T, rcond=None
        )[0]
        level, end = level.reshape(off.shape[:2]), (level + slope).reshape(off.shape[:2])
        starts = found + level[..., None] * normals
        ends = np.roll(found, -1, axis=1) + end[..., None] * normals
        found = _meet(np.roll(starts, 1, axis=1), np.roll(ends, 1, axis=1), starts, ends)
    far = np.linalg.norm(found - tags, axis=-1) > reach
    return np.where(far[..., None], tags, found)


def _meet(a: np.ndarray, b: np.ndarray, c: np.ndarray, d: np.ndarray) -> np.ndarray:
    """Where the lines a-b and c-d cross. Shapes: (..., 2)"""
    u, v, w = b - a, d - c, c - a
    share = (w[..., 0] * v[..., 1] - w[..., 1] * v[..., 0]) / (u[..., 0] * v[..., 1] - u[..., 1] * v[..., 0])
    return np.asarray(a + share[..., None] * u)


def _sharpness(gray: np.ndarray, corners_px: np.ndarray | None) -> float:
    """Steepest change from pixel to pixel in parts of the contrast around it: median over the corners, or edges."""
    smooth = cv2.GaussianBlur(gray, (3, 3), 0.5).astype(np.float32)
    steep = np.hypot(cv2.Sobel(smooth, cv2.CV_32F, 1, 0, scale=0.125), cv2.Sobel(smooth, cv2.CV_32F, 0, 1, scale=0.125))
    if corners_px is None:
        peaks = np.argwhere((steep == cv2.dilate(steep, np.ones((9, 9)))) & (steep > 2.0))
        corners_px = peaks[np.argsort(steep[peaks[:, 0], peaks[:, 1]])[::-1][:_EDGES], ::-1]
    values = []
    for u, v in np.round(corners_px).astype(int):
        part = slice(max(0, v - 6), v + 7), slice(max(0, u - 6), u + 7)
        if smooth[part].size:
            values.append(float(steep[part].max()) / max(float(np.ptp(smooth[part])), 1.0))
    return float(np.median(values)) if values else 1.0


def _dictionary(kind: str) -> Any:
    name = cv2.aruco.DICT_4X4_50 if kind == "charuco" else cv2.aruco.DICT_APRILTAG_36h11
    return cv2.aruco.getPredefinedDictionary(name)


@cache
def _made(board: Board) -> Any:
    shape = board.columns, board.rows
    if board.kind == "charuco":
        return cv2.aruco.CharucoBoard(shape, board.square_m, board.marker_m, _dictionary(board.kind))
    return cv2.aruco.GridBoard(shape, board.marker_m, board.square_m - board.marker_m, _dictionary(board.kind))


@cache
def _tag_detector(kind: str) -> Any:
    settings = cv2.aruco.DetectorParameters()
    settings.cornerRefinementMethod = cv2.aruco.CORNER_REFINE_SUBPIX
    return cv2.aruco.ArucoDetector(_dictionary(kind), settings)


@cache
def _charuco_detector(board: Board) -> Any:
    return cv2.aruco.CharucoDetector(_made(board))
