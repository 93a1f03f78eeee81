"""The arm through franky: the only place, with gripper.py, that knows it. 1 kHz control runs in franky's own thread."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from contract.poses import Pose
from robot_runtime.arm_report import REPORT_S, ArmReport, ReportedLimits, joint_limits
from robot_runtime.cell import Gains, MotionLimits, RobotSettings
from robot_runtime.reference import Reference
from safety.limits import TORQUE_RATE_NM_PER_MS, arm_limits

FLANGE_TO_TCP_M = 0.1034
"""Flange to the Franka Hand's tool centre point, along z (Franka Hand product manual)."""
FLANGE_TO_TCP_RAD = -np.pi / 4
"""The same hand is mounted turned by −45° about z."""
TOOL_OFF_M, TOOL_OFF_RAD = 1e-3, 1e-2
"""How far the arm's tool frame may be from the hand's."""
HOMING_RAD_S = 0.35
"""Joint speed during the drive to a joint pose, at most."""
HOMING_M_S = 0.2
"""Speed of the tool during that drive, at most."""
HOMING_SAMPLES = 50
"""Poses of a drive at which the tool's speed is looked at before it begins."""
HOMING_FRACTION = 0.12
"""Of each joint's acceleration and jerk limit during that drive, and of the tool's limits."""
STOP_DAMPING_NM_S_PER_RAD = (50.0, 50.0, 50.0, 50.0, 30.0, 25.0, 15.0)
"""Of libfranka's joint impedance example. While a stop brakes, nothing else resists whoever pushes the arm: with 36 N,
franky's own damping let the tool go at 1.6 m/s."""
JOINT_LIMIT_MARGIN_RAD = 0.1
MAX_NULL_SPACE_TORQUE_NM = 5.0
RECOVERY_WAIT_S = 2.0
_OWN_STOPS = {"user stop": "user_stop", "communication_constraints_violation": "packets_lost"}
"""What libfranka says when the arm stops itself, and the fault that this is; anything else is a reflex."""


class ArmFault(RuntimeError):
    """The arm or its connection failed. `name` is for programs, the text one sentence for people."""

    def __init__(self, name: str, cause: str) -> None:
        super().__init__(cause)
        self.name = name


@dataclass(frozen=True)
class ArmState:
    """What the arm measured at one instant, in the contract's frames and units (see contract.messages.RobotState).

    jacobian: of the tool, base frame, linear rows first. Shape: (6, 7)
    torque_asked_nm: what the arm was last told, gravity not included. Shape: (7,)
    user_stopped: the user stop is pressed. packets_heard: share of our last 100 control packets that the arm got.
    """

    stamp: float
    q: np.ndarray
    dq: np.ndarray
    pose_base_tcp: Pose
    v_base_tcp: np.ndarray
    wrench_base: np.ndarray
    jacobian: np.ndarray
    torque_asked_nm: np.ndarray
    user_stopped: bool
    packets_heard: float


