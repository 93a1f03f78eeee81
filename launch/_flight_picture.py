"""A flight record as a picture over robot time, the fault at zero."""

from __future__ import annotations

import html
import io
import textwrap
from pathlib import Path
from typing import Any

import numpy as np

from robot_runtime.flight_recorder import MODES
from robot_runtime.replay import FlightRecord

SUFFIXES = (".png", ".svg", ".pdf", ".html")
MODE_COLOURS = {
    "disarmed": "0.93", "armed": "#dbe9f6", "moving": "#d5efd5", "holding": "#fff3c4", "stopping": "#ffdcb8",
    "homing": "#e6dcf2", "faulted": "#f6c9c9",
}  # fmt: skip
AXES = (("x", "C0"), ("y", "C1"), ("z", "C2"))


class CannotDraw(ValueError):
    """A picture cannot be written there."""


def write(record: FlightRecord, path: Path, last_s: float, words: list[str]) -> None:
    """Draw the record's last seconds to .png, .svg or .pdf, or .html with its summary. Raises CannotDraw."""
    if path.suffix not in SUFFIXES:
        raise CannotDraw(f"{path} must end in {', '.join(SUFFIXES)}.")
    try:
        if path.suffix != ".html":
            _draw(record, last_s, path, path.suffix[1:])
            return
        picture = io.StringIO()
        _draw(record, last_s, picture, "svg")
        svg = picture.getvalue()
        told = html.escape("\n".join(words))
        page = f'<!doctype html><meta charset="utf-8"><title>{html.escape(path.stem)}</title><pre>{told}</pre>'
        path.write_text(page + svg[svg.index("<svg") :], encoding="utf-8")
    except OSError as error:
        raise CannotDraw(f"{path} cannot be written ({error.strerror}): name a file in a folder that exists.") from None


def _draw(record: FlightRecord, last_s: float, file: Any, kind: str) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    heights = (0.25, 2.2, 1.3, 1.0, 1.0, 0.9)
    figure, panels = plt.subplots(
        6, 1, figsize=(12, 13), sharex=True, height_ratios=heights, layout="constrained", squeeze=True
    )
    zero = record.fault.stamp
    stamps = record.turns["stamp"][:, 0]
    rows = stamps > stamps.max(initial=0.0) - last_s
    turns = {name: column[rows] for name, column in record.turns.items()}
    t = turns["stamp"][:, 0] - zero
    drawn = _modes, _positions, _speeds, _lead, _forces_and_gripper, _loop
    for draw, panel in zip(drawn, panels, strict=True):
        draw(panel, record, turns, t)
        panel.axvline(0.0, color="crimson", linewidth=1.2)
        panel.margins(x=0.0)
    if len(t):
        panels[-1].set_xlim(t[0], max(t[-1], 0.0) + 0.02 * last_s)
    panels[-1].set_xlabel(f"robot time from the fault at {zero:.3f} s, seconds")
    figure.suptitle("\n".join(textwrap.wrap(f"{record.fault.name}: {record.fault.cause}", 110)), fontsize=12)
    figure.savefig(file, format=kind, dpi=90)
    plt.close(figure)


def _modes(panel: Any, record: FlightRecord, turns: dict[str, np.ndarray], t: np.ndarray) -> None:
    modes = turns["mode"][:, 0].astype(int)
    changes = [0, *(np.flatnonzero(np.diff(modes)) + 1).tolist(), len(modes) - 1] if len(modes) else []
    for begin, end in zip(changes, changes[1:], strict=False):
        name = MODES[modes[begin]]
        panel.axvspan(t[begin], t[end], color=MODE_COLOURS[name], linewidth=0)
        if t[end] - t[begin] > 0.07 * (t[-1] - t[0]):
            panel.text((t[begin] + t[end]) / 2, 0.5, name, ha="center", va="center", fontsize=9)
    panel.set_yticks([])
    panel.set_ylabel("mode", rotation=0, ha="right", va="center")


