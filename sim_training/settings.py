"""The settings of a training run, checked before anything heavy is imported: `python -m sim_training.settings ARGS`."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import tyro

from contract.task_spec import TaskSpec, stretched
from contract.tasks import UnknownTask, task
from sim_training.envs import REWARD_MODES, Camera, UnknownOption
from sim_training.envs.catalogue import catalogue
from sim_training.guidance.schedule import ScheduleConfig, asked_at_a_time
from sim_training.teachers.names import UnknownTeacher, check_name

ALGORITHM_NAMES = ("ppo", "vlajs", "vlajs_rpd", "sparse_rpd", "rpd_mse", "rpd_l1", "rpd_bc", "ppd")
SPARSE_ALGORITHMS = ("vlajs", "vlajs_rpd", "sparse_rpd")
"""Those that ask now and then. Named here too, since what knows them imports torch; a test compares."""
GUIDED_AT_MOST = 0.2
"""Of all steps before the switch-off, for algorithms that ask now and then (VLAJS, section IV)."""


class NoCheckpoint(ValueError):
    """There is nothing to resume from."""

    def __init__(self, folder: Path):
        super().__init__(
            f"No checkpoint in {folder}: start without --resume, or name an earlier run's folder with --out."
        )


class OtherRanks(ValueError):
    """A run goes on with as many ranks as it began."""

    def __init__(self, folder: Path, then: int, now: int | None):
        super().__init__(f"The run in {folder} has {then} ranks, this would be {now}: resume it with RANKS={then}.")


class Impossible(ValueError):
    """Settings that do not go together."""


class FolderInUse(ValueError):
    """The run's folder already holds a run."""

    def __init__(self, folder: Path):
        super().__init__(f"{folder} already holds a run: continue it with --resume, or name another folder with --out.")


@dataclass(frozen=True)
class Config:
    """Settings of one training run; the batch is `world size * num_envs * rollout` steps."""

    task: str = "lift_cube"
    """name of a task card"""
    algo: str = "vlajs"
    """what is added to ppo; vlajs: sparse, transient directional guidance. Or ppo, vlajs_rpd, sparse_rpd, rpd_mse,
    rpd_l1, rpd_bc, ppd"""
    teacher: str = "scripted"
    """scripted (synthetic), or a teacher server's address such as tcp://127.0.0.1:5570"""
    teacher_deadline_s: float = 2.0
    """an answer that takes longer does not guide"""
    guided_share: float = 0.4
    """share of the environments asked about at a time, drawn anew each time; dense algorithms ask about all"""
    reward: str = "dense"
    """dense: every stage is rewarded; simplified: as a person would first write it; sparse: -1, 0 or 1"""
    horizon_factor: Literal[1, 10] = 1
    """10 takes ten times as many, ten times smaller steps"""
    randomise: bool = True
    """vary bodies, delays, noise and starts as the card says, in training and evaluation; off, only places differ"""
    camera: Camera = "normal"
    """where a teacher that looks looks from: the side, further round, or as the cell's cameras do"""
    seed: int = 0
    """of everything random"""
    total_steps: int = 1_500_000
    """environment steps over all ranks"""
    num_envs: int = 128
    """environments in this process"""
    physics: Literal["stock", "fast"] = "fast"
    """solver preset trained under; evaluation is always under stock physics"""
    near_starts: float = 0.4
    """share of training episodes that begin further on in the task (tool above the object, or holding it); evaluation
    has none"""
    rollout: int = 50
    """steps per environment and iteration"""
    epochs: int = 6
    """passes over each batch"""
    minibatches: int = 16
    """gradient steps per pass"""
    learning_rate: float = 1e-3
    """Adam's first"""
    learning_rate_schedule: Literal["kl", "linear", "constant"] = "kl"
    """kl: grows or shrinks by half to keep an iteration's step near `desired_kl`; linear: falls to 0 at the end"""
    desired_kl: float = 0.15
    """step of one iteration, for the kl schedule"""
    normalise: bool = True
    """subtract mean and divide by deviation of what the first tenth of training saw"""
    gamma: float = 0.97
    """discount a tick, a second and a half ahead; longer horizons stretch it"""
    gae_lambda: float = 0.95
    """of generalised advantage estimation"""
    clip: float = 0.2
    """PPO ratio clip"""
    value_weight: float = 1.0
    """of the critic's squared error"""
    max_grad_norm: float = 0.5
    """global norm that gradients are shortened to"""
    target_kl: float = 0.5
    """a larger step ends the iteration's updates"""
    log_std: float = -1.0
    """exploration at the start: logarithm of the standard deviation of a motion in [-1, 1]"""
    log_std_end: float = -2.0
    """the same at the end, reached linearly: what holds still under its own noise is still without it"""
    log_std_gripper: float = -0.5
    """the gripper's, all the time: its threshold hides noise, and letting go at the end has to be found too"""
    hidden: int = 128
    """units in each of two hidden layers"""
    increments: int = 5
    """control steps one teacher answer is divided into and guides (D in VLAJS)"""
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    """when the teacher is asked, and when it is let go"""
    eval_every: int = 10
    """iterations between evaluations"""
    eval_episodes: int = 256
    """episodes an evaluation, randomisation on"""
    stop_at: float = 0.98
    """evaluation success that ends training early; above 1 trains to the end"""
    checkpoint_every: int = 10
    """iterations between checkpoints"""
    out: Path | None = None
    """folder of checkpoints, TensorBoard events, videos and the artifact; runs/TASK-ALGO-seedN if not given"""
    resume: bool = False
    """continue exactly from the newest checkpoint in `out`"""
    video: bool = True
    """record one episode at each evaluation"""
    report: Path | None = None
    """JSON file for the key figures, written when the run is over"""

    @property
    def folder(self) -> Path:
        """Where this run leaves everything."""
        return self.out or Path("runs") / f"{self.task}-{self.algo}-seed{self.seed}"

    @property
    def spec(self) -> TaskSpec:
        """The task card, with its horizon stretched if asked. Raises UnknownTask."""
        card = task(self.task)
        return stretched(card, self.horizon_factor) if self.horizon_factor > 1 else card

    @property
    def discount(self) -> float:
        """`gamma` at the same distance in seconds whatever the horizon factor."""
        return 1 - (1 - self.gamma) / self.horizon_factor

    def check(self) -> None:
        """Raises UnknownTask, UnknownOption, UnknownTeacher or Impossible where these settings are no run."""
        assert self.spec
        if self.algo not in ALGORITHM_NAMES:
            raise UnknownOption("algorithm", self.algo, ALGORITHM_NAMES)
        if self.reward not in REWARD_MODES:
            raise UnknownOption("reward", self.reward, tuple(REWARD_MODES))
        check_name(self.teacher)
        if self.rollout * self.num_envs < 2 * self.minibatches:
            raise Impossible(
                f"{self.minibatches} minibatches of {self.rollout * self.num_envs} steps have too few each: "
                "fewer --minibatches, or more --num-envs."
            )
        share = self.guided_at_most
        if share > GUIDED_AT_MOST + 1e-9:
            raise Impossible(
                f"{100 * share:.0f} % of the steps would be guided, and VLAJS allows {100 * GUIDED_AT_MOST:.0f} %: "
                "more --num-envs, or fewer --schedule.calls-max, --increments or a smaller --guided-share."
            )

    @property
    def guided_at_most(self) -> float:
        """Share of the steps that an algorithm which asks now and then can guide; 0 for the others."""
        if self.algo not in SPARSE_ALGORITHMS:
            return 0.0
        steps = min(self.rollout, self.schedule.calls_max * self.increments) / self.rollout
        return steps * asked_at_a_time(self.guided_share, self.num_envs) / self.num_envs


