"""Fit the simulated controller's response to a recording of the real loop, and play the recording in the simulator."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import least_squares

from contract.task_spec import TaskSpec
from contract.tasks import LIFT_CUBE
from sim_training.envs.response import FITTED_RESPONSE, ImpedanceResponse, SecondOrder, Transition

AXES = {"x": 0, "z": 2, "yaw": 5}
"""Which component of an action each recorded move exercises."""

MOVING_S = 0.5
"""Fitted until then; afterwards friction holds the arm a millimetre off, which no linear response does."""


@dataclass(frozen=True)
class StepResponse:
    """One recorded move from its start. t: (N,) s; measured: (N,) m or rad; asked: (M,) the setpoints, one a tick."""

    t: np.ndarray
    measured: np.ndarray
    asked: np.ndarray

    @property
    def travel(self) -> float:
        """Full travel of the move."""
        return float(np.ptp(self.asked))


def _coordinate(poses: np.ndarray, move: str) -> np.ndarray:
    """Position along the axis, or rotation about the base z axis of a tool that points down. Shape: (N, 7) -> (N,)"""
    if move == "yaw":
        return np.unwrap(2 * np.arctan2(poses[:, 5], poses[:, 4]))
    return poses[:, AXES[move]]


def responses(recording: Mapping[str, np.ndarray]) -> dict[str, StepResponse]:
    """The moves of a recording made by `robot_runtime.step_response`, each from its own start."""
    moves = {}
    for move in AXES:
        asked = _coordinate(recording[f"{move}_sent"][:, 1:], move)
        measured = _coordinate(recording[f"{move}_measured"], move)
        start = asked[0] - (asked[1] - asked[0])
        moves[move] = StepResponse(
            recording[f"{move}_t"], measured - measured[0], np.concatenate([[0.0], asked - start])
        )
    return moves


def predict(response: SecondOrder, move: StepResponse, period_s: float) -> np.ndarray:
    """What the model does at the recorded times. Shape: (N,)"""
    fine = 5
    transition = Transition.of(response, period_s / fine, 1, torch.device("cpu"))
    position, velocity = torch.zeros(1, 3), torch.zeros(1, 3)
    path = [0.0]
    for start, end in zip(move.asked, move.asked[1:], strict=False):
        rate = torch.full((1, 3), (end - start) / period_s, dtype=torch.float32)
        for i in range(fine):
            reference = start + (end - start) * i / fine
            offset, velocity = transition.advance(position - reference, velocity, rate)
            position = reference + (end - start) / fine + offset
            path.append(float(position[0, 0]))
    return np.interp(move.t, np.arange(len(path)) * period_s / fine, path)


def _fit(moves: list[StepResponse], start: SecondOrder, period_s: float) -> SecondOrder:
    def residual(p: np.ndarray) -> np.ndarray:
        model = SecondOrder(*(float(v) for v in p))
        off = [(predict(model, m, period_s) - m.measured) / m.travel for m in moves]
        return np.concatenate([error[m.t <= MOVING_S] for error, m in zip(off, moves, strict=True)])

    first = [float(v) for v in (start.frequency, start.damping, start.feedforward)]
    bounds = ([2.0, 0.2, 0.0], [80.0, 3.0, 1.0])
    found = least_squares(residual, first, bounds=bounds, x_scale=[10.0, 1.0, 1.0], diff_step=1e-3).x
    return SecondOrder(*(float(round(v, 3)) for v in found))


def fit(moves: Mapping[str, StepResponse], spec: TaskSpec = LIFT_CUBE) -> ImpedanceResponse:
    """Least squares over the recorded moves: translation from x and z together, rotation from yaw."""
    return ImpedanceResponse(
        _fit([moves["x"], moves["z"]], FITTED_RESPONSE.translation, spec.period_s),
        _fit([moves["yaw"]], FITTED_RESPONSE.rotation, spec.period_s),
    )


def play(moves: Mapping[str, StepResponse], spec: TaskSpec = LIFT_CUBE) -> dict[str, np.ndarray]:
    """The same setpoints through the simulated controller and PhysX; what the tool did at every tick. Shapes: (M,)"""
    from sim_training.envs import make_task

    env = make_task(spec.name, len(moves), randomise=False)
    env.reset(seed=0)
    task = env.unwrapped
    scale = np.array([spec.translation_scale_m] * 3 + [s or 1.0 for s in spec.rotation_scale_rad])
    travelled = []
    for tick in range(len(next(iter(moves.values())).asked) - 1):
        action = torch.zeros(len(moves), 7)
        action[:, 6] = 1.0
        for row, (move, recorded) in enumerate(moves.items()):
            axis = AXES[move]
            action[row, axis] = (recorded.asked[tick + 1] - recorded.asked[tick]) / scale[axis]
        env.step(action)
        travelled.append(np.concatenate([task.tcp.position.numpy(), task.tcp.quaternion.numpy()], 1))
    env.close()
    poses = np.stack(travelled, 1)
    start = np.array([*spec.start_position_m, *spec.start_quaternion])
    return {
        move: np.concatenate([[0.0], _coordinate(poses[row], move) - _coordinate(start[None], move)[0]])
        for row, move in enumerate(moves)
    }
