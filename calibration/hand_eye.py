"""Where the camera is, from pictures of a board at many tool poses: closed form inside RANSAC, then bundle adjustment.

One equation for both mounts: T_camera_board = T_reference_camera⁻¹ · A · T_other_board. Of a fixed camera the reference
is the base, A is T_base_tcp, and the board is on the tool; of a wrist camera the reference is the tool, A is
T_tcp_base, and the board lies in the base frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
import scipy  # which brings in scipy.optimize, a second of it, once it is used

from calibration.board import BoardError, BoardView, pose_of
from contract.poses import Pose, rotation_between

Mount = Literal["fixed", "wrist"]

METHODS = {
    "TSAI": cv2.CALIB_HAND_EYE_TSAI,
    "PARK": cv2.CALIB_HAND_EYE_PARK,
    "HORAUD": cv2.CALIB_HAND_EYE_HORAUD,
    "ANDREFF": cv2.CALIB_HAND_EYE_ANDREFF,
    "DANIILIDIS": cv2.CALIB_HAND_EYE_DANIILIDIS,
}
"""OpenCV's closed forms."""

LEAST_SAMPLES = 8
LEAST_AGREEING = 0.6
AGREES_RAD = 0.0064
"""A sample belongs to the rest if its corners are off by less, as seen from the camera: 2 px at 424 x 240."""
LEAST_SPREAD_RAD = 0.15
"""Standard deviation of the tool's turns about the second of their principal axes."""
_SOFT_PX = 0.5
_SUBSET, _DRAWS, _BEST = 4, 120, 3
_FOLDS = 4
INTRINSICS_OFF = 0.01
"""Part of the focal length by which the intrinsics may be off before it is said."""


class CalibrationFailed(RuntimeError):
    """These samples give no calibration."""


class TooFewSamples(CalibrationFailed):
    """There are too few pictures of the board."""


class PosesAlike(CalibrationFailed):
    """The tool poses are all alike: turn the wrist more, about different axes, by 30 to 45 degrees."""


class SamplesDisagree(CalibrationFailed):
    """Too few of the samples agree with each other."""


@dataclass(frozen=True)
class Sample:
    """One look at the board with the arm at rest."""

    pose_base_tcp: Pose
    view: BoardView


@dataclass(frozen=True)
class IntrinsicsCheck:
    """What the same samples say of fx, fy, cx, cy (pixels): refined minus given, and its standard deviation. (4,)"""

    change_px: np.ndarray
    sigma_px: np.ndarray
    limit_px: np.ndarray

    @property
    def ok(self) -> bool:
        """Nothing is off by more than chance and a percent explain."""
        return bool((np.abs(self.change_px) < self.limit_px).all())


@dataclass(frozen=True)
class HandEye:
    """The solution. T_other_board: T_tcp_board of a fixed camera, T_base_board of a wrist camera.

    covariance: of T_reference_camera: metres, then rotation vector, in the reference frame. Shape: (6, 6)
    residuals_px: RMS of each sample's corners, (N,). agrees: which samples were used, (N,).
    held_out_px, held_out_mm: RMS at samples that the fit had not seen, each quarter in turn; mm on the board as the
    camera alone places it.
    """

    mount: Mount
    T_reference_camera: Pose
    T_other_board: Pose
    K: np.ndarray
    covariance: np.ndarray
    residuals_px: np.ndarray
    agrees: np.ndarray
    held_out_px: float
    held_out_mm: float


class Geometry:
    """All samples as arrays, and where their corners would be seen."""

    def __init__(self, samples: Sequence[Sample], mount: Mount) -> None:
        ways = [s.pose_base_tcp if mount == "fixed" else s.pose_base_tcp.inverse() for s in samples]
        self.A = np.array([way.matrix() for way in ways])
        self.sample = np.repeat(np.arange(len(samples)), [len(s.view.ids) for s in samples])
        self.points = np.concatenate([s.view.points_board for s in samples])
        self.seen = np.concatenate([s.view.corners_px for s in samples])

    def part(self, chosen: np.ndarray) -> np.ndarray:
        """Which corners belong to the chosen samples. Shape: (N,) bool -> (M,) bool"""
        return np.asarray(chosen[self.sample])

    def errors_px(self, X: np.ndarray, Y: np.ndarray, K: np.ndarray) -> np.ndarray:
        """Expected minus seen, for every corner; far off where a point would be behind the camera. Shape: (M, 2)"""
        T = np.linalg.inv(X) @ self.A @ Y
        p = np.einsum("mij,mj->mi", T[self.sample, :3, :3], self.points) + T[self.sample, :3, 3]
        depth = np.maximum(p[:, 2:], 1e-2)
        return np.asarray(p[:, :2] / depth * [K[0, 0], K[1, 1]] + K[:2, 2] - self.seen)

    def rms_px(self, X: np.ndarray, Y: np.ndarray, K: np.ndarray) -> np.ndarray:
        """Of each sample. Shape: (N,)"""
        squares = (self.errors_px(X, Y, K) ** 2).sum(axis=1)
        return np.asarray(np.sqrt(np.bincount(self.sample, squares) / np.bincount(self.sample)))


