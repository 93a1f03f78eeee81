"""A hand-written policy with the trained one's interface: what the observation says is enough to lift the cube."""

from __future__ import annotations

import numpy as np

from contract.observation import layout
from contract.task_spec import TaskSpec

ABOVE_M = 0.08
NEAR_M = 0.012
UP_M = 0.17
OPENS, CLOSES, KEEPS = 1.0, -1.0, 0.0


class ScriptedLift:
    """Above the cube, turn, down, close, up. No memory: the observation alone decides."""

    def __init__(self, spec: TaskSpec) -> None:
        self._spec = spec
        ends = np.cumsum([field["size"] for field in layout(spec)])
        self._slices = {
            field["name"]: slice(end - field["size"], end) for field, end in zip(layout(spec), ends, strict=True)
        }

    def act(self, observation: np.ndarray) -> np.ndarray:
        """Shape: (observation_size,) -> (7,)"""
        now = {name: observation[part] for name, part in self._slices.items()}
        if now["object_held"][0] > 0.5:
            rise = UP_M - now["object_position"][2] - now["command_lead"][2]
            return self._action(np.array([0.0, 0.0, rise]), 0.0, CLOSES)
        if now["gripper_closed"][0] > 0.5:
            empty = now["gripper_width"][0] < 0.6 * self._spec.object_width_m
            return self._action(np.zeros(3), 0.0, OPENS if empty else KEEPS)
        way = now["object_from_tcp"]
        cos4, sin4 = now["object_yaw_from_tcp"]
        turn = np.arctan2(sin4, cos4) / 4
        aside = np.linalg.norm(way[:2])
        if aside > NEAR_M or abs(turn) > 0.1:
            way = way + [0.0, 0.0, ABOVE_M]
        elif np.linalg.norm(way) < NEAR_M:
            return self._action(np.zeros(3), 0.0, CLOSES)
        return self._action(0.5 * way - now["command_lead"], 0.5 * turn, OPENS)

    def _action(self, delta_m: np.ndarray, turn_rad: float, grip: float) -> np.ndarray:
        spec = self._spec
        move = np.clip(delta_m / spec.translation_scale_m, -1, 1)
        turn = np.clip(turn_rad / spec.rotation_scale_rad[2], -1, 1)
        return np.array([*move, 0.0, 0.0, turn, grip])
