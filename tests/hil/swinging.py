"""`python -m tests.hil.swinging CELL_FILE`: a policy's process that swings the arm until it is killed.

Prints the robot time of each setpoint the bridge has taken.
"""

from __future__ import annotations

import sys

from contract.messages import Setpoint
from contract.tasks import LIFT_CUBE
from robot_runtime.bridge_client import BridgeClient
from robot_runtime.cell import load_cell
from robot_runtime.motions import swing
from tests.hil.stage import lease


def main() -> None:
    """Home, arm, and go on for ever."""
    with BridgeClient(load_cell(sys.argv[1]), name="the policy") as client:
        lease(client)
        client.recover(by_person=True)
        client.move_home(LIFT_CUBE.start_q_rad)
        client.arm()

        def tell(k: int, setpoint: Setpoint) -> Setpoint:
            print(setpoint.stamp - LIFT_CUBE.period_s, flush=True)
            return setpoint

        swing(client, 1e6, tell)


if __name__ == "__main__":
    main()