def _positions(panel: Any, record: FlightRecord, turns: dict[str, np.ndarray], t: np.ndarray) -> None:
    """Each axis from where it was at the first turn drawn, millimetres."""
    begin = turns["pose_base_tcp"][:1, :3]
    columns = ("command_base_tcp", ":"), ("reference_base_tcp", "--"), ("pose_base_tcp", "-")
    for column, style in columns:
        label = {":": "commanded", "--": "reference", "-": "measured"}[style]
        for axis, (name, colour) in enumerate(AXES):
            moved = 1e3 * (turns[column][:, axis] - begin[:, axis])
            panel.plot(t, moved, style, color=colour, linewidth=1.1, label=f"{name} {label}")
    judged = [(d.now - record.fault.stamp, d.verdict) for d in record.decisions]
    judged = [(at, verdict) for at, verdict in judged if len(t) and at >= t[0]]
    clipped = [at for at, verdict in judged if verdict.clipped]
    refused = [at for at, verdict in judged if verdict.refusal is not None]
    edge = panel.get_xaxis_transform()
    panel.plot(clipped, np.full(len(clipped), 0.97), "|", color="darkorange", transform=edge, label="clipped")
    panel.plot(refused, np.full(len(refused), 0.97), "x", color="crimson", transform=edge, label="refused")
    panel.set_ylabel("tool moved by, mm")
    panel.legend(ncol=4, fontsize=7, loc="lower left")


def _speeds(panel: Any, record: FlightRecord, turns: dict[str, np.ndarray], t: np.ndarray) -> None:
    panel.plot(t, np.linalg.norm(turns["reference_twist_base_tcp"][:, :3], axis=1), "--", label="reference")
    panel.plot(t, np.linalg.norm(turns["v_base_tcp"][:, :3], axis=1), label="measured")
    panel.axhline(record.header["limits"]["speed_m_s"], color="0.5", linestyle=":", label="limit")
    panel.set_ylabel("tool speed, m/s")
    panel.legend(fontsize=7, loc="upper left")


def _lead(panel: Any, record: FlightRecord, turns: dict[str, np.ndarray], t: np.ndarray) -> None:
    measured = turns["pose_base_tcp"][:, :3]
    for column, label in (("command_base_tcp", "command"), ("reference_base_tcp", "reference")):
        ahead = 1e3 * np.linalg.norm(turns[column][:, :3] - measured, axis=1)
        panel.plot(t, ahead, label=f"{label} before the arm")
    panel.axhline(1e3 * record.header["limits"]["lead_m"], color="0.5", linestyle=":", label="limit")
    panel.set_ylabel("lead, mm")
    panel.legend(fontsize=7, loc="upper left")


def _forces_and_gripper(panel: Any, record: FlightRecord, turns: dict[str, np.ndarray], t: np.ndarray) -> None:
    panel.plot(t, np.linalg.norm(turns["wrench_base"][:, :3], axis=1), color="C3", label="force on the tool")
    panel.axhline(record.header["limits"]["soft_force_n"], color="0.5", linestyle=":", label="soft limit")
    panel.set_ylabel("force, N")
    panel.legend(fontsize=7, loc="upper left")
    opening = panel.twinx()
    opening.plot(t, 1e3 * turns["gripper_width"], color="C4", label="gripper")
    opening.fill_between(t, 0, turns["gripper_closed"][:, 0], color="C4", alpha=0.15, linewidth=0, step="post",
                         transform=opening.get_xaxis_transform(), label="told to close")  # fmt: skip
    opening.set_ylim(0, 90)
    opening.set_ylabel("gripper, mm")
    opening.legend(fontsize=7, loc="upper right")


def _loop(panel: Any, record: FlightRecord, turns: dict[str, np.ndarray], t: np.ndarray) -> None:
    panel.plot(t[1:], 1e3 * np.diff(turns["wall_s"][:, 0]), linewidth=0.7, label="turn of the bridge's loop")
    panel.plot(t, 1e3 * turns["busy_s"][:, 0], linewidth=0.7, label="its work")
    panel.set_ylabel("wall time, ms")
    panel.set_ylim(bottom=0)
    panel.legend(fontsize=7, loc="upper left")
