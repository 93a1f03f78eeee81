"""The modelled impedance loop against the differential equation it stands for."""

import numpy as np
import torch
from scipy.integrate import solve_ivp

from sim_training.envs.response import SecondOrder, Transition

PERIOD_S = 0.05


def _integrate(w: float, z: float, g: float, waypoints: np.ndarray) -> np.ndarray:
    """Positions at the waypoints' times from x'' = w² (r - x) + 2 z w (g r' - x'), by an ODE solver."""
    state, path = np.array([waypoints[0], 0.0]), []
    for start, end in zip(waypoints, waypoints[1:], strict=False):
        rate = (end - start) / PERIOD_S

        def motion(t: float, s: np.ndarray, start: float = start, rate: float = rate) -> list[float]:
            return [s[1], w * w * (start + rate * t - s[0]) + 2 * z * w * (g * rate - s[1])]

        state = solve_ivp(motion, (0, PERIOD_S), state, rtol=1e-9, atol=1e-12).y[:, -1]
        path.append(state[0])
    return np.array(path)


def test_a_tick_of_the_transition_solves_the_differential_equation() -> None:
    w, z, g = 15.4, 0.65, 0.39
    waypoints = np.concatenate([np.linspace(0, 0.06, 6), np.full(10, 0.06), np.linspace(0.06, 0.0, 4)])
    transition = Transition.of(SecondOrder(w, z, g), PERIOD_S, 1, torch.device("cpu"))
    position, velocity = torch.zeros(1, 3), torch.zeros(1, 3)
    path = []
    for start, end in zip(waypoints, waypoints[1:], strict=False):
        rate = torch.full((1, 3), (end - start) / PERIOD_S)
        offset, velocity = transition.advance(position - start, velocity, rate.float())
        position = end + offset
        path.append(float(position[0, 0]))
    np.testing.assert_allclose(path, _integrate(w, z, g, waypoints), atol=2e-6)


def test_full_feedforward_follows_a_ramp_without_lag() -> None:
    transition = Transition.of(SecondOrder(20.0, 1.0, 1.0), PERIOD_S, 1, torch.device("cpu"))
    rate = torch.full((1, 3), 0.2)
    offset, velocity = torch.zeros(1, 3), rate
    for _ in range(20):
        offset, velocity = transition.advance(offset, velocity, rate)
    assert offset.abs().max() < 1e-7


def test_each_environment_answers_with_its_own_frequency() -> None:
    frequency = torch.tensor([10.0, 40.0])
    transition = Transition.of(SecondOrder(frequency, 1.0, 0.0), PERIOD_S, 2, torch.device("cpu"))
    offset, _ = transition.advance(torch.full((2, 3), -0.01), torch.zeros(2, 3), torch.zeros(2, 3))
    assert offset[1].abs().max() < offset[0].abs().min()
