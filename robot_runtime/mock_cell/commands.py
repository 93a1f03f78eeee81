"""FCI commands that franky-sim acknowledges without effect, with the effect the real controller gives them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from franky_sim.franka_robot_protocol import (
    AutomaticErrorRecoveryCommand,
    AutomaticErrorRecoveryStatus,
    MoveCommand,
    MoveStatus,
    RobotCommand,
    SetCollisionBehaviorCommand,
)

from robot_runtime.mock_cell.reflexes import CollisionThresholds

if TYPE_CHECKING:
    from robot_runtime.mock_cell.fci import CellRobotServer


class CellMove(MoveCommand):
    """Starts a motion, unless a reflex or the user stop forbids it."""

    def handle(self, server: CellRobotServer) -> None:
        """Rejected as libfranka's "command not possible in the current mode"."""
        if server.refuses_motion:
            self.reply(MoveStatus.kCommandNotPossibleRejected)
        else:
            super().handle(server)


class CellSetCollisionBehavior(SetCollisionBehaviorCommand):
    """Stores the thresholds of the nominal phase."""

    def handle(self, server: CellRobotServer) -> None:
        """Holds from the next tick on."""
        server.reflexes.thresholds = CollisionThresholds(
            joint_lower=np.array(self.lower_torque_thresholds_nominal),
            joint_upper=np.array(self.upper_torque_thresholds_nominal),
            tool_lower=np.array(self.lower_force_thresholds_nominal),
            tool_upper=np.array(self.upper_force_thresholds_nominal),
        )
        self.reply(0)


class CellErrorRecovery(AutomaticErrorRecoveryCommand):
    """Clears a reflex at once; impossible while the user stop is pressed."""

    def handle(self, server: CellRobotServer) -> None:
        """The real one takes a moment and may move a joint back from its end."""
        if server.user_stopped:
            self.reply(AutomaticErrorRecoveryStatus.kCommandNotPossibleRejected)
            return
        server.reflexes.recover()
        self.reply(AutomaticErrorRecoveryStatus.kSuccess)


COMMANDS = {
    RobotCommand.kMove: CellMove,
    RobotCommand.kSetCollisionBehavior: CellSetCollisionBehavior,
    RobotCommand.kAutomaticErrorRecovery: CellErrorRecovery,
}