@dataclass(frozen=True)
class _Fit:
    X: np.ndarray
    Y: np.ndarray
    K: np.ndarray
    jacobian: np.ndarray
    errors: np.ndarray
    sample: np.ndarray

    def covariance(self) -> np.ndarray:
        """Corners of one picture err together, so every picture counts as one draw (cluster-robust). Shape: (P, P)"""
        pictures = np.unique(self.sample)
        inverse = np.linalg.pinv(self.jacobian.T @ self.jacobian)
        rows = np.repeat(self.sample, 2)
        pulls = np.array([self.jacobian[rows == k].T @ self.errors[rows == k] for k in pictures])
        return np.asarray(inverse @ (pulls.T @ pulls) @ inverse * len(pictures) / max(1, len(pictures) - 2))


def _moved(T: np.ndarray, change: np.ndarray) -> np.ndarray:
    """T moved by metres and turned by a rotation vector about its own place, both in the left frame. Shape: (6,)"""
    moved = T.copy()
    moved[:3, :3] = cv2.Rodrigues(change[3:])[0] @ T[:3, :3]
    moved[:3, 3] += change[:3]
    return moved


def _adjust(
    geometry: Geometry, chosen: np.ndarray, X: np.ndarray, Y: np.ndarray, K: np.ndarray, intrinsics: bool = False
) -> _Fit:
    """Joint bundle adjustment over both transforms, with a loss that large errors pull little."""
    corners = geometry.part(chosen)

    def lens(change: np.ndarray) -> np.ndarray:
        if not intrinsics:
            return K
        return K + np.array([[change[12], 0, change[14]], [0, change[13], change[15]], [0, 0, 0]])

    def errors(change: np.ndarray) -> np.ndarray:
        all_px = geometry.errors_px(_moved(X, change[:6]), _moved(Y, change[6:12]), lens(change))
        return np.asarray(all_px[corners].ravel())

    start = np.zeros(16 if intrinsics else 12)
    scale = np.array([0.01] * 12 + [1.0] * 4)[: len(start)]
    found = scipy.optimize.least_squares(errors, start, loss="soft_l1", f_scale=_SOFT_PX, x_scale=scale, max_nfev=60)
    change = found.x
    # scipy scales its Jacobian by the loss; the covariance wants the plain one.
    step = 1e-6
    jacobian = np.stack(
        [(errors(change + step * unit) - errors(change - step * unit)) / (2 * step) for unit in np.eye(len(start))], 1
    )
    moved = _moved(X, change[:6]), _moved(Y, change[6:12]), lens(change)
    return _Fit(*moved, jacobian, errors(change), geometry.sample[corners])


