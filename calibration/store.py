"""One YAML per calibration, which notices that it was edited, and is refused where it does not belong."""

from __future__ import annotations

import hashlib
import os
import platform
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from calibration.hand_eye import HandEye, IntrinsicsCheck, Mount, Sample, disagreement_mm
from calibration.surroundings import Table
from contract.poses import Pose

MOST_HELD_OUT_MM = 5.0
MOST_DISAGREEMENT_MM = 5.0
FORMAT = 1


class CalibrationError(RuntimeError):
    """A calibration must not be used; the sentence says why."""


class NoCalibration(CalibrationError):
    """There is no such file, or it holds something else."""


class EditedCalibration(CalibrationError):
    """The file was changed after it was written."""


class OtherCamera(CalibrationError):
    """It was made for another serial, mode or mount."""


class InaccurateCalibration(CalibrationError):
    """Its error at samples it had not seen is too large."""


class OutdatedCalibration(CalibrationError):
    """What the camera sees now does not fit it."""


@dataclass(frozen=True)
class Calibration:
    """What `launch/calibrate.py` found.

    T_reference_camera: T_base_camera of a fixed camera, T_tcp_camera of a wrist camera; optical frame.
    T_other_board: T_tcp_board of a fixed camera, T_base_board of a wrist camera.
    covariance: of T_reference_camera: metres, then rotation vector, reference frame, (6, 6). K: pixels, (3, 3).
    residuals_px, agrees: RMS of each sample and whether it was used. delay_s: of the pictures against their stamps.
    """

    mount: Mount
    serial: str
    width: int
    height: int
    rate_hz: int
    board: str
    T_reference_camera: Pose
    T_other_board: Pose
    covariance: np.ndarray
    K: np.ndarray
    residuals_px: tuple[float, ...]
    agrees: tuple[bool, ...]
    held_out_px: float
    held_out_mm: float
    intrinsics: IntrinsicsCheck
    table: Table | None
    delay_s: float | None
    date: str
    versions: dict[str, str]

    @property
    def sigma_mm(self) -> float:
        """Standard deviation of the position that the covariance claims."""
        return 1e3 * float(np.sqrt(np.trace(self.covariance[:3, :3])))

    def summary(self) -> str:
        """One line for people."""
        return f"{self.date[:10]}, held-out error {self.held_out_mm:.1f} mm ({self.held_out_px:.2f} px)"


def made(
    solved: HandEye,
    serial: str,
    mode: tuple[int, int, int],
    board: str,
    intrinsics: IntrinsicsCheck,
    table: Table | None,
    delay_s: float | None,
) -> Calibration:
    """Of now, by these versions. mode: width, height, rate."""
    versions = {name: version(name) for name in ("numpy", "scipy", "opencv-python")} | {
        "python": platform.python_version()
    }
    return Calibration(
        mount=solved.mount, serial=serial, width=mode[0], height=mode[1], rate_hz=mode[2], board=board,
        T_reference_camera=solved.T_reference_camera, T_other_board=solved.T_other_board,
        covariance=solved.covariance, K=solved.K,
        residuals_px=tuple(map(float, solved.residuals_px)), agrees=tuple(map(bool, solved.agrees)),
        held_out_px=solved.held_out_px, held_out_mm=solved.held_out_mm, intrinsics=intrinsics, table=table,
        delay_s=delay_s, date=datetime.now(UTC).isoformat(timespec="seconds"), versions=versions,
    )  # fmt: skip


def save(path: Path, calibration: Calibration) -> None:
    """Whole or not at all."""
    content = _to_plain(calibration)
    content["sha256"] = _hash(content)
    path.parent.mkdir(parents=True, exist_ok=True)
    staging = path.with_name(f".{path.name}.{os.getpid()}")
    staging.write_text(yaml.safe_dump(content, sort_keys=False, default_flow_style=None, width=120), encoding="utf-8")
    staging.replace(path)


