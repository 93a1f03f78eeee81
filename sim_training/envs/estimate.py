"""What the robot would believe about the object: truth made late, biased, noisy and now and then missing."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Self

import torch
from torch import Tensor

from contract.grasp import attach, is_holding, within_reach
from contract.object_motion import wandered_m2
from contract.poses import Pose, quat_from_axis_angle, quat_from_yaw, quat_multiply, yaw_of
from contract.task_spec import Range, TaskSpec


def sample(interval: Range, count: int, device: torch.device) -> Tensor:
    """Uniform samples. Shape: (count,)"""
    return interval.low + (interval.high - interval.low) * torch.rand(count, device=device)


def sample_ticks(interval: Range, count: int, device: torch.device) -> Tensor:
    """Uniform whole numbers from low to high, both included. Shape: (count,) long"""
    return torch.randint(int(interval.low), int(interval.high) + 1, (count,), device=device)


@dataclass
class ObjectEstimate:
    """The estimator's output for N environments, as contract.messages.ObjectState would carry it; make it with `of`.

    Of an object's orientation only the heading is believed; `TiltingEstimate` believes all of it.
    pose: Pose (N, 3), (N, 4), base frame. age: (N,) seconds. held: (N,) bool.
    sigma: believed standard deviation of the position now (N,) m; fresh_sigma: the same at age 0, an episode's own.
    truth_*: the last ticks of truth (T, N, ...), more than the largest latency. grip: T_tcp_object while held.
    The rest: an episode's faults.
    """

    spec: TaskSpec
    pose: Pose
    age: Tensor
    held: Tensor
    sigma: Tensor
    fresh_sigma: Tensor
    truth_position: Tensor
    truth_yaw: Tensor
    grip: Pose
    yaw: Tensor
    noise: Tensor
    yaw_noise: Tensor
    dropout: Tensor
    bias: Tensor
    latency: Tensor

    angles = 1
    """Numbers that an orientation can be wrong by."""

    @classmethod
    def of(cls, spec: TaskSpec, count: int, device: torch.device) -> Self:
        """Nothing seen yet, in `count` environments."""
        scalars = torch.zeros(7, count, device=device)
        ticks = int(spec.randomisation.object_latency_ticks.high) + 2
        vectors = torch.zeros(3, count, 3, device=device)
        quaternions = torch.zeros(2, count, 4, device=device)
        return cls(
            spec=spec,
            pose=Pose(vectors[0], quaternions[0]),
            age=scalars[0],
            held=torch.zeros(count, dtype=torch.bool, device=device),
            sigma=scalars[5],
            fresh_sigma=scalars[6],
            truth_position=torch.zeros(ticks, count, 3, device=device),
            truth_yaw=torch.zeros(ticks, count, device=device),
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
        # No tracker knows its bias: what it reports follows what it sees change.
        self.fresh_sigma[rows] = self.noise[rows] * sample(ranges.object_sigma_share, count, device)
        self.held[rows] = False
        self.age[rows] = self.latency[rows] * self.spec.period_s
        self.sigma = self.sigma.clone()
        self.sigma[rows] = self._aged_sigma()[rows]
        position = self.pose.position.clone()
        position[rows] = pose_base_object.position + self.bias[rows]
        self.yaw[rows] = yaw
        self.pose = Pose(position, quat_from_yaw(self.yaw))

    def update(self, truth: Pose, pose_base_tcp: Pose, gripper_width: Tensor, closed: Tensor, moved: Tensor) -> None:
        """One tick for the environments in `moved` (N,) bool. Poses (N, ...), base frame."""
        self.truth_position = torch.where(
            moved[None, :, None], torch.cat([self.truth_position[1:], truth.position[None]]), self.truth_position
        )
        self._remember(truth.quaternion, moved)
        holding = is_holding(self.spec, gripper_width, closed)
        holding &= self.held | within_reach(pose_base_tcp, self.pose)
        self._attach(pose_base_tcp, holding & ~self.held & moved)
        self.held = torch.where(moved, holding, self.held)
        position = self._look(moved)
        carried = pose_base_tcp @ self.grip
        position = torch.where(self.held[:, None], carried.position, position)
        self.age = torch.where(self.held, torch.zeros_like(self.age), self.age)
        self.sigma = torch.where(self.held | ~moved, self.sigma, self._aged_sigma())
        self.pose = Pose(position, self._orientation(carried.quaternion))

    def _aged_sigma(self) -> Tensor:
        """What the tracker reports of an object that it last saw at rest; while held it stays what it was. (N,)"""
        return (self.fresh_sigma**2 + wandered_m2(self.age)).sqrt()

    def _remember(self, quaternion: Tensor, moved: Tensor) -> None:
        """Append one tick of true orientation. Shapes: (N, 4), (N,) bool"""
        yaw = yaw_of(quaternion)
        self.truth_yaw = torch.where(moved[None], torch.cat([self.truth_yaw[1:], yaw[None]]), self.truth_yaw)

    def _read(self, index: Tensor, seen: Tensor, error: Tensor) -> None:
        """Measure the orientation of `index` ticks into the memory. Shapes: (N,), (N,) bool, (N, angles) rad"""
        yaw = self.truth_yaw[index, torch.arange(len(index), device=index.device)] + error[:, 0]
        self.yaw = torch.where(seen, yaw, self.yaw)

    def _orientation(self, carried: Tensor) -> Tensor:
        """What is believed: what was measured, or what the tool carries. Shape: (N, 4)"""
        self.yaw = torch.where(self.held, yaw_of(carried), self.yaw)
        return quat_from_yaw(self.yaw)

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
        index = len(self.truth_yaw) - 1 - self.latency
        seen = moved & (torch.rand(count, device=device) >= self.dropout)
        noise = torch.randn(count, 3 + self.angles, device=device)
        position = self.truth_position[index, rows] + self.bias + noise[:, :3] * self.noise[:, None]
        self._read(index, seen, noise[:, 3:] * self.yaw_noise[:, None])
        fresh = self.latency * self.spec.period_s
        self.age = torch.where(seen, fresh, torch.where(moved, self.age + self.spec.period_s, self.age))
        return torch.where(seen[:, None], position, self.pose.position)


@dataclass
class TiltingEstimate(ObjectEstimate):
    """The same for an object that may leave the upright; its orientation is wrong by a small rotation."""

    truth_quaternion: Tensor = field(default_factory=lambda: torch.zeros(0))
    quaternion: Tensor = field(default_factory=lambda: torch.zeros(0))

    angles = 3

    @classmethod
    def of(cls, spec: TaskSpec, count: int, device: torch.device) -> Self:
        """Nothing seen yet, in `count` environments."""
        estimate = super().of(spec, count, device)
        estimate.truth_quaternion = torch.zeros(len(estimate.truth_yaw), count, 4, device=device)
        estimate.quaternion = torch.zeros(count, 4, device=device)
        return estimate

    def reset(self, rows: Tensor, pose_base_object: Pose) -> None:
        """Begin an episode in which the object has been watched at rest. rows: (b,) indices; pose: of those rows."""
        super().reset(rows, pose_base_object)
        self.truth_quaternion[:, rows] = pose_base_object.quaternion
        self.quaternion[rows] = pose_base_object.quaternion
        self.pose = Pose(self.pose.position, self.quaternion.clone())

    def _remember(self, quaternion: Tensor, moved: Tensor) -> None:
        later = torch.cat([self.truth_quaternion[1:], quaternion[None]])
        self.truth_quaternion = torch.where(moved[None, :, None], later, self.truth_quaternion)

    def _read(self, index: Tensor, seen: Tensor, error: Tensor) -> None:
        truth = self.truth_quaternion[index, torch.arange(len(index), device=index.device)]
        measured = quat_multiply(quat_from_axis_angle(error), truth)
        self.quaternion = torch.where(seen[:, None], measured, self.quaternion)

    def _orientation(self, carried: Tensor) -> Tensor:
        self.quaternion = torch.where(self.held[:, None], carried, self.quaternion)
        return self.quaternion