class Arm:
    """One Franka arm. No call here blocks for longer than a few milliseconds, except `connect` and `recover`."""

    def __init__(self, settings: RobotSettings, gains: Gains, limits: MotionLimits) -> None:
        self._settings = settings
        self._gains = gains
        self._motion_limits = limits
        self._limits = arm_limits(settings.model)
        self._connection: Any = None
        self._model: Any = None
        self._motion: Any = None
        self._stamp_offset_s = 0.0
        self._last_stamp = 0.0

    def connect(self) -> None:
        """Open a connection (a new one after a lost one) and set every limit. Raises ArmFault."""
        import franky

        self._connection = None  # the old connection must be gone before the arm takes a new one
        enforce = self._settings.realtime == "enforce"
        realtime = franky.RealtimeConfig.Enforce if enforce else franky.RealtimeConfig.Ignore
        with self._faults():
            robot = franky.Robot(self._settings.address, realtime_config=realtime)
            self._connection, self._model = robot, robot.model
            self._set_limits()
            self._check_tool()
            stamp = robot.state.time.to_sec()
        # A restarted arm counts from zero again; robot time must not run backwards.
        self._stamp_offset_s = max(0.0, self._last_stamp - stamp) if self._last_stamp > stamp else 0.0

    def read(self) -> ArmState:
        """The newest state. Raises ArmFault when the connection is lost."""
        import franky

        with self._faults():
            state = self._robot.state
            jacobian = self._model.zero_jacobian(franky.Frame.EndEffector, state)
        self._last_stamp = state.time.to_sec() + self._stamp_offset_s
        dq = np.array(state.dq)
        return ArmState(
            stamp=self._last_stamp,
            q=np.array(state.q),
            dq=dq,
            pose_base_tcp=_pose(state.O_T_EE),
            v_base_tcp=jacobian @ dq,
            wrench_base=-np.array(state.O_F_ext_hat_K),  # libfranka's is what the arm applies
            jacobian=np.array(jacobian),
            torque_asked_nm=np.array(state.tau_J_d),
            user_stopped=state.robot_mode == franky.RobotMode.UserStopped,
            packets_heard=state.control_command_success_rate,
        )

    def start_impedance(self, state: ArmState) -> None:
        """Hold the tool where it is with the cell's gains; `set_target` moves it. Raises ArmFault."""
        import franky

        lower, upper = self._limits.q_low, self._limits.q_high
        posture = franky.PostureTask(
            target=state.q, stiffness=self._gains.posture_nm_per_rad, max_torque=MAX_NULL_SPACE_TORQUE_NM
        )
        with self._faults():
            motion = franky.CartesianImpedanceTrackingMotion(
                translational_stiffness=self._gains.translational_n_per_m,
                rotational_stiffness=self._gains.rotational_nm_per_rad,
                posture_task=posture,
                max_delta_tau=TORQUE_RATE_NM_PER_MS,
                lower_joint_limits=lower,
                upper_joint_limits=upper,
                joint_limit_activation_distance=JOINT_LIMIT_MARGIN_RAD,
                friction=franky.FrictionCompensationParams(coulomb=self._gains.friction_nm),
            )
            motion.set_gains(
                franky.CartesianImpedanceGains.isotropic(
                    self._gains.translational_n_per_m,
                    self._gains.rotational_nm_per_rad,
                    2 * float(np.sqrt(self._gains.translational_n_per_m * self._gains.apparent_mass_kg)),
                )
            )
            motion.set_reference(franky.CartesianReference(target=_affine(state.pose_base_tcp)))
            self._robot.move(motion, asynchronous=True)
        self._motion = motion

    def set_target(self, reference: Reference) -> None:
        """Give the running impedance controller its next reference."""
        import franky

        twist, acceleration = reference.twist_base_tcp, reference.acceleration_base_tcp
        with self._faults():
            self._motion.set_reference(
                franky.CartesianReference(
                    target=_affine(reference.pose_base_tcp),
                    target_twist=franky.Twist(twist[:3], twist[3:]),
                    target_acceleration=franky.TwistAcceleration(acceleration[:3], acceleration[3:]),
                )
            )

    def start_joint_motion(self, q: np.ndarray) -> None:
        """Start a slow drive to a joint pose. Raises ArmFault."""
        import franky

        with self._faults():
            share = self._homing_share(q)
            dynamics = franky.RelativeDynamicsFactor(velocity=share, acceleration=1.0, jerk=1.0)
            self._robot.move(franky.JointMotion(q.tolist(), relative_dynamics_factor=dynamics), asynchronous=True)
        self._motion = None

    def _homing_share(self, target: np.ndarray) -> float:
        """Of the joint speed, so that the tool keeps to its own on the way there. franky's joints arrive together."""
        import franky

        state = self._robot.state
        turn = target - state.q
        at_full_speed = HOMING_RAD_S * turn / max(float(np.abs(turn).max()), 1e-9)
        fastest = HOMING_M_S
        for q in np.linspace(state.q, target, HOMING_SAMPLES):
            jacobian = self._model.zero_jacobian(franky.Frame.EndEffector, q, state.F_T_EE, state.EE_T_K)
            fastest = max(fastest, float(np.linalg.norm(jacobian[:3] @ at_full_speed)))
        return HOMING_M_S / fastest

    def start_stop(self) -> None:
        """Begin to bring the arm to rest, whatever moves it; `is_moving` tells when it is done."""
        import franky

        with self._faults():
            if self._robot.is_in_control:
                torque = self._motion is not None
                braking = {"damping": STOP_DAMPING_NM_S_PER_RAD, "max_delta_tau": TORQUE_RATE_NM_PER_MS}
                stop = franky.TorqueStopMotion(**braking) if torque else franky.JointStopMotion()
                self._robot.move(stop, asynchronous=True)

    def is_moving(self) -> bool:
        """Whether a motion is under control. Raises ArmFault with the reason if one ended badly."""
        with self._faults():
            # poll_motion tells whether the motion has finished (franky 2.0; its docstring says the opposite).
            return not self._robot.poll_motion()

    def allows(self, q: np.ndarray) -> bool:
        """Whether a joint pose lies inside the arm's limits. Shape: (7,)"""
        return bool((q > self._limits.q_low).all() and (q < self._limits.q_high).all())

    def recover(self) -> bool:
        """Clear the arm's own errors, reconnecting if the connection was lost; tells whether it was.

        Raises ArmFault if errors remain.
        """
        import franky

        renewed = False
        try:
            self.read()
        except ArmFault:
            self.connect()
            renewed = True
        with suppress(ArmFault):
            self.is_moving()  # how the last motion ended has been told already
        self.start_stop()  # a controller that outlived a silence would go on holding its last target
        with self._faults():
            deadline = time.monotonic() + RECOVERY_WAIT_S
            while self._robot.is_in_control and time.monotonic() < deadline:
                time.sleep(0.01)
            if self._robot.state.robot_mode == franky.RobotMode.UserStopped:
                raise ArmFault("user_stop", "The user stop is still pressed: release it, then `recover`.")
            self._robot.recover_from_errors()
            while self._robot.has_errors:  # recover_from_errors may return before the state is fresh
                if time.monotonic() > deadline:
                    raise ArmFault(
                        "arm_errors_remain", f"The arm still reports errors: {self._robot.state.current_errors}."
                    )
                time.sleep(0.01)
        return renewed

    def report(self) -> ArmReport:
        """What an arm says about itself, over a connection of its own that commands nothing. Raises ArmFault."""
        import franky

        with self._faults():
            robot = franky.Robot(self._settings.address, realtime_config=franky.RealtimeConfig.Ignore)
            forces, end_s = [], time.monotonic() + REPORT_S
            while time.monotonic() < end_s:
                forces.append(np.array(robot.state.O_F_ext_hat_K)[:3])
                time.sleep(0.01)
            state = robot.state
            off_m, off_rad = _off_tool(_pose(state.F_T_NE))
            return ArmReport(
                mode=state.robot_mode.name,
                errors=_line(state.current_errors).strip("[]"),
                tool_off_m=off_m,
                tool_off_rad=off_rad,
                force_base=np.mean(forces, axis=0),
                speed_rad_s=float(np.abs(state.dq).max()),
                limits=self._told_limits(robot),
            )

    @staticmethod
    def _told_limits(robot: Any) -> ReportedLimits | None:
        """The joint limits in the arm's own description, which an FCI 5 does not have."""
        import franky

        try:
            return joint_limits(robot.model_urdf)
        except (AttributeError, RuntimeError, franky.Exception):
            return None

    def close(self) -> None:
        """Give the connection back."""
        self._connection = self._model = self._motion = None

    @property
    def _robot(self) -> Any:
        if self._connection is None:
            raise ArmFault("arm_unreachable", f"There is no connection to the arm at {self._settings.address}.")
        return self._connection

    def _set_limits(self) -> None:
        """Every limit and threshold of the connected arm; franky's defaults are not trusted."""
        robot, limits, motion = self._robot, self._limits, self._motion_limits
        torque, force = [motion.contact_torque_nm] * 7, [motion.contact_force_n] * 6
        robot.set_collision_behavior(torque, force)
        robot.set_load(0.0, [0.0, 0.0, 0.0], [0.0] * 9)
        robot.relative_dynamics_factor = 1.0
        robot.joint_velocity_limit.set(np.minimum(HOMING_RAD_S, limits.dq).tolist())
        robot.joint_acceleration_limit.set((HOMING_FRACTION * limits.ddq).tolist())
        robot.joint_jerk_limit.set((HOMING_FRACTION * limits.dddq).tolist())
        for part, values in (
            ("translation", limits.translation),
            ("rotation", limits.rotation),
            ("elbow", limits.elbow),
        ):
            for order, value in zip(("velocity", "acceleration", "jerk"), values, strict=True):
                getattr(robot, f"{part}_{order}_limit").set(HOMING_FRACTION * value)

    def _check_tool(self) -> None:
        """The tool frame must be the Franka Hand's: everything in the contract means that point."""
        self._robot.set_ee(np.eye(4).flatten(order="F").tolist())
        off_m, off_rad = _off_tool(_pose(self._robot.state.F_T_EE))
        if off_m > TOOL_OFF_M or off_rad > TOOL_OFF_RAD:
            raise ArmFault(
                "wrong_tool",
                f"The arm's tool frame is {1e3 * off_m:.1f} mm and {off_rad:.3f} rad away from the Franka Hand's; "
                "choose the Franka Hand as end effector in Desk.",
            )

    @contextmanager
    def _faults(self) -> Iterator[None]:
        """franky's exceptions as ArmFault."""
        import franky

        try:
            yield
        except ArmFault:
            raise
        except (franky.NetworkException, RuntimeError) as error:  # "Net Exception" comes as a bare RuntimeError
            self._connection = None
            cause = f"The arm at {self._settings.address} does not answer ({_line(error)}); is FCI active in Desk?"
            raise ArmFault("arm_unreachable", cause) from error
        except franky.ControlException as error:
            name = next((fault for words, fault in _OWN_STOPS.items() if words in str(error).lower()), "arm_reflex")
            raise ArmFault(name, f"The arm stopped itself: {_line(error)}.") from error
        except franky.IncompatibleVersionException as error:
            cause = f"The installed franky is built for another arm ({_line(error)}); install the wheel for this one."
            raise ArmFault("arm_version", cause) from error
        except franky.RealtimeException as error:
            cause = f"No real-time kernel ({_line(error)}); use one, or `realtime: ignore` in the cell file."
            raise ArmFault("no_realtime", cause) from error
        except (franky.CommandException, franky.InvalidOperationException, franky.ProtocolException) as error:
            name = "user_stop" if "user stop" in str(error).lower() else "arm_refused"
            raise ArmFault(name, f"The arm refused a command: {_line(error)}.") from error


def _off_tool(tool: Pose) -> tuple[float, float]:
    """Metres and radians between a tool frame and the Franka Hand's, both from the flange."""
    half = FLANGE_TO_TCP_RAD / 2
    expected = Pose(np.array([0.0, 0.0, FLANGE_TO_TCP_M]), np.array([np.cos(half), 0.0, 0.0, np.sin(half)]))
    off_m = float(np.linalg.norm(tool.position - expected.position))
    return off_m, 2 * float(np.arccos(np.clip(abs(tool.quaternion @ expected.quaternion), 0.0, 1.0)))


def _line(error: Any) -> str:
    return " ".join(str(error).split()).rstrip(".")


def _pose(affine: Any) -> Pose:
    """franky's xyzw to the contract's wxyz."""
    x, y, z, w = np.array(affine.quaternion).ravel()
    quaternion = np.array([w, x, y, z])
    return Pose(np.array(affine.translation).ravel(), quaternion / np.linalg.norm(quaternion))


def _affine(pose: Pose) -> Any:
    import franky

    w, x, y, z = pose.quaternion
    return franky.Affine(pose.position, np.array([x, y, z, w]))
