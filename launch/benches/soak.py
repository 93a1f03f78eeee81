"""Random picks for a long time with a fault every while: each latched and cleared as the table says, and no leak."""

from __future__ import annotations

import contextlib
import json
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil

import _reports
from _running import bridge, cell_lock
from contract.messages import GripperCommand
from contract.tasks import LIFT_CUBE
from robot_runtime.bridge_client import BridgeClient, BridgeRefused
from robot_runtime.cell import load_cell
from robot_runtime.mock_cell.cell_process import MockCell, MockCellAddresses
from robot_runtime.mock_cell.scoring import ScoringClient
from robot_runtime.motions import GRASP_N, Mover, Way, stay, towards
from safety.faults import FAULTS
from safety.grasp import CARRIED_M

SETTLED_SHARE = 0.2
"""Of the run, after which memory is compared: by then everything has been allocated once."""
_OPEN_M = 0.07

Disturbance = tuple[str, dict[str, Any], tuple[str, ...]]
DISTURBANCES: tuple[Disturbance, ...] = (
    ("reflex", {"error": "joint_velocity_violation"}, ("arm_reflex",)),
    ("lose_packets", {"count": 25}, ("packets_lost",)),
    ("lose_packets", {"count": 10}, ()),
    ("push", {"force_n": [0.0, 0.0, 36.0], "seconds": 0.5}, ("contact_force", "arm_reflex")),
    ("push", {"force_n": [0.0, 15.0, 0.0], "seconds": 0.3}, ()),
    ("user_stop", {"pressed": True}, ("user_stop",)),
    ("gripper_stuck", {"seconds": 2.0}, ("gripper_silent",)),
    ("take_object", {}, ("object_lost",)),
    ("silence of the policy", {}, ("setpoints_stopped",)),
)
"""What is done to the arm, and the faults that it may end in."""


@dataclass(frozen=True)
class Arguments:
    """For how long, how often, and where the figures go."""

    minutes: float = 30.0
    """Robot time."""
    fault_every_s: float = 20.0
    """Robot time between disturbances, on average."""
    seed: int = 0
    """Of motions and disturbances."""
    report: Path | None = None
    """Also write the figures here."""


@dataclass
class Story:
    """What happened. reactions_s: robot time from the disturbance to the fault, by fault."""

    picks: int = 0
    lifted: int = 0
    disturbed: Counter[str] = field(default_factory=Counter)
    reactions_s: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    wrong: list[str] = field(default_factory=list)
    cleared_once: set[str] = field(default_factory=set)
    memory_mb: dict[str, list[float]] = field(default_factory=lambda: {"bridge": [], "mock cell": []})


def run(arguments: Arguments) -> int:
    """Pick and disturb; 1 if a fault was not the one it should be, or memory grew."""
    cell = load_cell("mock")
    assert cell.scoring is not None
    random, story = np.random.default_rng(arguments.seed), Story()
    with contextlib.ExitStack() as stack:
        stack.enter_context(cell_lock(cell))
        stack.enter_context(MockCell(MockCellAddresses.of_cell(cell), 0, None, cell.camera.serial))
        stack.enter_context(bridge(cell, "mock", print))
        scoring = stack.enter_context(ScoringClient(cell.scoring))
        client = stack.enter_context(BridgeClient(cell, "soak"))
        client.connect(LIFT_CUBE.contract_hash(), LIFT_CUBE.period_s)
        begun, end = client.latest().stamp, client.latest().stamp + 60 * arguments.minutes
        with contextlib.suppress(KeyboardInterrupt):
            while (now := client.latest().stamp) < end:
                Pick(client, scoring, random, story, arguments.fault_every_s).go()
                _weigh(story)
                print(_line(story, now - begun, end - begun), flush=True)
        figures = _figures(story, client, (client.latest().stamp - begun) / 60)
        client.stop()
    print(json.dumps(figures, indent=1))
    _reports.write(arguments.report, figures)
    return int(bool(figures["wrong"] or figures["limit_violations"]))