def read(path: Path) -> Calibration:
    """As it was written, whatever it is worth. Raises NoCalibration, EditedCalibration."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise NoCalibration(f"There is no calibration {path}: make it with launch/calibrate.py.") from None
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise NoCalibration(f"{path} cannot be read ({' '.join(str(error).split())}): calibrate again.") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise NoCalibration(f"{path} is no calibration of this program: make it with launch/calibrate.py.")
    if content.pop("sha256", None) != _hash(content):
        raise EditedCalibration(f"{path} was changed after it was written: calibrate again, or restore it.")
    try:
        return _from_plain(content)
    except (KeyError, TypeError, ValueError) as error:
        raise NoCalibration(f"{path} lacks something ({error}): calibrate again.") from error


def load(path: Path, mount: Mount, serial: str, width: int, height: int) -> Calibration:
    """One that may be used for this camera. Raises one of CalibrationError."""
    found = read(path)
    wanted = mount, serial, width, height
    if (found.mount, found.serial, found.width, found.height) != wanted:
        raise OtherCamera(
            f"{path} is of the {found.mount} camera {found.serial} at {found.width}x{found.height}, not of the {mount}"
            f" camera {serial} at {width}x{height}: calibrate that one."
        )
    check_accuracy(found, str(path))
    return found


def check_accuracy(found: Calibration, name: str = "The calibration") -> None:
    """Raises InaccurateCalibration."""
    if not found.held_out_mm <= MOST_HELD_OUT_MM:
        raise InaccurateCalibration(
            f"{name} is off by {found.held_out_mm:.1f} mm at samples it had not seen, {MOST_HELD_OUT_MM:g} are allowed:"
            " fasten camera and board, turn the wrist more, and calibrate again."
        )


def quick_check(calibration: Calibration, look: Sample) -> float:
    """One look at the board where it was when the calibration was made; millimetres of disagreement.

    Raises OutdatedCalibration above MOST_DISAGREEMENT_MM, BoardError if the board cannot be measured.
    """
    off_mm = disagreement_mm(
        calibration.T_reference_camera, calibration.T_other_board, look, calibration.K, calibration.mount
    )
    if off_mm > MOST_DISAGREEMENT_MM:
        raise OutdatedCalibration(
            f"The board is seen {off_mm:.1f} mm from where the calibration puts it: camera or board was moved;"
            " calibrate again."
        )
    return off_mm


def _hash(content: dict[str, Any]) -> str:
    return hashlib.sha256(yaml.safe_dump(content, sort_keys=True).encode()).hexdigest()


def _rows(matrix: np.ndarray, digits: int = 9) -> list[list[float]]:
    return [[round(float(x), digits) for x in row] for row in matrix]


def _to_plain(c: Calibration) -> dict[str, Any]:
    K = c.K
    transform, other = ("T_base_camera", "T_tcp_board") if c.mount == "fixed" else ("T_tcp_camera", "T_base_board")
    return {
        "format": FORMAT, "date": c.date, "mount": c.mount, "serial": c.serial,
        "mode": {"width": c.width, "height": c.height, "rate_hz": c.rate_hz}, "board": c.board,
        "held_out_px": round(c.held_out_px, 4), "held_out_mm": round(c.held_out_mm, 4),
        transform: _rows(c.T_reference_camera.matrix()), other: _rows(c.T_other_board.matrix()),
        "covariance": [[float(f"{x:.6g}") for x in row] for row in c.covariance],
        "intrinsics": {"fx": float(K[0, 0]), "fy": float(K[1, 1]), "cx": float(K[0, 2]), "cy": float(K[1, 2])},
        "intrinsics_check": {
            "order": ["fx", "fy", "cx", "cy"],
            **{name: [round(float(x), 4) for x in value] for name, value in asdict(c.intrinsics).items()},
        },
        "residuals_px": [round(r, 4) for r in c.residuals_px], "agrees": list(c.agrees),
        "table": None if c.table is None else _plain_table(c.table),
        "delay_s": None if c.delay_s is None else round(c.delay_s, 5),
        "versions": c.versions,
    }  # fmt: skip


def _plain_table(table: Table) -> dict[str, Any]:
    return {**asdict(table), "normal": list(table.normal)}


def _from_plain(p: dict[str, Any]) -> Calibration:
    transform, other = ("T_base_camera", "T_tcp_board") if p["mount"] == "fixed" else ("T_tcp_camera", "T_base_board")
    lens, check, table = p["intrinsics"], p["intrinsics_check"], p["table"]
    return Calibration(
        mount=p["mount"], serial=p["serial"], **p["mode"], board=p["board"],
        T_reference_camera=Pose.from_matrix(np.array(p[transform])), T_other_board=Pose.from_matrix(np.array(p[other])),
        covariance=np.array(p["covariance"]),
        K=np.array([[lens["fx"], 0.0, lens["cx"]], [0.0, lens["fy"], lens["cy"]], [0.0, 0.0, 1.0]]),
        residuals_px=tuple(p["residuals_px"]), agrees=tuple(p["agrees"]),
        held_out_px=p["held_out_px"], held_out_mm=p["held_out_mm"],
        intrinsics=IntrinsicsCheck(*(np.array(check[name]) for name in ("change_px", "sigma_px", "limit_px"))),
        table=None if table is None else replace(Table(**table), normal=tuple(table["normal"])),
        delay_s=p["delay_s"], date=p["date"], versions=p["versions"],
    )  # fmt: skip
