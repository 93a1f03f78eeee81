"""Plain motions through a bridge, setpoint by setpoint: for benchmarks, tests and whoever wants to see the arm move."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from contract.messages import GripperCommand, Setpoint
from contract.poses import Pose, quat_from_axis_angle, quat_multiply
from contract.tasks import LIFT_CUBE
from robot_runtime.bridge_client import BridgeClient, BridgeFaulted
from robot_runtime.wire import Executed

PERIOD_S = LIFT_CUBE.period_s
SWING_M, SWING_S = 0.08, 3.2
STEP_M = 0.011
GRASP_N = 30.0

Way = Callable[[Pose], Pose]
Meddle = Callable[[int, Setpoint], Setpoint | None]


def swing(
    client: BridgeClient, seconds: float, meddle: Meddle = lambda k, setpoint: setpoint, first: int = 1
) -> list[Executed]:
    """Setpoints to and fro along y for that long, until a fault; what became of each.

    meddle: may change the k-th setpoint or send none, and do what it likes meanwhile.
    """
    begun, centre = client.latest().stamp, client.status().command_base_tcp
    answers = []
    for k in range(round(seconds / PERIOD_S)):
        ahead = client.wait_until(begun + k * PERIOD_S).stamp + PERIOD_S
        aside = SWING_M * np.sin(2 * np.pi * (ahead - begun) / SWING_S)
        pose = Pose(centre.position + [0.0, aside, 0.0], centre.quaternion)
        asked = meddle(k, Setpoint(ahead, first + k, pose, np.zeros(6)))
        if asked is not None:
            answers.append(client.send(asked))
        try:
            client.check()
        except BridgeFaulted:
            break
    return answers


def follow(client: BridgeClient, way: Way, ticks: int, first: int = 1) -> list[Executed]:
    """Setpoints each made from what was executed last, until one is refused; what became of each."""
    here, due = client.status().command_base_tcp, client.latest().stamp + PERIOD_S
    answers: list[Executed] = []
    for k in range(ticks):
        now = client.wait_until(due).stamp
        answers.append(client.send(Setpoint(now + PERIOD_S, first + k, way(here), np.zeros(6))))
        if answers[-1].refused is not None:
            break
        here = answers[-1].pose_base_tcp
        due = max(due + PERIOD_S, now + 0.8 * PERIOD_S)  # time that was lost is not made good: the guard minds floods
    return answers


def stay(here: Pose) -> Pose:
    """Where it is."""
    return here


def by(x: float, y: float, z: float) -> Way:
    """So much further each time, metres."""
    return lambda here: Pose(here.position + [x, y, z], here.quaternion)


def towards(position: np.ndarray, quaternion: np.ndarray | None = None, step_m: float = STEP_M) -> Way:
    """A centimetre nearer each time; turned at once, which the guard makes gradual."""

    def way(here: Pose) -> Pose:
        left = position - here.position
        share = min(1.0, step_m / max(1e-9, float(np.linalg.norm(left))))
        return Pose(here.position + share * left, here.quaternion if quaternion is None else quaternion)

    return way


class Mover:
    """Numbers its setpoints on, so that one motion may follow another without arming again."""

    def __init__(self, client: BridgeClient) -> None:
        self.client = client
        self._sent = 0

    def __call__(self, way: Way, ticks: int) -> list[Executed]:
        """As `follow`."""
        answers = follow(self.client, way, ticks, self._sent + 1)
        self._sent += ticks
        return answers

    def lift(self, cube: Pose, height_m: float = 0.06) -> None:
        """Down around a cube on the table, close, and up. The gripper is open."""
        x_axis = cube.matrix()[:3, 0]
        yaw = (np.arctan2(x_axis[1], x_axis[0]) + np.pi / 4) % (np.pi / 2) - np.pi / 4
        down = quat_multiply(quat_from_axis_angle(np.array([0.0, 0.0, yaw])), np.array(LIFT_CUBE.start_quaternion))
        height = self.client.status().command_base_tcp.position[2]
        self(towards(np.array([*cube.position[:2], height]), down), 40)
        self(towards(cube.position, down), 40)
        self.client.gripper(GripperCommand(True, GRASP_N))
        self(stay, 20)
        self(towards(cube.position + [0.0, 0.0, height_m], down), 25)
