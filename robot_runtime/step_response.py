"""What the arm does when told to move and hold: data to fit the simulated controller to.

`python -m robot_runtime.step_response --cell mock --out FILE.npz`, the bridge being up. Per move (`x`, `z`, `yaw`) it
records, in robot time from the first setpoint on: `<move>_t` s, `<move>_setpoint` the executed setpoints as the
bridge holds them, `<move>_reference` what the impedance controller was given, `<move>_measured` (each (N, 7):
position m, quaternion wxyz, base frame), and `<move>_sent` (M, 8): time of each setpoint, then its pose.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro

from contract.messages import RobotState, Setpoint
from contract.poses import Pose, quat_from_axis_angle, quat_multiply
from contract.tasks import LIFT_CUBE
from robot_runtime.bridge_client import BridgeClient
from robot_runtime.cell import load_cell
from robot_runtime.wire import BridgeStatus

MOVES = {
    "x": np.array([0.012, 0.0, 0.0, 0.0, 0.0, 0.0]),
    "z": np.array([0.0, 0.0, -0.012, 0.0, 0.0, 0.0]),
    "yaw": np.array([0.0, 0.0, 0.0, 0.0, 0.0, 0.06]),
}
"""Per setpoint: metres, then radians, base frame; the full scale of lift_cube."""
MOVING_TICKS = 5
HOLDING_TICKS = 20
SETTLE_S = 0.3


class StepRecorder:
    """Listens to a bridge and keeps every published state; pass `listen` as the client's `on_state`."""

    def __init__(self) -> None:
        self._rows: list[np.ndarray] = []

    def listen(self, state: RobotState, status: BridgeStatus) -> None:
        """Keep one state."""
        poses = (status.command_base_tcp, status.reference_base_tcp, state.pose_base_tcp)
        self._rows.append(
            np.concatenate([[state.stamp], *(part for p in poses for part in (p.position, p.quaternion))])
        )

    def between(self, start: float, end: float) -> np.ndarray:
        """Rows (time, setpoint 7, reference 7, measured 7) between two robot times. Shape: (N, 22)"""
        rows = np.array(self._rows)
        return rows[(rows[:, 0] >= start) & (rows[:, 0] <= end)]


def record(client: BridgeClient, recorder: StepRecorder, step: np.ndarray, start: Setpoint) -> tuple[dict, Setpoint]:
    """Five full steps and a second of holding, at the contract's rate; returns the arrays and the last setpoint."""
    period = LIFT_CUBE.period_s
    state = client.latest()
    begin = tick = state.stamp + SETTLE_S
    setpoint, sent = start, []
    for k in range(MOVING_TICKS + HOLDING_TICKS):
        state = client.wait_until(tick)
        moving = k < MOVING_TICKS
        pose = setpoint.pose_base_tcp
        if moving:
            turned = quat_multiply(quat_from_axis_angle(step[3:]), pose.quaternion)
            pose = Pose(pose.position + step[:3], turned)
        setpoint = Setpoint(state.stamp + period, setpoint.sequence + 1, pose, np.zeros(6))
        executed = client.send(setpoint)
        client.check()
        sent.append(np.concatenate([[executed.stamp - begin], pose.position, pose.quaternion]))
        tick += period
    rows = recorder.between(begin - period, client.wait_until(tick).stamp)
    return {
        "t": rows[:, 0] - begin,
        "setpoint": rows[:, 1:8],
        "reference": rows[:, 8:15],
        "measured": rows[:, 15:22],
        "sent": np.array(sent),
    }, setpoint


def record_all(cell_name: str) -> dict[str, np.ndarray]:
    """Drive to the start pose and record every move there."""
    recorder = StepRecorder()
    arrays: dict[str, np.ndarray] = {}
    with BridgeClient(load_cell(cell_name), on_state=recorder.listen) as client:
        client.connect(LIFT_CUBE.contract_hash(), LIFT_CUBE.period_s)
        for name, step in MOVES.items():
            client.move_home(LIFT_CUBE.start_q_rad)
            client.arm()
            start = Setpoint(client.latest().stamp, 0, client.status().command_base_tcp, np.zeros(6))
            response, _ = record(client, recorder, step, start)
            client.stop()
            arrays |= {f"{name}_{key}": value for key, value in response.items()}
    return arrays


@dataclass(frozen=True)
class Arguments:
    """Record the step responses of a cell whose bridge is up."""

    out: Path
    """The .npz file to write."""
    cell: str = "mock"
    """Name of a cell, or a cell file."""


def main() -> None:
    """Record and write."""
    arguments = tyro.cli(Arguments)
    np.savez(arguments.out, allow_pickle=False, **record_all(arguments.cell))


if __name__ == "__main__":
    main()
