"""The mock cell's physics process: FR3, hand and cube behind the Franka protocol, and the scoring channel."""

from __future__ import annotations

import argparse
import gc
import time
from typing import Any

import msgpack
import zmq
from franky_sim.mujoco_simulator import MujocoSimulator

from contract.tasks import LIFT_CUBE
from robot_runtime.mock_cell import child, scene
from robot_runtime.mock_cell.arm import CellArm
from robot_runtime.mock_cell.clock import TICK_S, RobotClock
from robot_runtime.mock_cell.disturbances import Disturbances
from robot_runtime.mock_cell.external_forces import ExternalForces
from robot_runtime.mock_cell.fci import CellRobotServer
from robot_runtime.mock_cell.referee import Referee
from robot_runtime.mock_cell.snapshots import FrameClock

_SCORING_EVERY_TICKS = 5
_MAX_CATCH_UP_S = 0.02


class ScoringSocket:
    """Answers `truth`, `reset`, `begin` and `disturb` between two physics steps."""

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        endpoint: str,
        server: CellRobotServer,
        referee: Referee,
        disturbances: Disturbances,
    ) -> None:
        self._socket = context.socket(zmq.REP)
        self._socket.linger = 0
        self._socket.bind(endpoint)
        self._server, self._referee, self._disturbances = server, referee, disturbances

    def serve(self, clock: RobotClock) -> None:
        """Answers at most one request; never blocks."""
        if not self._socket.poll(0):
            return
        try:
            request = msgpack.unpackb(self._socket.recv())
            answer = self._answer(request, clock)
        except (ValueError, KeyError, TypeError, msgpack.UnpackException) as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        self._socket.send(msgpack.packb(answer))

    def _answer(self, request: dict[str, Any], clock: RobotClock) -> dict[str, Any]:
        if request["op"] == "disturb":
            self._disturbances.command(request["name"], request["values"])
            return {"stamp": clock.now_s}
        if request["op"] == "reset":
            self._referee.reset(int(request["seed"]), bool(request["vary_dynamics"]), clock.now_s)
        elif request["op"] == "begin":
            self._referee.begin(clock.now_s)
        elif request["op"] != "truth":
            raise ValueError(f"unknown request {request['op']!r}")
        return {**self._referee.truth(clock.now_s), "reflex_stamp": self._server.reflex_stamp}

    def close(self) -> None:
        """Frees the port."""
        self._socket.close()


class RealTimePace:
    """Sleeps so that robot time does not run faster than the wall clock; lets a late loop run free."""

    def __init__(self) -> None:
        self._next = time.monotonic()

    def wait(self) -> None:
        """Until the next tick is due."""
        self._next += TICK_S
        ahead = self._next - time.monotonic()
        if ahead > 0:
            time.sleep(ahead)
        else:
            self._next = max(self._next, time.monotonic() - _MAX_CATCH_UP_S)


def serve(args: argparse.Namespace, stop: child.StopFlag) -> None:
    """Runs until told to stop. Raises OSError or zmq.ZMQError when an address is taken."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    clock = RobotClock()
    with MujocoSimulator() as sim:
        robot = scene.populate(sim)
        scene.strip_visuals(sim)
        robot.__class__ = CellArm  # franky-sim makes its robots itself; ours only adds behaviour, no state of its own.
        server = CellRobotServer(robot, args.address, clock)
        server.init()
        sim.start()
        referee = Referee(LIFT_CUBE, sim.model, sim.data)
        forces = ExternalForces(sim.model, sim.data, robot.arm_dof)
        server.attach(forces)
        frames = FrameClock(context, args.snapshots)
        disturbances = Disturbances(clock, server, forces, referee, frames)
        scoring = ScoringSocket(context, args.scoring, server, referee, disturbances)
        referee.reset(args.seed, False, clock.now_s)
        gc.freeze()  # What lives for ever need not be looked through again.
        pace = RealTimePace()
        child.announce_ready()
        try:
            while not stop.is_set:
                if disturbances.silent:
                    scoring.serve(clock)
                    pace.wait()
                    continue
                server.process_commands()
                disturbances.before_step()
                sim.step()
                clock.tick += 1
                server.look()
                server.send_state()
                referee.watch(clock.now_s)
                if clock.tick % _SCORING_EVERY_TICKS == 0:
                    scoring.serve(clock)
                frames.after_step(clock.now_s, sim.data.qpos)
                pace.wait()
        finally:
            scoring.close()
            frames.close()
            server.cleanup()
            context.term()


def main() -> None:
    """`python -m robot_runtime.mock_cell.server`, started by `cell_process.MockCell`."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("--address", "--scoring", "--snapshots"):
        parser.add_argument(name, required=True)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    child.run(lambda stop: serve(args, stop), (OSError, zmq.ZMQError))


if __name__ == "__main__":
    main()
