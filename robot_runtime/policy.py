"""A policy at the robot: states in, commanded pose and gripper out. Everything between is the contract's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from contract.action import ACTION_SIZE, command_pose, gripper_closed
from contract.messages import ObjectState, RobotState, Setpoint
from contract.object_motion import position_sigma
from contract.observation import PolicyInput, observe
from contract.poses import Pose
from contract.task_spec import TaskSpec


class Actor(Protocol):
    """What chooses actions, e.g. `contract.artifact.Policy`. One that a person may overrule says so in `human`."""

    def act(self, observation: np.ndarray) -> np.ndarray:
        """Normalised action. Shape: (observation_size,) -> (7,)"""


@dataclass(frozen=True)
class Decision:
    """What the policy wants at one tick. action: (7,). observation: (observation_size,). human: a person decided it."""

    setpoint: Setpoint
    closed: bool
    action: np.ndarray
    observation: np.ndarray
    human: bool = False


class PolicyRunner:
    """Carries what the policy sees of its own past: previous action, commanded pose, what the gripper was told."""

    def __init__(self, spec: TaskSpec, actor: Actor) -> None:
        self.spec = spec
        self._actor = actor
        self._sequence = 0

    def start(self, state: RobotState) -> None:
        """Begin an episode where the arm is, gripper open, as every training episode begins."""
        self._previous_action = np.zeros(ACTION_SIZE)
        self._command = state.pose_base_tcp
        self._closed = False

    def decide(self, state: RobotState, seen: ObjectState) -> Decision:
        """One tick: observe, act, and say what that means. Call `executed` with what became of it."""
        observation = self.observation(state, seen)
        action = np.clip(np.asarray(self._actor.act(observation), float), -1.0, 1.0)
        pose = command_pose(self.spec, action, self._command, state.pose_base_tcp)
        self._closed = bool(gripper_closed(self.spec, action, np.bool_(self._closed)))
        self._previous_action = action
        human = bool(getattr(self._actor, "human", False))
        return Decision(self._setpoint(state, pose), self._closed, action, observation, human)

    def observation(self, state: RobotState, seen: ObjectState) -> np.ndarray:
        """What the policy is shown. Shape: (observation_size,)"""
        known = PolicyInput(
            pose_base_tcp=state.pose_base_tcp,
            command_base_tcp=self._command,
            gripper_width=np.float64(state.gripper_width),
            gripper_closed=np.float64(self._closed),
            pose_base_object=seen.pose_base_object,
            object_age=np.float64(max(0.0, state.stamp - seen.stamp)),
            object_sigma=np.float64(position_sigma(seen.covariance)),
            object_held=np.float64(seen.held),
            previous_action=self._previous_action,
        )
        observation: np.ndarray = observe(self.spec, known)
        return observation

    def executed(self, pose_base_tcp: Pose) -> None:
        """The pose that is commanded in truth: the next delta starts there."""
        self._command = pose_base_tcp

    def _setpoint(self, state: RobotState, pose: Pose) -> Setpoint:
        """The pose to be reached when the next tick is due; nobody knows how it goes on, so at rest there."""
        self._sequence += 1
        return Setpoint(state.stamp + self.spec.period_s, self._sequence, pose, np.zeros(6))