class Pick:
    """One pick of a cube that lies anywhere, perhaps disturbed at some moment of it."""

    def __init__(
        self,
        client: BridgeClient,
        scoring: ScoringClient,
        random: np.random.Generator,
        story: Story,
        fault_every_s: float,
    ) -> None:
        self._client, self._scoring, self._random, self._story = client, scoring, random, story
        self._rate = LIFT_CUBE.period_s / fault_every_s
        self._expected: tuple[str, ...] | None = None
        self._disturbed_at = 0.0
        self._what = ""

    def go(self) -> None:
        """From the start pose to the cube held up, or to the fault, cleared."""
        client = self._client
        client.gripper(GripperCommand(False, GRASP_N))
        client.move_home(LIFT_CUBE.start_q_rad)
        while client.latest().gripper_width < _OPEN_M:
            client.wait_until(client.latest().stamp + 0.05)
        self._scoring.reset(int(self._random.integers(1_000_000)))
        client.arm()
        move = Mover(client)
        cube = self._scoring.truth().pose_base_object
        move.lift(cube)
        move(self._meddling(towards(cube.position + self._random.uniform(-0.08, 0.08, 3) + [0.0, 0.0, 0.15])), 40)
        move(self._meddling(stay), 60)
        self._story.picks += 1
        self._story.lifted += self._scoring.truth().height_above_rest_m > 0.03
        self._settle()

    def _meddling(self, way: Way) -> Way:
        """The same way, with a disturbance at a random moment."""

        def disturbed(here: Any) -> Any:
            if self._expected is None and self._random.random() < self._rate * 3:
                self._disturb()
            return way(here)

        return disturbed

    def _disturb(self) -> None:
        name, values, self._expected = DISTURBANCES[int(self._random.integers(len(DISTURBANCES)))]
        if name == "take_object" and self._scoring.truth().height_above_rest_m < CARRIED_M:
            self._expected = None  # there is nothing to take
            return
        self._what = name
        self._story.disturbed[name] += 1
        if name == "silence of the policy":
            self._disturbed_at = self._client.latest().stamp
            self._client.wait_until(self._disturbed_at + 0.8)
        else:
            self._disturbed_at = self._scoring.disturb(name, **values)

    def _settle(self) -> None:
        """Compare what was latched with what had to be, and clear it as the table says."""
        client, expected = self._client, self._expected or ()
        deadline = client.latest().stamp + 1.5
        while expected and client.status().fault is None and client.latest().stamp < deadline:
            client.wait_until(client.latest().stamp + 0.02)
        client.stop()
        fault = client.status().fault
        if (fault.name if fault else None) not in (expected or (None,)):
            self._story.wrong.append(f"{self._what}: {fault}")
        if fault is not None:
            self._story.reactions_s[fault.name].append(fault.stamp - self._disturbed_at)
            self._scoring.calm()
            self._clear(fault.name)
        self._scoring.calm()

    def _clear(self, name: str) -> None:
        """As whoever the table says, having tried it as the program where that must be refused."""
        client, once, cleared_by = self._client, self._story.cleared_once, FAULTS[name].cleared_by
        by_person = cleared_by == "person" or (cleared_by == "commander once" and name in once)
        if by_person:
            once.clear()
            with contextlib.suppress(BridgeRefused):
                client.recover()
                self._story.wrong.append(f"{name} was cleared without a person")
        else:
            once.add(name)
        client.wait_until(client.latest().stamp + 0.1)
        client.recover(by_person=by_person)


def _weigh(story: Story) -> None:
    """Resident memory of our own processes."""
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            command = " ".join(process.cmdline())
            for name, part in (("bridge", "robot_runtime.bridge_server"), ("mock cell", "mock_cell.server")):
                if part in command:
                    story.memory_mb[name].append(process.memory_info().rss / 2**20)


def _line(story: Story, now_s: float, whole_s: float) -> str:
    memory = ", ".join(f"{name} {values[-1]:.0f} MB" for name, values in story.memory_mb.items() if values)
    faults = sum(len(values) for values in story.reactions_s.values())
    return (
        f"{time.strftime('%H:%M:%S')} {now_s / 60:5.1f} of {whole_s / 60:.0f} min  picks {story.picks}"
        f"  lifted {story.lifted}  faults {faults}  wrong {len(story.wrong)}  {memory}"
    )


def _figures(story: Story, client: BridgeClient, minutes: float) -> dict[str, Any]:
    def growth(values: list[float]) -> float | None:
        settled = values[int(SETTLED_SHARE * len(values)) :]
        quarter = len(settled) // 4
        if quarter == 0:
            return None
        return float(np.mean(settled[-quarter:]) / np.mean(settled[:quarter]) - 1.0)

    counters = client.status().counters
    return {
        "minutes": round(minutes, 2),
        "picks": story.picks,
        "lifted_at_the_end": story.lifted,
        "disturbances": dict(story.disturbed),
        "faults": {
            name: {"count": len(seconds), "median_s": float(np.median(seconds)), "worst_s": max(seconds)}
            for name, seconds in story.reactions_s.items()
        },
        "wrong": story.wrong,
        "limit_violations": counters.limit_violations,
        "peak_speed_m_s": counters.peak_speed_m_s,
        "memory_growth": {name: growth(values) for name, values in story.memory_mb.items()},
    }
