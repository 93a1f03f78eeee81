"""Between the simulator and episodes on disk: its tracks become episodes, its cameras stand where a cell's do."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

import _reports
from contract import artifact
from contract.poses import Pose
from contract.task_spec import TaskSpec
from contract.tasks import UnknownTask, task
from robot_runtime.cell import load_cell
from robot_runtime.collection import actions
from robot_runtime.collection import episode as disk
from robot_runtime.collection.episode import About, Episode, encode
from robot_runtime.mock_cell.scene import CAMERA_FOVY_RAD
from sim_training import demonstrators, rollouts
from sim_training.generalist.train import Demonstration
from sim_training.pictures import Painter, View
from sim_training.rollouts import NeverSucceeds, Track, Variant
from sim_training.vulkan import NoVulkanDevice

CELL = "simulation"
SEEDS_PER_VARIANT = 100_000
MOST_SEED = 599
"""Episodes of higher ones might be those that evaluations take."""
SHIPPED = Path(__file__).resolve().parent.parent / "policies"
Source = Literal["rl", "human-like"]
SOURCES: tuple[Source, ...] = ("rl", "human-like")


def views(cell_name: str = "mock_rldg") -> dict[str, View]:
    """The cameras of a cell: the fixed one is `front`, the one on the hand `wrist`. Raises CellError."""
    cell = load_cell(cell_name)
    assert cell.wrist_camera is not None
    front, wrist = cell.camera.T_base_camera_matrix, cell.wrist_camera.T_tcp_camera
    return {
        "front": View(Pose.from_matrix(front), float(CAMERA_FOVY_RAD)),
        "wrist": View(Pose.from_matrix(np.array(wrist, float)), float(CAMERA_FOVY_RAD), on_tool=True),
    }


class Studio:
    """One painter for each variant, made when first needed: it takes seconds."""

    def __init__(self) -> None:
        self._views, self._painters = views(), dict[str, Painter]()

    def painter(self, variant: Variant) -> Painter:
        """Who draws the cell with that object. Raises vulkan.NoVulkanDevice."""
        if variant.name not in self._painters:
            self._painters[variant.name] = Painter(self._views, variant.look)
        return self._painters[variant.name]


EXPLORATION = 0.15
"""Standard deviation of an expert's motions, full scale 1: what training ends with (`log_std_end`)."""


class Expert:
    """A policy's folder, driving the simulator; sampled as in training, as RLDG's experts are, so that its episodes
    also show the way back from where it would not have gone."""

    def __init__(self, policy: artifact.Policy, seed: int) -> None:
        self._policy, self._random = policy, torch.Generator().manual_seed(seed)

    def __call__(self, task_env: Any, observation: Tensor, running: Tensor) -> Tensor:
        """Around its mean actions. Shape: (N, 7)"""
        action = torch.from_numpy(self._policy.act(observation[:, : len(self._policy.mean)].cpu().numpy())).float()
        action[:, :6] += EXPLORATION * torch.randn(len(action), 6, generator=self._random)
        return action.clip(-1.0, 1.0)


def driver(source: Source, spec: TaskSpec, policy: Path | None, seed: int) -> tuple[rollouts.Act, str, float]:
    """What drives, its name for an episode, and how much longer than a policy it may take. Raises ArtifactError."""
    if source == "human-like":
        return demonstrators.HumanLike(spec, seed), demonstrators.NAME, demonstrators.HORIZON_FACTOR
    folder = policy or SHIPPED / spec.name
    loaded = artifact.load(folder, spec)
    made = loaded.card["provenance"]
    name = f"{folder.name}, commit {made.get('commit', 'unknown')}, seed {made.get('seed')}, {loaded.weights_name}"
    return Expert(loaded, seed), name, 1.0


def motions(track: Track) -> np.ndarray:
    """What the tool was commanded to do in each step, base frame, see `actions.in_base`. Shape: (T, 7)"""
    poses = [actions.pose_of(row) for row in (*track.columns["command_base_tcp"], track.end_command)]
    closed = [*track.columns["gripper_closed"][1:], track.end_closed]
    steps = zip(poses[:-1], poses[1:], closed, strict=True)
    return np.stack([actions.in_base(start, end, bool(shut)) for start, end, shut in steps])


def drawn(track: Track, painter: Painter) -> dict[str, np.ndarray]:
    """Pictures of every step. Shape of each: (T, SIDE_PX, SIDE_PX, 3) uint8"""
    steps = [painter.draw(shown) for shown in track.shown]
    return {name: np.stack([step[name] for step in steps]) for name in painter.views}


def demonstration(track: Track, painter: Painter, instruction: str) -> Demonstration:
    """What a generalist learns from."""
    return Demonstration(drawn(track, painter), motions(track), instruction)


def episode(track: Track, painter: Painter, spec: TaskSpec, variant: Variant, source: Source, name: str) -> Episode:
    """As it is kept on disk: nobody filters a command in the simulator, so what was asked was executed."""
    base = motions(track)
    commands = [actions.pose_of(row) for row in track.columns["command_base_tcp"]]
    wrist = np.stack([actions.in_wrist(row, start) for row, start in zip(base, commands, strict=True)])
    steps = track.columns | {"asked_base": base, "asked_wrist": wrist, "executed_base": base, "executed_wrist": wrist}
    steps["human"] = np.full(len(track), float(source == "human-like"))
    images = {camera: [encode(each) for each in pictures] for camera, pictures in drawn(track, painter).items()}
    about = About(
        task=spec.name,
        instruction=spec.instruction,
        variant=variant.name,
        success=track.success,
        success_by="truth",
        contract_hash=spec.contract_hash(),
        calibration="exact, of the simulator",
        policy=name,
        cell=CELL,
        began=datetime.now(UTC).isoformat(timespec="seconds"),
        seed=track.seed,
        duration_s=track.duration_s,
        cameras=dict.fromkeys(images, "simulated, where the mock cell's is"),
        notes={"wrench_base": "not simulated: zeros"},
    )
    return Episode(about, steps, images, dict.fromkeys(images, steps["stamp"]))


