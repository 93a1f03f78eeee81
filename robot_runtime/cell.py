"""A cell file: the YAML that describes one place (addresses, serials, gains, limits, workspace, camera pose)."""

from __future__ import annotations

import dataclasses
import difflib
import os
import types
import typing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import yaml

from robot_runtime.cell_cameras import CameraSettings, WristCameraSettings, beside, check_cameras
from robot_runtime.cell_errors import CellError, UnknownCell, UnknownCellKey
from safety.limits import arm_limits
from safety.workspace import Workspace

CELLS_FOLDER = Path(__file__).resolve().parent.parent / "launch" / "cells"


SHOULDER_M, REACH_M = np.array([0.0, 0.0, 0.333]), 0.855
"""Centre and radius of what the arm reaches (Franka Research 3 and Panda datasheets)."""


@dataclass(frozen=True)
class RobotSettings:
    """Which arm answers at `address` (FCI, TCP 1337 and 1338).

    realtime: `enforce` refuses a kernel without PREEMPT_RT.
    """

    address: str
    model: Literal["fr3", "panda"]
    realtime: Literal["enforce", "ignore"] = "enforce"


@dataclass(frozen=True)
class BridgeSettings:
    """Where the bridge listens.

    rate_hz: references to the arm and states to the clients; the impedance control runs at 1 kHz whatever it is, and
    200 with twist and acceleration track as well as 1000.
    keys, flight_records: folders of the CURVE keys and of what the flight recorder writes; null means the user's state
    folder, per cell name.
    """

    host: str
    command_port: int
    state_port: int
    rate_hz: int = 200
    keys: str | None = None
    flight_records: str | None = None


@dataclass(frozen=True)
class Gains:
    """Impedance stiffness, N/m and Nm/rad, and damping, Ns/m and Nms/rad; the posture spring acts in the null space.

    Damping is that of a mass of `apparent_mass_kg` at the tool, critically damped: the arm's own, a few kilograms.
    friction_nm: Coulomb friction of each joint that is fed forward; less than there is, or the arm will not rest.
    """

    translational_n_per_m: float
    rotational_nm_per_rad: float
    posture_nm_per_rad: float = 10.0
    apparent_mass_kg: float = 4.0
    friction_nm: tuple[float, float, float, float, float, float, float] = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)


@dataclass(frozen=True)
class MotionLimits:
    """What the guard allows. Speed of the commanded tool, and its lead over the measured one.

    speed_m_s: 0.25 is the reduced speed of ISO 10218-1 for shared spaces.
    soft_force_n: measured on the tool, from which on it is not pressed further. hard_force_n: from which on the bridge
    stops the arm if it lasts; an impact of a few milliseconds is left to the arm's own reflex, whose thresholds are
    contact_force_n and contact_torque_nm.
    payload_n: what the tool may feel at rest when it is armed, without having been told of a load.
    joint_margin_rad: kept from each joint's end. singular_value: least of the Jacobian's that is gone to.
    """

    speed_m_s: float = 0.25
    rotation_rad_s: float = 1.3
    lead_m: float = 0.08
    lead_rad: float = 0.4
    soft_force_n: float = 20.0
    hard_force_n: float = 30.0
    payload_n: float = 6.0
    joint_margin_rad: float = 0.05
    singular_value: float = 0.03
    contact_force_n: float = 40.0
    contact_torque_nm: float = 30.0


@dataclass(frozen=True)
class Timing:
    """Seconds of robot time without a fresh setpoint until the arm holds, then stops; oldest setpoint accepted."""

    hold_after_s: float = 0.13
    stop_after_s: float = 0.4
    setpoint_max_age_s: float = 0.15


@dataclass(frozen=True)
class MockSettings:
    """What a launch program starts before it can use a mock cell: the seed of its scene."""

    seed: int = 0


@dataclass(frozen=True)
class Cell:
    """One place where a robot stands. `scoring` (ground truth) and `mock` are read by launch programs only."""

    name: str
    robot: RobotSettings
    bridge: BridgeSettings
    gains: Gains
    limits: MotionLimits
    workspace: Workspace
    camera: CameraSettings
    wrist_camera: WristCameraSettings | None = None
    timing: Timing = Timing()
    scoring: str | None = None
    mock: MockSettings | None = None

    @property
    def keys_folder(self) -> Path:
        """Folder of the CURVE keys that bridge and clients of this cell share."""
        return self._folder(self.bridge.keys, "keys")

    @property
    def flight_records_folder(self) -> Path:
        """Folder the flight recorder writes to."""
        return self._folder(self.bridge.flight_records, "flight_records")

    def _folder(self, given: str | None, kind: str) -> Path:
        if given is not None:
            return Path(given).expanduser()
        state = Path(os.environ.get("XDG_STATE_HOME", "~/.local/state")).expanduser()
        return state / "panda-jumpstart" / kind / self.name

    @property
    def command_endpoint(self) -> str:
        """ZMQ address of the bridge's command socket."""
        return f"tcp://{self.bridge.host}:{self.bridge.command_port}"

    @property
    def state_endpoint(self) -> str:
        """ZMQ address of the bridge's state publisher."""
        return f"tcp://{self.bridge.host}:{self.bridge.state_port}"

    def write(self, path: Path) -> None:
        """Write a cell file that `load_cell` reads back as an equal cell."""
        plain = yaml.safe_load(yaml.safe_dump(_plain(dataclasses.asdict(self))))
        path.write_text(yaml.safe_dump(plain, sort_keys=False), encoding="utf-8")


