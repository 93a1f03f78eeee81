"""The mock cell's robot and camera as any program would use them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import franky
import msgpack
import numpy as np
import zmq

DEADLINE_S = 30.0
"""Wall time after which a test gives up; everything else is robot time."""


class FciArm:
    """An arm held by franky's impedance tracker, or by itself."""

    def __init__(self, address: str, torque_nm: float = 40.0, force_n: float = 40.0) -> None:
        self.robot = franky.Robot(address, realtime_config=franky.RealtimeConfig.Ignore)
        self.robot.recover_from_errors()
        self.robot.set_collision_behavior(torque_nm, force_n)

    @property
    def now_s(self) -> float:
        return float(self.robot.state.time.to_sec())

    @property
    def mode(self) -> str:
        return str(self.robot.state.robot_mode.name)

    @property
    def force(self) -> np.ndarray:
        return np.array(self.robot.state.O_F_ext_hat_K)

    def hold(self) -> None:
        """Starts the impedance controller where the arm is."""
        motion = franky.CartesianImpedanceTrackingMotion(translational_stiffness=1200.0, rotational_stiffness=50.0)
        motion.set_reference(franky.CartesianReference(target=self.robot.current_pose.end_effector_pose))
        self.robot.move(motion, asynchronous=True)
        self.until(lambda: self.mode == "Move" and self.robot.state.control_command_success_rate > 0.0)

    def release(self) -> None:
        """Ends whatever controls the arm and clears its errors."""
        if self.robot.is_in_control:
            self.robot.move(franky.TorqueStopMotion(), asynchronous=False)
        self.robot.recover_from_errors()
        self.until(lambda: not self.robot.has_errors)

    def disconnect(self) -> None:
        """Makes room for the next client, whoever still holds on to this one."""
        del self.robot

    def until(self, happened: Callable[[], bool]) -> float:
        """Waits for it; returns the robot time at which it was seen."""
        deadline = time.monotonic() + DEADLINE_S
        while not happened():
            assert time.monotonic() < deadline, "it did not happen"
        return self.now_s

    def wait(self, seconds: float) -> None:
        """Robot time."""
        end = self.now_s + seconds
        self.until(lambda: self.now_s >= end)

    def ended_with(self) -> str:
        """What franky raises for the motion that just ended."""
        try:
            self.robot.join_motion(timeout=5.0)
        except franky.ControlException as error:
            return str(error)
        return ""

    def errors(self) -> set[str]:
        """Names of the errors that hold."""
        current = self.robot.state.current_errors
        return {name for name in dir(current) if not name.startswith("_") and getattr(current, name) is True}


class Frames:
    """Pulls the frame stream, keeping headers and the last picture."""

    def __init__(self, endpoint: str) -> None:
        self.headers: list[dict[str, Any]] = []
        self.rgb, self.depth = b"", b""
        self._endpoint, self._done = endpoint, threading.Event()
        self._thread = threading.Thread(target=self._pull)
        self._thread.start()

    def _pull(self) -> None:
        with zmq.Context() as context, context.socket(zmq.PULL) as stream:
            stream.rcvhwm = 1
            stream.connect(self._endpoint)
            while not self._done.is_set():
                if stream.poll(100):
                    header, self.rgb, self.depth = stream.recv_multipart()
                    self.headers.append(msgpack.unpackb(header))

    def close(self) -> None:
        self._done.set()
        self._thread.join()