def collect(
    out: Path,
    spec: TaskSpec,
    source: Source,
    variants: Sequence[Variant],
    count: int,
    seed: int,
    policy: Path | None = None,
    randomise: bool = True,
    batch: int = 32,
) -> None:
    """Successful episodes, in equal parts of every variant; those that are there already stay.

    batch: tried at a time; another one gives other episodes.

    Raises OtherEpisodes, ArtifactError, NeverSucceeds, NoVulkanDevice, EpisodeBroken, OSError.
    """
    if count < 1 or not variants:
        raise NothingAsked("At least one episode of one variant has to be asked for.")
    if not 0 <= seed <= MOST_SEED:
        raise NothingAsked(f"--seed is {seed}; it is a whole number from 0 to {MOST_SEED}.")
    _, name, _ = driver(source, spec, policy, seed)
    out.mkdir(parents=True, exist_ok=True)
    there, studio = _there(out, spec, name), Studio()
    with tqdm(total=count, desc=f"{source} episodes", mininterval=2.0) as bar:
        for index, variant in enumerate(variants):
            share = count // len(variants) + (index < count % len(variants))
            numbers = [index + k * len(variants) for k in range(share)]
            first = seed * 1_000_000 + index * SEEDS_PER_VARIANT
            for number in numbers:
                _same(there.get(disk.name_of(number)), variant, first)
            if all(disk.name_of(number) in there for number in numbers):
                bar.update(share)
                continue
            act, _, factor = driver(source, spec, policy, first)
            tracks = rollouts.successes(spec.name, variant, act, share, first, batch, factor, randomise)
            for number, track in zip(numbers, tracks, strict=True):
                if disk.name_of(number) not in there:
                    made = episode(track, studio.painter(variant), spec, variant, source, name)
                    disk.write(out / disk.name_of(number), made)
                bar.update()


def _there(folder: Path, spec: TaskSpec, policy: str) -> dict[str, About]:
    """The episodes that an earlier start has left, by name. Raises OtherEpisodes, EpisodeBroken."""
    found = {path.name: disk.read_about(path) for path in disk.files(folder)}
    for name, about in found.items():
        if (about.task, about.policy) != (spec.name, policy):
            raise OtherEpisodes(
                f"{folder / name} is of {about.task} by {about.policy}: name another folder with --out."
            )
        if about.contract_hash != spec.contract_hash():
            raise OtherEpisodes(f"{folder / name} was made under another contract: name another folder with --out.")
    return found


def _same(about: About | None, variant: Variant, first: int) -> None:
    """Raises OtherEpisodes where an episode that is there is not the one that would be made."""
    if about and (about.variant != variant.name or not first <= (about.seed or 0) < first + SEEDS_PER_VARIANT):
        raise OtherEpisodes(
            f"The folder was collected with other variants or another seed (a {about.variant}, seed {about.seed}):"
            " name another one with --out."
        )


def claim(note: Path, arguments: Any, free: tuple[str, ...]) -> None:
    """Notes what a folder of work is of, so that none of other settings is taken for done. free: what may change.

    Raises OtherSettings.
    """
    asked = {name: str(value) for name, value in vars(arguments).items() if name not in free}
    if note.exists() and json.loads(note.read_text()) != asked:
        raise OtherSettings(f"{note.parent} was begun with other settings: name another folder with --out.")
    _reports.write(note, asked)


class OtherSettings(ValueError):
    """The folder holds what was made with other settings."""


class NothingAsked(ValueError):
    """No episodes were asked for."""


class OtherEpisodes(ValueError):
    """The folder holds episodes of something else."""


def card_and_variants(task_name: str, names: tuple[str, ...]) -> tuple[TaskSpec, list[Variant]]:
    """Raises UnknownTask, UnknownVariant, NotDrawn."""
    unknown = sorted(set(names) - set(rollouts.VARIANTS))
    if unknown:
        raise UnknownVariant(f"There is no variant '{unknown[0]}'; choose from: {', '.join(rollouts.VARIANTS)}.")
    card = task(task_name)
    if card.object_name != "cube" or card.has_goal or card.has_second:
        raise NotDrawn(
            f"{task_name} has a goal, a second object or no cube, which pictures here do not show: lift_cube."
        )
    return card, [rollouts.VARIANTS[name] for name in names]


class UnknownVariant(ValueError):
    """No object of the simulator has this name."""


class NotDrawn(ValueError):
    """Of this task not all that matters would be seen."""


FAILURES = (
    UnknownTask, UnknownVariant, NotDrawn, NothingAsked, OtherEpisodes, OtherSettings, artifact.ArtifactError,
    NeverSucceeds, NoVulkanDevice, disk.EpisodeBroken, OSError,
)  # fmt: skip
"""What `collect` may say in one sentence."""