def complete_checkpoints(folder: Path) -> dict[int, int]:
    """Newest iteration whose file of every rank is in a run's folder, by the number of ranks that wrote it."""
    names = {path.stem for path in (folder / "checkpoints").glob("*-rank*of*.pt")}
    newest: dict[int, int] = {}
    for name in sorted(names):
        iteration, world = int(name[:6]), int(name.rpartition("of")[2])
        if all(f"{name[:6]}-rank{rank}of{world}" in names for rank in range(world)):
            newest[world] = iteration
    return newest


def _ranks() -> int | None:
    """How many ranks the run will have, as torchrun says, or `train_sim.sh` where this is the only machine."""
    count = os.environ.get("WORLD_SIZE") or ("" if "RENDEZVOUS" in os.environ else os.environ.get("RANKS", "1"))
    return int(count) if count else None


def read() -> Config:
    """The settings from the command line. Raises what `Config.check` does, NoCheckpoint, OtherRanks, FolderInUse."""
    config = tyro.cli(Config, description="Train a policy in ManiSkill and export it as a policy folder.")
    config.check()
    by_ranks = complete_checkpoints(config.folder)
    if config.resume and not by_ranks:
        raise NoCheckpoint(config.folder)
    ranks = _ranks()
    if config.resume and ranks not in (None, *by_ranks):
        raise OtherRanks(config.folder, max(by_ranks, key=by_ranks.__getitem__), ranks)
    if by_ranks and not config.resume:
        raise FolderInUse(config.folder)
    return config


USER_ERRORS = (UnknownTask, UnknownOption, UnknownTeacher, Impossible, NoCheckpoint, OtherRanks, FolderInUse)


def trouble_with_teacher(address: str) -> str | None:
    """Why the teacher served at this address cannot be used, in one sentence; None if it answers."""
    from sim_training.teachers.errors import TEACHER_ERRORS
    from sim_training.teachers.remote import RemoteTeacher

    try:
        RemoteTeacher(address, connect_timeout_s=5.0).close()
    except TEACHER_ERRORS as error:
        return str(error)
    return None


if __name__ == "__main__":
    if "--list" in sys.argv:
        print(catalogue())
        sys.exit()
    try:
        teacher = read().teacher
    except USER_ERRORS as error:
        sys.exit(str(error))
    if "://" in teacher:
        sys.exit(trouble_with_teacher(teacher))
