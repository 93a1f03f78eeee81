"""A synthetic hand that spoils what a policy does: the failures that a success classifier has to know."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import TracebackType

import numpy as np

from contract.grasp import is_holding
from contract.messages import RobotState
from contract.task_spec import TaskSpec
from robot_runtime.teleoperation.device import Reading

WAYS = ("drops", "holds low", "closes early", "misses", "gives up")
NEAR_M = 0.025, 0.07
"""Somewhere between these tool heights the hand takes over from a policy that is about to grasp."""
_UP = np.array([0.0, 0.0, -0.7, 0.0, 0.0, 0.0])
_STAYS = Reading(touched=True)


class ClumsyHand:
    """A device. Once the policy is in the middle of it, the hand takes over and does not let go again."""

    def __init__(self, spec: TaskSpec, latest: Callable[[], RobotState]) -> None:
        """latest: what the arm measures now."""
        self._spec, self._latest = spec, latest
        self.start(0)

    def start(self, seed: int) -> None:
        """Another episode begins; the seed decides what goes wrong, and where."""
        self._random = np.random.default_rng([seed, 3])
        self._near_m = self._random.uniform(*NEAR_M)
        self.way = str(self._random.choice(WAYS))
        self._does = {
            "drops": self._drops, "holds low": self._holds_low, "closes early": self._closes_early,
            "misses": self._misses, "gives up": self._gives_up,
        }[self.way]()  # fmt: skip

    def read(self) -> Reading:
        """What it does next."""
        return next(self._does)

    def __enter__(self) -> ClumsyHand:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing to close."""

    def _drops(self) -> Iterator[Reading]:
        """The object falls on the way up."""
        yield from self._until(self._carries_above(self._random.uniform(0.05, 0.13)), Reading())
        yield Reading(touched=True, grips=True)
        yield from self._goes_up_to(self._random.uniform(0.12, 0.2))

    def _holds_low(self) -> Iterator[Reading]:
        """The object is held, not high enough."""
        yield from self._until(self._carries_above(self._random.uniform(0.03, 0.09)), Reading())
        while True:
            yield _STAYS

    def _closes_early(self) -> Iterator[Reading]:
        """Empty fingers go up."""
        yield from self._until(self._is_near, Reading())
        yield Reading(_UP, touched=True, grips=True)
        yield from self._goes_up_to(self._random.uniform(0.12, 0.2))

    def _misses(self) -> Iterator[Reading]:
        """The fingers close beside the object, or push it."""
        yield from self._until(self._is_near, Reading())
        angle = self._random.uniform(-np.pi, np.pi)
        aside = np.array([np.cos(angle), np.sin(angle), 0.15, 0.0, 0.0, 0.0])
        for _ in range(int(self._random.integers(6, 14))):
            yield Reading(0.4 * aside, touched=True)
        yield Reading(touched=True, grips=True)
        for _ in range(10):
            yield _STAYS
        yield from self._goes_up_to(self._random.uniform(0.12, 0.2))

    def _gives_up(self) -> Iterator[Reading]:
        """Open fingers go up again."""
        yield from self._until(self._is_near, Reading())
        yield from self._goes_up_to(self._random.uniform(0.12, 0.2))

    def _goes_up_to(self, height_m: float) -> Iterator[Reading]:
        yield from self._until(lambda: self._height_m > height_m, Reading(_UP, touched=True))
        while True:
            yield _STAYS

    def _until(self, happened: Callable[[], bool], meanwhile: Reading) -> Iterator[Reading]:
        while not happened():
            yield meanwhile

    @property
    def _height_m(self) -> float:
        return float(self._latest().pose_base_tcp.position[2])

    def _is_near(self) -> bool:
        return self._height_m < self._near_m and not self._latest().gripper_closed

    def _carries_above(self, height_m: float) -> Callable[[], bool]:
        def carries() -> bool:
            state = self._latest()
            held = bool(is_holding(self._spec, state.gripper_width, state.gripper_closed))
            return held and self._height_m > height_m

        return carries