def load_cell(name_or_path: str | Path) -> Cell:
    """The cell of that file, or of that name under launch/cells.

    Raises UnknownCell, UnknownCellKey or CellError, each with one sentence that says what to change.
    """
    path = Path(name_or_path)
    if path.suffix not in (".yaml", ".yml"):
        path = CELLS_FOLDER / f"{name_or_path}.yaml"
    if not path.is_file():
        names = sorted(p.stem for p in CELLS_FOLDER.glob("*.yaml"))
        near = difflib.get_close_matches(str(name_or_path), names, n=1, cutoff=0.0)
        hint = f"; did you mean '{near[0]}'?" if near else "."
        raise UnknownCell(f"There is no cell '{name_or_path}' (looked for {path}){hint}")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise CellError(f"{path} is not valid YAML: {' '.join(str(error).split())}.") from error
    try:
        cell: Cell = _read(Cell, content, "")
        _check(cell)
    except CellError as error:
        raise type(error)(f"{path}: {error}") from None
    wrist = None if cell.wrist_camera is None else beside(cell.wrist_camera, path.parent)
    return dataclasses.replace(cell, camera=beside(cell.camera, path.parent), wrist_camera=wrist)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value


def _read(kind: Any, value: Any, where: str) -> Any:
    """`value` from YAML as `kind`. `where` is the dotted key, for the error."""
    origin = typing.get_origin(kind)
    if origin in (typing.Union, types.UnionType):
        options = typing.get_args(kind)
        if value is None and type(None) in options:
            return None
        return _read(next(option for option in options if option is not type(None)), value, where)
    if dataclasses.is_dataclass(kind):
        return _read_mapping(typing.cast(type, kind), value, where)
    if origin is Literal:
        if value not in typing.get_args(kind):
            raise CellError(f"{where} is {value!r}; it must be one of {', '.join(map(str, typing.get_args(kind)))}.")
        return value
    if origin is tuple:
        return _read_tuple(kind, value, where)
    if kind is float and isinstance(value, (int, float)) and not isinstance(value, bool) and np.isfinite(value):
        return float(value)
    if isinstance(value, kind) and not (kind is int and isinstance(value, bool)):
        return value
    raise CellError(f"{where} is {value!r}; it must be a finite {kind.__name__}.")


def _read_tuple(kind: Any, value: Any, where: str) -> Any:
    items = typing.get_args(kind)
    if not isinstance(value, list):
        raise CellError(f"{where} is {value!r}; it must be a list.")
    if items[-1] is not Ellipsis and len(value) != len(items):
        raise CellError(f"{where} has {len(value)} entries; it must have {len(items)}.")
    return tuple(_read(items[0], item, f"{where}[{i}]") for i, item in enumerate(value))


def _read_mapping(kind: type, value: Any, where: str) -> Any:
    if not isinstance(value, dict):
        raise CellError(f"{where or 'the file'} must be a mapping of keys to values.")
    prefix = f"{where}." if where else ""
    hints = typing.get_type_hints(kind)
    fields = {field.name: field for field in dataclasses.fields(kind)}
    for key in value:
        if key not in fields:
            near = difflib.get_close_matches(str(key), fields, n=1, cutoff=0.0)[0]
            raise UnknownCellKey(f"'{prefix}{key}' is not a key of a cell file; did you mean '{prefix}{near}'?")
    for name, field in fields.items():
        if name not in value and field.default is dataclasses.MISSING:
            raise CellError(f"'{prefix}{name}' is missing.")
    return kind(**{key: _read(hints[key], item, f"{prefix}{key}") for key, item in value.items()})


