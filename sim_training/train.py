"""PPO with pluggable guidance, readable from top to bottom. Started by `launch/train_sim.sh`."""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from contract.action import ACTION_SIZE
from sim_training import checkpoint, distributed
from sim_training.envs import make_task
from sim_training.evaluate import Evaluator
from sim_training.export import command_line, export_policy
from sim_training.guidance.algorithms import ALGORITHMS
from sim_training.guidance.losses import Targets
from sim_training.guidance.queries import GuidanceTargets
from sim_training.networks import ActorCritic
from sim_training.settings import USER_ERRORS, Config, read
from sim_training.teachers import make_teacher
from sim_training.teachers.errors import TEACHER_ERRORS
from sim_training.teachers.teacher import Question, Teacher, checked

FAILURES = (*USER_ERRORS, *TEACHER_ERRORS, checkpoint.CannotWrite, checkpoint.CheckpointOfAnotherRun)
"""What a training may end with in one sentence."""


@dataclass
class Progress:
    """Where a run stands; part of every checkpoint, with the ledger of what guidance cost.

    teacher_calls: environments asked about, summed over queries. guided_steps: environment steps that got a target.
    switched_off_at: env_steps when guidance ended for good, or -1. *_s: wall time of this rank;
    teacher_s is part of collect_s.
    """

    iteration: int = 0
    env_steps: int = 0
    best_success: float = -1.0
    eval_success: float = -1.0
    teacher_calls: int = 0
    guided_steps: int = 0
    switched_off_at: int = -1
    wall_s: float = 0.0
    teacher_s: float = 0.0
    collect_s: float = 0.0
    update_s: float = 0.0
    evaluate_s: float = 0.0

    @contextmanager
    def timing(self, phase: str) -> Iterator[None]:
        """Add the time the block takes to `phase`_s."""
        began = time.monotonic()
        yield
        setattr(self, f"{phase}_s", getattr(self, f"{phase}_s") + time.monotonic() - began)


EVALUATION_SEED = 1_000_000
"""Added to the seed: evaluations meet other episodes and other bodies than training."""
LEDGER = ("teacher_calls", "guided_steps", "teacher_s", "collect_s", "update_s", "evaluate_s")


class Rollout:
    """One iteration's experience. Shapes: (T, N, ...)"""

    def __init__(self, length: int, count: int, observation_size: int, action_size: int, device: torch.device):
        self.observation = torch.zeros(length, count, observation_size, device=device)
        self.action = torch.zeros(length, count, action_size, device=device)
        self.log_prob, self.reward, self.value, self.bootstrap = torch.zeros(4, length, count, device=device)
        self.done = torch.zeros(length, count, dtype=torch.bool, device=device)

    def advantages(self, next_value: Tensor, gamma: float, gae_lambda: float) -> Tensor:
        """Generalised advantage estimates; an episode cut by time is continued by the critic. Shape: (T, N)"""
        advantage = torch.zeros_like(self.reward)
        running = torch.zeros_like(next_value)
        for t in reversed(range(len(self.reward))):
            following = torch.where(self.done[t], self.bootstrap[t], next_value)
            delta = self.reward[t] + gamma * following - self.value[t]
            running = delta + gamma * gae_lambda * running * ~self.done[t]
            advantage[t] = running
            next_value = self.value[t]
        return advantage


