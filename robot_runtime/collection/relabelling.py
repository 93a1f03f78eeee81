"""Human states with RL actions (RLDG, section V-A and Fig. 9): what the expert would have done where a person acted."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from contract.action import ACTION_SIZE, command_pose, gripper_closed
from contract.observation import PolicyInput, observe
from contract.poses import Pose, cosine
from contract.task_spec import TaskSpec
from robot_runtime.collection import actions
from robot_runtime.collection.episode import Episode
from robot_runtime.collection.folders import DatasetError
from robot_runtime.policy import Actor

_STILL_M = 1e-4
"""A step shorter than this has no direction."""


def check_fits(spec: TaskSpec, task: str, contract_hash: str) -> None:
    """Raises DatasetError where states of that task and contract cannot be shown to a policy of `spec`."""
    if task != spec.name or contract_hash != spec.contract_hash():
        raise DatasetError(
            f"The episodes are of task '{task}' and contract {contract_hash[:12]}, this code and its policy of"
            f" '{spec.name}' and {spec.contract_hash()[:12]}: relabel with the code that they were recorded with."
        )
    if spec.has_goal or spec.has_second:
        raise DatasetError(f"Episodes do not hold the goal or second object that a policy of '{spec.name}' looks at.")


def relabelled(episode: Episode, spec: TaskSpec, actor: Actor, policy: str) -> Episode:
    """The episode with the actor's actions as asked and executed; the person's stay as demonstrated_base, _wrist.

    A step of the dataset covers two ticks of a 20 Hz policy: the action chosen at its beginning is taken to be chosen
    in each of them, through the contract's bounds, from the recorded command and with the tool where it was measured.
    """
    steps = episode.steps
    ticks = round(spec.rate_hz / episode.about.rate_hz)
    base = np.stack([_action(spec, actor, steps, k, ticks) for k in range(len(episode))])
    starts = [actions.pose_of(row) for row in steps["command_base_tcp"]]
    wrist = np.stack([actions.in_wrist(row, start) for row, start in zip(base, starts, strict=True)])
    kept = {f"demonstrated_{frame}": steps[f"executed_{frame}"] for frame in ("base", "wrist")}
    new = {f"{kind}_base": base for kind in ("asked", "executed")}
    new |= {f"{kind}_wrist": wrist for kind in ("asked", "executed")}
    notes = episode.about.notes | {"relabelled_by": policy}
    about = replace(episode.about, policy=f"states of {episode.about.policy}, actions of {policy}", notes=notes)
    return replace(episode, about=about, steps=steps | kept | new)


def agreement(steps: dict[str, np.ndarray]) -> float:
    """Mean cosine between the actor's translation and the person's, over steps in which both move."""
    ours, theirs = steps["executed_base"][:, :3], steps["demonstrated_base"][:, :3]
    both = (np.linalg.norm(ours, axis=1) > _STILL_M) & (np.linalg.norm(theirs, axis=1) > _STILL_M)
    return float(cosine(ours[both], theirs[both], eps=1e-12).mean()) if both.any() else 0.0


def observation(spec: TaskSpec, steps: dict[str, np.ndarray], k: int, ticks: int) -> np.ndarray:
    """What a policy would have been shown at step k. Shape: (observation_size,)"""
    known = PolicyInput(
        pose_base_tcp=actions.pose_of(steps["pose_base_tcp"][k]),
        command_base_tcp=actions.pose_of(steps["command_base_tcp"][k]),
        gripper_width=steps["gripper_width"][k],
        gripper_closed=steps["gripper_closed"][k],
        pose_base_object=actions.pose_of(steps["pose_base_object"][k]),
        object_age=steps["object_age"][k],
        object_sigma=steps["object_sigma"][k],
        object_held=steps["object_held"][k],
        previous_action=_previous(spec, steps, k, ticks),
    )
    shown: np.ndarray = observe(spec, known)
    return shown


def _previous(spec: TaskSpec, steps: dict[str, np.ndarray], k: int, ticks: int) -> np.ndarray:
    """The normalised action that asks in each tick for an equal share of what step k - 1 asked for. Shape: (7,)"""
    if k == 0:
        return np.zeros(ACTION_SIZE)
    asked, turns = steps["asked_base"][k - 1], np.asarray(spec.rotation_scale_rad)
    free = turns > 0.0
    turn = np.where(free, asked[3:6] / ticks / np.where(free, turns, 1.0), 0.0)
    move = asked[:3] / ticks / spec.translation_scale_m
    return np.clip(np.concatenate([move, turn, [2.0 * asked[6] - 1.0]]), -1.0, 1.0)


def _action(spec: TaskSpec, actor: Actor, steps: dict[str, np.ndarray], k: int, ticks: int) -> np.ndarray:
    """What the actor would have moved in step k, base frame. Shape: (7,)"""
    action = np.clip(np.asarray(actor.act(observation(spec, steps, k, ticks)), float), -1.0, 1.0)
    start, measured = actions.pose_of(steps["command_base_tcp"][k]), actions.pose_of(steps["pose_base_tcp"][k])
    command: Pose = start
    for _ in range(ticks):
        command = command_pose(spec, action, command, measured)
    closed = bool(gripper_closed(spec, action, np.bool_(steps["gripper_closed"][k] > 0.5)))
    return actions.in_base(start, command, closed)