def _check(cell: Cell) -> None:
    """Refuse numbers no cell can mean: mostly wrong units."""
    bounds: list[tuple[str, float, float, float, str]] = [
        ("gains.translational_n_per_m", cell.gains.translational_n_per_m, 10, 3000, "N/m"),
        ("gains.rotational_nm_per_rad", cell.gains.rotational_nm_per_rad, 1, 300, "Nm/rad"),
        ("gains.posture_nm_per_rad", cell.gains.posture_nm_per_rad, 0, 50, "Nm/rad"),
        ("limits.speed_m_s", cell.limits.speed_m_s, 0.01, 2.0, "m/s"),
        ("limits.rotation_rad_s", cell.limits.rotation_rad_s, 0.05, 5.0, "rad/s"),
        ("limits.lead_m", cell.limits.lead_m, 0.005, 0.2, "m"),
        ("limits.lead_rad", cell.limits.lead_rad, 0.02, 1.0, "rad"),
        ("limits.soft_force_n", cell.limits.soft_force_n, 2, 100, "N"),
        ("limits.hard_force_n", cell.limits.hard_force_n, 3, 150, "N"),
        ("limits.payload_n", cell.limits.payload_n, 1, 30, "N"),
        ("limits.joint_margin_rad", cell.limits.joint_margin_rad, 0.01, 0.5, "rad"),
        ("limits.singular_value", cell.limits.singular_value, 0.01, 0.2, ""),
        ("limits.contact_force_n", cell.limits.contact_force_n, 5, 200, "N"),
        ("limits.contact_torque_nm", cell.limits.contact_torque_nm, 2, 87, "Nm"),
        ("timing.hold_after_s", cell.timing.hold_after_s, 0.02, 2.0, "s"),
        ("timing.stop_after_s", cell.timing.stop_after_s, 0.1, 10.0, "s"),
        ("timing.setpoint_max_age_s", cell.timing.setpoint_max_age_s, 0.01, 1.0, "s"),
        ("bridge.command_port", cell.bridge.command_port, 1024, 65535, "a TCP port"),
        ("bridge.state_port", cell.bridge.state_port, 1024, 65535, "a TCP port"),
        ("bridge.rate_hz", cell.bridge.rate_hz, 50, 1000, "Hz"),
    ]
    for name, number, smallest, largest, unit in bounds:
        if not smallest <= number <= largest:
            raise CellError(f"{name} is {number:g}; it must be {smallest:g} to {largest:g} {unit}: check the unit.")
    _check_workspace(cell.workspace)
    _check_speed(cell)
    if not cell.limits.soft_force_n < cell.limits.hard_force_n < cell.limits.contact_force_n:
        raise CellError(
            "limits.soft_force_n must be below limits.hard_force_n, where the bridge stops the arm, and that below"
            " limits.contact_force_n, where the arm stops itself."
        )
    if cell.timing.stop_after_s <= cell.timing.hold_after_s:
        raise CellError("timing.stop_after_s must be longer than timing.hold_after_s.")
    if cell.bridge.command_port == cell.bridge.state_port:
        raise CellError("bridge.command_port and bridge.state_port must differ.")
    check_cameras(cell.camera, cell.wrist_camera)


def _check_workspace(workspace: Workspace) -> None:
    """That it is given in metres, that there is something inside, and that the arm gets there."""
    low, high = np.array(workspace.low_m), np.array(workspace.high_m)
    if np.abs(np.concatenate([low, high])).max() > 1.5:
        raise CellError("workspace reaches beyond 1.5 m, further than the arm: give it in metres, not millimetres.")
    if not (low < high).all():
        raise CellError("workspace.low_m must be below workspace.high_m on every axis.")
    for plane in workspace.planes:
        if abs(np.linalg.norm(plane.normal) - 1.0) > 1e-3:
            raise CellError(f"workspace.planes has a normal {list(plane.normal)} that is not of unit length.")
    inside = workspace.nearest((low + high) / 2)
    if workspace.outside_m(inside) > 1e-6:
        raise CellError("workspace.planes leave nothing of the box: check that their normals point inwards.")
    if np.linalg.norm(workspace.nearest(SHOULDER_M) - SHOULDER_M) > REACH_M:
        raise CellError(f"workspace lies beyond the arm's reach of {REACH_M} m around {SHOULDER_M.tolist()}.")


def _check_speed(cell: Cell) -> None:
    """That what the reference may do at these speeds is less than the arm's limits."""
    arm = arm_limits(cell.robot.model)
    for name, speed, unit, most in (
        ("limits.speed_m_s", cell.limits.speed_m_s, "m/s", arm.translation[0]),
        ("limits.rotation_rad_s", cell.limits.rotation_rad_s, "rad/s", arm.rotation[0]),
    ):
        if speed > most:
            raise CellError(f"{name} is {speed:g}; the {cell.robot.model} allows {most:g} {unit}.")