class Trainer:
    """Everything one rank holds; `train` is the story."""

    def __init__(self, config: Config, teacher: Teacher | None = None):
        """teacher: in place of the one that the settings name."""
        self.config, self.spec = config, config.spec
        self.rank, self.world = distributed.rank_and_world()
        torch.manual_seed(config.seed)
        self.teacher = teacher or make_teacher(config.teacher, self.spec)
        place: dict[str, Any] = {
            "horizon_factor": config.horizon_factor,
            "camera": config.camera,
            "randomise": config.randomise,
        }
        options = {"physics": config.physics, "reward": config.reward, "near_starts": config.near_starts, **place}
        options["body_seed"] = config.seed * 1_000 + self.rank
        if self.teacher.needs_images:
            options["render_mode"] = "rgb_array"
        self.env = make_task(config.task, config.num_envs, **options)
        self.task_env = self.env.unwrapped
        self.device = self.task_env.device
        observation, _ = self.env.reset(
            seed=[config.seed * 10_000 + self.rank * 1_000 + i for i in range(config.num_envs)]
        )
        exploration = [config.log_std] * (ACTION_SIZE - 1) + [config.log_std_gripper]
        self.model = ActorCritic(self.task_env.policy_size, observation.shape[-1], exploration, config.hidden).to(
            self.device
        )
        distributed.broadcast(self.model)
        self.optimiser = torch.optim.Adam(self.model.parameters(), lr=config.learning_rate, eps=1e-5)
        self.algorithm = ALGORITHMS[config.algo]
        self.schedule = self.algorithm.start(config.schedule, config.rollout, self.task_env.best_reward)
        self.progress = Progress()
        place["body_seed"] = EVALUATION_SEED + config.seed * 1_000 + self.rank
        self.evaluator = Evaluator(config.task, place, config.eval_episodes, self.rank, self.world)
        torch.manual_seed(config.seed * 1_000 + self.rank)
        # Episodes begin apart, so that every rollout holds beginnings and ends alike.
        groups = torch.arange(config.num_envs, device=self.device) % 4
        self.task_env._elapsed_steps[:] = (groups * self.spec.horizon // 4).to(self.task_env._elapsed_steps.dtype)
        self.task_env._measured_at[:] = self.task_env._elapsed_steps
        self.observation = observation

    @torch.no_grad()
    def collect(self) -> tuple[Rollout, GuidanceTargets, dict[str, float]]:
        """Run the policy for one rollout, asking the teacher where the plan says so."""
        config = self.config
        done_share = min(1.0, self.progress.env_steps / config.total_steps)
        self.model.log_std[:-1] = config.log_std + (config.log_std_end - config.log_std) * done_share
        rollout = Rollout(config.rollout, config.num_envs, self.observation.shape[-1], ACTION_SIZE, self.device)
        guidance = GuidanceTargets(
            self.spec, config.rollout, config.num_envs, self.schedule.calls, config.increments, self.device
        )
        finished, succeeded = 0.0, 0.0
        for t in range(config.rollout):
            if t in guidance.query_steps:
                with self.progress.timing("teacher"):
                    self._ask(guidance, t)
            distribution = self.model.distribution(self.observation)
            action = distribution.sample()
            rollout.observation[t], rollout.action[t] = self.observation, action
            rollout.log_prob[t] = distribution.log_prob(action).sum(-1)
            rollout.value[t] = self.model.value(self.observation)
            self.observation, reward, _, truncated, info = self.env.step(action)
            # Returns of order one whatever the discount, so that the critic needs no normaliser of its own.
            rollout.reward[t] = reward * (1 - config.discount)
            rollout.done[t] = truncated
            if truncated.any():
                rollout.bootstrap[t] = self.model.value(self.observation)
                guidance.end_episodes(t, truncated)
                finished += float(truncated.sum())
                succeeded += float((truncated & info["success"]).sum())
                rows = truncated.nonzero()[:, 0]
                self.observation, _ = self.env.reset(options={"env_idx": rows})
                self.teacher.begin(rows)
        self.progress.guided_steps += int(distributed.total(guidance.valid.sum().float()))
        self.progress.env_steps += config.rollout * config.num_envs * self.world
        figures = torch.tensor([float(rollout.reward.mean()) / (1 - config.discount), finished, succeeded])
        figures = distributed.total(figures)
        mean_reward = float(figures[0]) / self.world
        was_active = self.schedule.active
        self.schedule.record(mean_reward)
        if was_active and not self.schedule.active:
            self.progress.switched_off_at = self.progress.env_steps
        success = float(figures[2] / figures[1].clamp(min=1))
        return rollout, guidance, {"rollout/reward": mean_reward, "rollout/success": success}

    def _ask(self, guidance: GuidanceTargets, t: int) -> None:
        """Ask the teacher about the environments whose turn it is; its answers are kept, never executed."""
        config, rows = self.config, guidance.rows(1.0 if self.algorithm.every_step else self.config.guided_share)
        question = Question.of(self.task_env, rows, self.teacher.needs_images)
        answers = []
        for _ in range(self.algorithm.samples):
            answer = self.teacher.ask(question, config.teacher_deadline_s)
            answers.append(checked(answer, len(rows), self.teacher.name))
        guidance.add(t, rows, answers)
        self.progress.teacher_calls += len(rows) * len(answers) * self.world

    def update(self, rollout: Rollout, guidance: GuidanceTargets, weight: float) -> dict[str, float]:
        """PPO's epochs over one rollout, with the guidance loss on the actor's mean."""
        config, model = self.config, self.model
        with torch.no_grad():
            advantage = rollout.advantages(model.value(self.observation), config.discount, config.gae_lambda)
        batch = {
            "observation": rollout.observation.flatten(0, 1),
            "action": rollout.action.flatten(0, 1),
            "log_prob": rollout.log_prob.flatten(),
            "advantage": advantage.flatten(),
            "return": (advantage + rollout.value).flatten(),
        }
        targets = guidance.flat()
        size = len(batch["log_prob"])
        group = self.optimiser.param_groups[0]
        losses: dict[str, float] = {"train/learning_rate": group["lr"]}
        for _ in range(config.epochs):
            kl_sum = 0.0
            for rows in torch.randperm(size, device=self.device).tensor_split(config.minibatches):
                losses_now = self._gradient_step({k: v[rows] for k, v in batch.items()}, targets[rows], weight)
                kl_sum += losses_now["train/kl"]
                losses |= losses_now
            kl = float(distributed.total(torch.tensor(kl_sum / config.minibatches))) / self.world
            if kl > config.target_kl:
                break
        group["lr"] = self._next_learning_rate(group["lr"], kl)
        self._update_normaliser(batch["observation"])
        return losses

    def _next_learning_rate(self, rate: float, kl: float) -> float:
        """By how far the policy went (rsl_rl's schedule), by how much of training is over, or as it is."""
        config = self.config
        if config.learning_rate_schedule == "linear":
            return config.learning_rate * max(0.0, 1 - self.progress.env_steps / config.total_steps)
        if config.learning_rate_schedule == "kl" and kl > 2 * config.desired_kl:
            return max(rate / 1.5, 1e-5)
        if config.learning_rate_schedule == "kl" and kl < config.desired_kl / 2:
            return min(rate * 1.5, 5e-3)
        return rate

    def _gradient_step(self, batch: dict[str, Tensor], targets: Targets, weight: float) -> dict[str, float]:
        config, model = self.config, self.model
        distribution = model.distribution(batch["observation"])
        log_prob = distribution.log_prob(batch["action"]).sum(-1)
        log_ratio = log_prob - batch["log_prob"]
        ratio = log_ratio.exp()
        advantage = batch["advantage"]
        advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
        clipped = torch.clip(ratio, 1 - config.clip, 1 + config.clip)
        policy_loss = -torch.minimum(advantage * ratio, advantage * clipped).mean()
        value_loss = 0.5 * (model.value(batch["observation"]) - batch["return"]).square().mean()
        loss = policy_loss + config.value_weight * value_loss
        guidance_loss = torch.zeros((), device=self.device)
        if self.algorithm.loss is not None and weight > 0:
            guidance_loss = self.algorithm.loss(distribution, targets)
            loss = loss + weight * guidance_loss
        self.optimiser.zero_grad()
        loss.backward()
        distributed.average_gradients(model)
        nn.utils.clip_grad_norm_(model.parameters(), config.max_grad_norm)
        self.optimiser.step()
        return {
            "train/policy_loss": policy_loss.item(),
            "train/value_loss": value_loss.item(),
            "train/guidance_loss": guidance_loss.item(),
            "train/kl": ((ratio - 1) - log_ratio).mean().item(),
        }

    @torch.no_grad()
    def _update_normaliser(self, observation: Tensor) -> None:
        mean = distributed.total(observation.mean(0)) / self.world
        square = distributed.total(observation.square().mean(0)) / self.world
        # Statistics freeze once a tenth of training has shaped them: a moving input would undo what was learnt.
        if self.config.normalise and self.progress.env_steps <= 0.1 * self.config.total_steps:
            self.model.normaliser.update(mean, square - mean.square(), len(observation) * self.world)

    def evaluate(self) -> float:
        """Success over `eval_episodes` under stock physics; the best so far becomes the artifact."""
        config, progress = self.config, self.progress
        video = config.folder / "videos" / f"{progress.env_steps:09d}.mp4" if config.video and self.rank == 0 else None
        with torch.random.fork_rng():
            result = self.evaluator.run(self.model, seed=config.seed + EVALUATION_SEED, video=video)
        progress.eval_success = result.success
        if result.success > progress.best_success:
            progress.best_success = result.success
            if self.rank == 0:
                export_policy(config.folder / "policy", self.spec, self.model, result.observations, self.provenance())
        return result.success

    def provenance(self) -> dict[str, Any]:
        """What made this policy, for its artifact."""
        settings = json.loads(json.dumps(asdict(self.config), default=str))
        command = command_line("./launch/train_sim.sh", *sys.argv[1:])
        made_by = {"command": command, "seed": self.config.seed, "world_size": self.world}
        made_by["teacher"] = self.teacher.name if self.algorithm.loss is not None else None
        return made_by | asdict(self.progress) | {"settings": settings}


def train(config: Config, teacher: Teacher | None = None) -> Progress:
    """Train one policy; returns where it ended. Ctrl-C saves and stops.

    teacher: in place of the one that the settings name, for programs that make their own.
    """
    distributed.start()
    trainer = Trainer(config, teacher)
    stop = checkpoint.StopRequest(signal.SIGINT, signal.SIGTERM)
    if config.resume:
        checkpoint.load_newest(trainer)
    progress, started = trainer.progress, time.monotonic() - trainer.progress.wall_s
    log = checkpoint.Log(config.folder) if trainer.rank == 0 else None
    bar = tqdm(total=config.total_steps, initial=progress.env_steps, unit="step", disable=trainer.rank != 0)
    done = progress.eval_success >= config.stop_at
    while not done and progress.env_steps < config.total_steps:
        weight = trainer.schedule.weight
        with progress.timing("collect"):
            rollout, guidance, figures = trainer.collect()
        with progress.timing("update"):
            figures |= trainer.update(rollout, guidance, weight)
        progress.iteration += 1
        progress.wall_s = time.monotonic() - started
        if progress.iteration % config.eval_every == 0 or progress.env_steps >= config.total_steps:
            with progress.timing("evaluate"):
                figures["eval/success"] = trainer.evaluate()
            done = figures["eval/success"] >= config.stop_at
        figures |= {f"ledger/{k}": getattr(progress, k) for k in LEDGER}
        figures["guidance/weight"] = weight
        if log:
            log.write(progress.env_steps, figures)
        bar.update(progress.env_steps - bar.n)
        bar.set_postfix_str(
            f"success {figures['rollout/success']:.2f}, reward {figures['rollout/reward']:.2f}, "
            f"evaluated {progress.eval_success:.3f}"
        )
        stopping = distributed.any_rank(stop.requested)
        if stopping or done or progress.iteration % config.checkpoint_every == 0:
            checkpoint.save(trainer)
        if stopping:
            break
    progress.wall_s = time.monotonic() - started
    bar.close()
    is_over = done or progress.env_steps >= config.total_steps
    if trainer.rank == 0 and config.report and is_over:
        checkpoint.write_report(config.report, progress)
    distributed.finish()
    return progress


if __name__ == "__main__":
    try:
        train(read())
    except FAILURES as error:
        distributed.give_up(str(error))
