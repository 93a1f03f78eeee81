"""The fault matrix: makes every fault happen over the real wires, times reactions, and writes the page about them."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import _reports
from safety.faults import FAULTS, NEXT

_ROOT = Path(__file__).resolve().parents[2]
_BY = {
    "commander": "the program, by `recover`",
    "commander once": "the program once, then a person",
    "person": "a person, by `launch/bridge.py recover`",
    "restart": "a new start of the bridge",
}


@dataclass(frozen=True)
class Arguments:
    """How often, and where the figures and the page go."""

    repeats: int = 5
    """How often each fault is made to happen."""
    report: Path = Path("docs/results/fault_matrix.json")
    """What was measured."""
    page: Path = Path("docs/faults.md")
    """States, faults and what was measured, for people."""


def run(arguments: Arguments) -> int:
    """Run the tests of faults; figures and page are written only from a run in which all passed."""
    with tempfile.TemporaryDirectory() as folder:
        measured = Path(folder) / "fault_matrix.json"
        command = [sys.executable, "-m", "pytest", "-q", "tests/hil", "-k", "faults", "--timeout", "1800"]
        done = subprocess.run([*command, "--repeats", str(arguments.repeats), f"--fault-matrix={measured}"], cwd=_ROOT)
        if done.returncode == 0:
            figures = json.loads(measured.read_text())
            _reports.write(arguments.report, figures)
            arguments.page.write_text(page(figures))
            print(f"{arguments.report} and {arguments.page} have been written anew.")
    return done.returncode


def page(matrix: dict[str, dict[str, Any]]) -> str:
    """docs/faults.md."""
    repeats = max(row["repeats"] for row in matrix.values())
    return "\n".join(
        [
            "# When something goes wrong",
            "",
            "Written by `launch/bench.py faults` from the code and from what it measured; do not edit.",
            "",
            "## What the arm may do next",
            "",
            *_diagram(),
            "",
            "A fault is latched: it stops the arm, is told in one sentence, and stays until it is cleared. Nothing",
            "moves by itself after it. Limits are those of the cell file (`launch/cells`) or `robot_runtime/cell.py`.",
            "",
            "## Every fault",
            "",
            "| fault | when | who stops the arm | within | cleared by |",
            "| --- | --- | --- | --- | --- |",
            *(
                f"| `{name}` | {kind.happens} | the {kind.stop} | {kind.within_s:g} s | {_BY[kind.cleared_by]} |"
                for name, kind in FAULTS.items()
            ),
            "",
            "## What was measured",
            "",
            f"`launch/bench.py faults --repeats {repeats}` on the mock cell, in robot time if nothing else is said.",
            "",
            "| what happened | what came of it | median | worst | limit |",
            "| --- | --- | --- | --- | --- |",
            *(f"| {name} | {row['outcome']} | {_reaction(row)} |" for name, row in matrix.items()),
            "",
        ]
    )


def _reaction(row: dict[str, Any]) -> str:
    if row["limit_s"] == 0.0:
        return "– | – | –"
    unit = "s" if row["clock"] == "robot" else "s (wall)"
    return " | ".join(f"{row[name]:.3g} {unit}" for name in ("median_s", "worst_s", "limit_s"))


def _diagram() -> list[str]:
    """The mode machine as a Mermaid drawing."""
    arrows = [f"  {mode} --> {after}" for mode, others in NEXT.items() for after in others]
    moving = [mode for mode in NEXT if mode not in ("disarmed", "faulted", "stopping")]
    faults = [f"  {mode} --> stopping: fault" for mode in moving if "stopping" not in NEXT[mode]]
    ends = ["stopping --> faulted: after a fault", "disarmed --> faulted: fault", "faulted --> disarmed: recover"]
    begin = ["```mermaid", "stateDiagram-v2", "  [*] --> disarmed"]
    return [*begin, *arrows, *faults, *(f"  {end}" for end in ends), "```"]
