"""What the robot would believe about the object: truth made late, biased, noisy and now and then missing."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from contract.grasp import attach, is_holding, within_reach
from contract.poses import Pose, quat_from_yaw, yaw_of
from contract.tasks import Range, TaskSpec

_HISTORY = 6
"""Ticks of truth remembered: more than the largest latency."""


def sample(interval: Range, count: int, device: torch.device) -> Tensor:
    """Uniform samples. Shape: (count,)"""
    return interval.low + (interval.high - interval.low) * torch.rand(count, device=device)


def sample_ticks(interval: Range, count: int, device: torch.device) -> Tensor:
    """Uniform whole numbers from low to high, both included. Shape: (count,) long"""
    return torch.randint(int(interval.low), int(interval.high) + 1, (count,), device=device)


@dataclass
class ObjectEstimate:
    """The estimator's output for N environments, as contract.messages.ObjectState would carry it; make it with `of`.

    pose: Pose (N, 3), (N, 4), base frame. age: (N,) seconds. held: (N,) bool.
    truth_*: the last ticks of truth (T, N, ...). grip: T_tcp_object while held. The rest: an episode's faults.
    """

    spec: TaskSpec
    pose: Pose
    age: Tensor
    held: Tensor
    truth_position: Tensor
    truth_yaw: Tensor
    grip: Pose
    yaw: Tensor
    noise: Tensor
    yaw_noise: Tensor
    dropout: Tensor
    bias: Tensor
    latency: Tensor

    @staticmethod
    def of(spec: TaskSpec, count: int, device: torch.device) -> ObjectEstimate:
        """Nothing seen yet, in `count` environments."""
        scalars = torch.zeros(6, count, device=device)
        vectors = torch.zeros(3, count, 3, device=device)
        quaternions = torch.zeros(2, count, 4, device=device)
        return ObjectEstimate(
            spec=spec,
            pose=Pose(vectors[0], quaternions[0]),
            age=scalars[0],
            held=torch.zeros(count, dtype=torch.bool, device=device),
            truth_position=torch.zeros(_HISTORY, count, 3, device=device),
            truth_yaw=torch.zeros(_HISTORY, count, device=device),
            grip=Pose(vectors[1], quaternions[1]),
            yaw=scalars[1],
            noise=scalars[2],
            yaw_noise=scalars[3],
            dropout=scalars[4],
            bias=vectors[2],
            latency=torch.ones(count, dtype=torch.long, device=device),
        )

    def reset(self, rows: Tensor, pose_base_object: Pose) -> None:
        """Begin an episode in which the object has been watched at rest. rows: (b,) indices; pose: of those rows."""
        count, ranges, device = len(rows), self.spec.randomisation, self.age.device
        yaw = yaw_of(pose_base_object.quaternion)
        self.truth_position[:, rows], self.truth_yaw[:, rows] = pose_base_object.position, yaw
        self.noise[rows] = sample(ranges.object_noise_m, count, device)
        self.yaw_noise[rows] = sample(ranges.object_yaw_noise_rad, count, device)
        self.dropout[rows] = sample(ranges.object_dropout, count, device)
        self.bias[rows] = torch.stack([sample(ranges.object_bias_m, count, device) for _ in range(3)], -1)
        self.latency[rows] = sample_ticks(ranges.object_latency_ticks, count, device)
        self.held[rows] = False
        self.age[rows] = self.latency[rows] * self.spec.period_s
        position = self.pose.position.clone()
        position[rows] = pose_base_object.position + self.bias[rows]
        self.yaw[rows] = yaw
        self.pose = Pose(position, quat_from_yaw(self.yaw))

    def update(self, truth: Pose, pose_base_tcp: Pose, gripper_width: Tensor, closed: Tensor, moved: Tensor) -> None:
        """One tick for the environments in `moved` (N,) bool. Poses (N, ...), base frame."""
        self.truth_position = torch.where(
            moved[None, :, None], torch.cat([self.truth_position[1:], truth.position[None]]), self.truth_position
        )
        yaw = yaw_of(truth.quaternion)
        self.truth_yaw = torch.where(moved[None], torch.cat([self.truth_yaw[1:], yaw[None]]), self.truth_yaw)
        holding = is_holding(self.spec, gripper_width, closed)
        holding &= self.held | within_reach(pose_base_tcp, self.pose)
        self._attach(pose_base_tcp, holding & ~self.held & moved)
        self.held = torch.where(moved, holding, self.held)
        position = self._look(moved)
        carried = pose_base_tcp @ self.grip
        position = torch.where(self.held[:, None], carried.position, position)
        self.yaw = torch.where(self.held, yaw_of(carried.quaternion), self.yaw)
        self.age = torch.where(self.held, torch.zeros_like(self.age), self.age)
        self.pose = Pose(position, quat_from_yaw(self.yaw))

    def _attach(self, pose_base_tcp: Pose, grasped: Tensor) -> None:
        grip = attach(pose_base_tcp, self.pose)
        self.grip = Pose(
            torch.where(grasped[:, None], grip.position, self.grip.position),
            torch.where(grasped[:, None], grip.quaternion, self.grip.quaternion),
        )

    def _look(self, moved: Tensor) -> Tensor:
        """A new measurement where none was dropped; otherwise the old one, older. Returns positions (N, 3)."""
        count, device = len(self.age), self.age.device
        rows = torch.arange(count, device=device)
        index = _HISTORY - 1 - self.latency
        seen = moved & (torch.rand(count, device=device) >= self.dropout)
        noise = torch.randn(count, 4, device=device)
        position = self.truth_position[index, rows] + self.bias + noise[:, :3] * self.noise[:, None]
        yaw = self.truth_yaw[index, rows] + noise[:, 3] * self.yaw_noise
        self.yaw = torch.where(seen, yaw, self.yaw)
        fresh = self.latency * self.spec.period_s
        self.age = torch.where(seen, fresh, torch.where(moved, self.age + self.spec.period_s, self.age))
        return torch.where(seen[:, None], position, self.pose.position)
