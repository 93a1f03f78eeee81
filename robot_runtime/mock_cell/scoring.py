"""Ground truth of the mock cell, for scoring. Launch programs and tests only: the runtime never imports it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgpack
import numpy as np
import zmq

from contract.poses import Pose


class ScoringUnreachable(RuntimeError):
    """The mock cell's scoring channel does not answer; check that the mock cell runs and its address."""


@dataclass(frozen=True)
class Truth:
    """Where the cube really is, how it and the hand move, and whether the task is done. Stamps in robot time, seconds.

    success_stamp: when the cube had been high and still for as long as the task asks; None until then.
    reflex_stamp: when the arm last stopped itself; None if it never did.
    """

    stamp: float
    pose_base_object: Pose
    speed_m_s: float
    hand_speed_m_s: float
    height_above_rest_m: float
    reset_stamp: float
    success_stamp: float | None
    reflex_stamp: float | None

    @property
    def success(self) -> bool:
        """Whether the task has been done since the last reset."""
        return self.success_stamp is not None


class ScoringClient:
    """Asks the physics process between two of its steps. Raises ScoringUnreachable."""

    def __init__(self, endpoint: str, timeout_s: float = 10.0) -> None:
        self._endpoint, self._timeout_s = endpoint, timeout_s
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket = self._connect()

    def __enter__(self) -> ScoringClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def reset(self, seed: int, vary_dynamics: bool = False) -> Truth:
        """Puts the cube at the pose of that seed, at rest; `vary_dynamics` also draws its mass and friction."""
        return self._ask({"op": "reset", "seed": seed, "vary_dynamics": vary_dynamics})

    def begin(self) -> Truth:
        """A trial begins with the cube where it is."""
        return self._ask({"op": "begin"})

    def truth(self) -> Truth:
        """Now."""
        return self._ask({"op": "truth"})

    def disturb(self, name: str, **values: Any) -> float:
        """Lets something go wrong (`disturbances.Disturbances`); returns the robot time from which it acts, seconds."""
        return float(self._exchange({"op": "disturb", "name": name, "values": values})["stamp"])

    def calm(self) -> float:
        """Ends all disturbances; returns the robot time from which they are over, seconds."""
        return self.disturb("calm")

    def close(self) -> None:
        """Ends the connection."""
        self._socket.close()
        self._context.term()

    def _connect(self) -> zmq.Socket[bytes]:
        socket = self._context.socket(zmq.REQ)
        socket.linger = 0
        socket.connect(self._endpoint)
        return socket

    def _ask(self, request: dict[str, Any]) -> Truth:
        answer = self._exchange(request)
        pose = Pose(np.array(answer.pop("position")), np.array(answer.pop("quaternion")))
        return Truth(pose_base_object=pose, **answer)

    def _exchange(self, request: dict[str, Any]) -> dict[str, Any]:
        self._socket.send(msgpack.packb(request))
        if not self._socket.poll(int(self._timeout_s * 1000)):
            # A REQ socket that got no answer cannot ask again.
            self._socket.close()
            self._socket = self._connect()
            raise ScoringUnreachable(f"{self._endpoint}: {ScoringUnreachable.__doc__}")
        answer: dict[str, Any] = msgpack.unpackb(self._socket.recv())
        if "error" in answer:
            raise ValueError(answer["error"])
        return answer