def board_poses(samples: Sequence[Sample], K: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """T_camera_board of each sample on its own, and for which samples that could be told. Shapes: (N, 4, 4), (N,)"""
    poses, usable = np.tile(np.eye(4), (len(samples), 1, 1)), np.zeros(len(samples), bool)
    for k, sample in enumerate(samples):
        try:
            poses[k], usable[k] = pose_of(sample.view, K).matrix(), True
        except BoardError:
            continue
    return poses, usable


def closed_form(A: np.ndarray, C: np.ndarray, method: int) -> np.ndarray | None:
    """OpenCV's T_reference_camera of A and T_camera_board, (N, 4, 4) each; None where it gives no transform."""
    G = np.linalg.inv(A)
    # It tells the terminal about every subset without much rotation; those are expected, and fail below.
    loud = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        tool, board = (list(G[:, :3, :3]), list(G[:, :3, 3])), (list(C[:, :3, :3]), list(C[:, :3, 3]))
        R, t = cv2.calibrateHandEye(*tool, *board, method=method)
    except cv2.error:
        return None
    finally:
        cv2.utils.logging.setLogLevel(loud)
    if R is None or not np.isfinite(R).all() or not np.isfinite(t).all() or abs(np.linalg.det(R) - 1.0) > 1e-2:
        return None
    X = np.eye(4)
    X[:3, :3], X[:3, 3] = R, np.ravel(t)
    return X


def _mean(T: np.ndarray) -> np.ndarray:
    """Of transforms that are close to each other. Shape: (N, 4, 4) -> (4, 4)"""
    mean = np.eye(4)
    u, _, vt = np.linalg.svd(T[:, :3, :3].sum(axis=0))
    mean[:3, :3] = u @ np.diag([1.0, 1.0, np.linalg.det(u @ vt)]) @ vt
    mean[:3, 3] = np.median(T[:, :3, 3], axis=0)
    return mean


def _starts(
    geometry: Geometry, C: np.ndarray, usable: np.ndarray, K: np.ndarray, limit_px: float
) -> list[tuple[np.ndarray, np.ndarray]]:
    """The best pairs of transforms that small subsets give, the best first."""
    random, able = np.random.default_rng(0), np.flatnonzero(usable)
    methods = [METHODS[name] for name in ("PARK", "DANIILIDIS", "TSAI")]
    found: list[tuple[float, np.ndarray, np.ndarray]] = []
    for draw in range(_DRAWS):
        some = random.choice(able, _SUBSET, replace=False) if draw else able
        X = closed_form(geometry.A[some], C[some], methods[draw % len(methods)])
        if X is None:
            continue
        Y = _mean(np.linalg.inv(geometry.A[some]) @ X @ C[some])
        # Four poses place the camera only roughly: what is ten times too far off may still belong.
        cost = float(np.minimum(geometry.rms_px(X, Y, K), 10 * limit_px).sum())
        found.append((cost, X, Y))
    found.sort(key=lambda entry: entry[0])
    return [(X, Y) for _, X, Y in found[:_BEST]]


def _agreeing(
    geometry: Geometry, X: np.ndarray, Y: np.ndarray, K: np.ndarray, limit_px: float
) -> tuple[_Fit, np.ndarray]:
    """Fits to those that agree, anew until they are the same; the first time to the better part of all."""
    rms = geometry.rms_px(X, Y, K)
    chosen = rms <= max(limit_px, float(np.quantile(rms, LEAST_AGREEING)))
    for _ in range(8):
        fit = _adjust(geometry, chosen, X, Y, K)
        X, Y = fit.X, fit.Y
        rms = geometry.rms_px(X, Y, K)
        now = rms <= limit_px
        if now.sum() < 4 or (now == chosen).all():
            break
        chosen = now
    return fit, rms <= limit_px


def solve(samples: Sequence[Sample], K: np.ndarray, mount: Mount, refine_intrinsics: bool = False) -> HandEye:
    """Where the camera is, the board, and how sure that is. Raises one of CalibrationFailed.

    K: pinhole matrix, pixels (3, 3). refine_intrinsics: fx, fy, cx and cy are unknowns, too.
    """
    if len(samples) < LEAST_SAMPLES:
        raise TooFewSamples(f"Only {len(samples)} pictures show the board; {LEAST_SAMPLES} are needed at least.")
    check_spread([sample.pose_base_tcp for sample in samples])
    geometry, limit_px = Geometry(samples, mount), AGREES_RAD * float(K[0, 0])
    C, usable = board_poses(samples, K)
    if usable.sum() < LEAST_SAMPLES:
        raise TooFewSamples(f"Only {usable.sum()} pictures show a whole, flat board; {LEAST_SAMPLES} are needed.")
    fits = [_agreeing(geometry, X, Y, K, limit_px) for X, Y in _starts(geometry, C, usable, K, limit_px)]
    if not fits:
        raise SamplesDisagree("No camera pose explains the samples: is the board fixed, and is it the one named?")

    def cost(candidate: tuple[_Fit, np.ndarray]) -> float:
        return float(np.minimum(geometry.rms_px(candidate[0].X, candidate[0].Y, K), limit_px).sum())

    fit, agrees = min(fits, key=cost)
    if agrees.sum() < max(LEAST_SAMPLES * 0.75, LEAST_AGREEING * len(samples)):
        raise SamplesDisagree(
            f"Only {agrees.sum()} of {len(samples)} samples agree: fasten the board and the camera, and collect again."
        )
    check_spread([sample.pose_base_tcp for sample, used in zip(samples, agrees, strict=True) if used])
    if refine_intrinsics:
        fit = _adjust(geometry, agrees, fit.X, fit.Y, K, intrinsics=True)
    held_px, held_mm = _held_out(geometry, agrees, fit, C, usable)
    return HandEye(
        mount=mount,
        T_reference_camera=Pose.from_matrix(fit.X),
        T_other_board=Pose.from_matrix(fit.Y),
        K=fit.K,
        covariance=fit.covariance()[:6, :6],
        residuals_px=geometry.rms_px(fit.X, fit.Y, fit.K),
        agrees=agrees,
        held_out_px=held_px,
        held_out_mm=held_mm,
    )


def _held_out(
    geometry: Geometry, agrees: np.ndarray, fit: _Fit, C: np.ndarray, usable: np.ndarray
) -> tuple[float, float]:
    """Pixels and millimetres at what a fit has not seen: every fourth of the agreeing samples, in four rounds."""
    order = np.cumsum(agrees) - 1
    squares_px, squares_mm = [], []
    for fold in range(_FOLDS):
        out = agrees & (order % _FOLDS == fold)
        rest = _adjust(geometry, agrees & ~out, fit.X, fit.Y, fit.K)
        rms = geometry.rms_px(rest.X, rest.Y, rest.K)
        squares_px.extend(rms[out] ** 2)
        expected = np.linalg.inv(rest.X) @ geometry.A @ rest.Y
        for k in np.flatnonzero(out & usable):
            points = np.c_[geometry.points[geometry.sample == k], np.ones((geometry.sample == k).sum())]
            apart = (points @ (expected[k] - C[k]).T)[:, :3]
            squares_mm.append(1e6 * float((apart**2).sum(axis=1).mean()))
    return float(np.sqrt(np.mean(squares_px))), float(np.sqrt(np.mean(squares_mm)))


def check_spread(poses: Sequence[Pose]) -> None:
    """Raises PosesAlike where the tool was not turned enough, or about one axis only."""
    first = poses[0].quaternion
    turns = np.array([rotation_between(first, pose.quaternion) for pose in poses])
    spread = np.sqrt(np.maximum(0.0, np.linalg.eigvalsh(np.cov(turns.T, bias=True))))
    if spread[1] < LEAST_SPREAD_RAD:
        degrees = np.rad2deg(spread[::-1])
        raise PosesAlike(
            f"The tool turned by {degrees[0]:.0f} degrees about one axis and {degrees[1]:.0f} about another (standard"
            f" deviations): turn the wrist more, about different axes, by 30 to 45 degrees."
        )


def check_intrinsics(samples: Sequence[Sample], solved: HandEye, K: np.ndarray) -> IntrinsicsCheck:
    """Lets fx, fy, cx and cy free, too, and tells how far they go."""
    geometry = Geometry(samples, solved.mount)
    X, Y = solved.T_reference_camera.matrix(), solved.T_other_board.matrix()
    fit = _adjust(geometry, solved.agrees, X, Y, K, intrinsics=True)
    change = np.array([fit.K[0, 0] - K[0, 0], fit.K[1, 1] - K[1, 1], fit.K[0, 2] - K[0, 2], fit.K[1, 2] - K[1, 2]])
    sigma = np.sqrt(np.diag(fit.covariance())[12:])
    return IntrinsicsCheck(change, sigma, 3 * sigma + INTRINSICS_OFF * K[0, 0])


def disagreement_mm(
    solved_reference_camera: Pose, other_board: Pose, sample: Sample, K: np.ndarray, mount: Mount
) -> float:
    """How far from where it should be the board seems to the camera, RMS over its corners. Raises BoardError."""
    A = sample.pose_base_tcp if mount == "fixed" else sample.pose_base_tcp.inverse()
    expected = solved_reference_camera.inverse() @ A @ other_board
    points = sample.view.points_board
    apart = expected.apply(points) - pose_of(sample.view, K).apply(points)
    return 1e3 * float(np.sqrt((apart**2).sum(axis=1).mean()))
