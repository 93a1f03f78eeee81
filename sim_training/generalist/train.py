"""Fine-tuning by maximum likelihood: pictures, instructions and actions in, a generalist's folder out."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from contract import generalist
from contract.generalist import Card, plain, words
from sim_training.generalist.network import Deployed, GeneralistNetwork

LIKELIHOOD = "mixture of 4 diagonal Gaussians over the motion, Bernoulli over the gripper"
_EXPORT_TOLERANCE = 1e-3
_STILL, _MOVES = 1e-6, 1e-3
"""m or rad in a step: what varies less than the first is locked, what varies more than the second is not."""


class NothingToLearn(ValueError):
    """There is no data, or data that does not fit together."""


@dataclass(frozen=True)
class Demonstration:
    """One episode as a generalist sees it.

    images: camera to (T, H, W, 3) uint8 RGB. actions: physical, base frame, gripper 1 open, (T, 7); see
    `contract.generalist.Generalist.act`.
    """

    images: dict[str, np.ndarray]
    actions: np.ndarray
    instruction: str


@dataclass(frozen=True)
class Training:
    """Settings. shift_px: pictures are shifted by up to so much; brightness, tint: changed by up to these shares; hue:
    turned by up to this share of the circle."""

    steps: int = 2500
    batch: int = 32
    learning_rate: float = 1e-3
    weight_decay: float = 1e-4
    shift_px: int = 3
    brightness: float = 0.2
    tint: float = 0.1
    hue: float = 0.1
    seed: int = 0


@dataclass(frozen=True)
class _Samples:
    """All steps of all episodes. images: camera to (S, H, W, 3) uint8. which: index of the instruction (S,)."""

    images: dict[str, Tensor]
    which: Tensor
    motion: Tensor
    is_open: Tensor


def fit(
    demonstrations: Iterable[Demonstration],
    out: Path,
    training: Training,
    start: Path | None = None,
    cameras: tuple[str, ...] | None = None,
    rate_hz: float = 10.0,
    provenance: dict[str, Any] | None = None,
    show: bool = True,
) -> dict[str, Any]:
    """Trains on all demonstrations and writes the folder `out`; returns figures.

    start: a generalist to begin from; its normalisation of actions is kept, its instructions are still known.
    cameras: which to look at; all that the first episode has if not given, or those of `start`.
    Raises NothingToLearn, generalist.GeneralistUnusable.
    """
    torch.manual_seed(training.seed)
    known = generalist.read_card(start) if start else None
    episodes = list(demonstrations)
    if not episodes:
        raise NothingToLearn("There are no episodes to learn from: collect some, or name another folder.")
    if known and cameras and cameras != known.cameras:
        raise NothingToLearn(f"{start} looks at {', '.join(known.cameras)}: leave out --cameras, or start without it.")
    looked_at = known.cameras if known else cameras or tuple(sorted(episodes[0].images))
    instructions = list(dict.fromkeys(plain(each.instruction) for each in episodes))
    low, high = _range(episodes)
    if known:
        locked = np.array(known.high) - np.array(known.low) < _STILL
        if (locked & (high - low > _MOVES)).any():
            raise NothingToLearn(f"These episodes turn the tool in ways that {start} never does: start without it.")
        low, high = np.array(known.low), np.array(known.high)
    samples = _samples(episodes, looked_at, instructions, low, high)
    side = next(iter(samples.images.values())).shape[1]
    if known and known.side_px != side:
        raise NothingToLearn(f"{start} looks at {known.side_px} px, the episodes have {side}: start without it.")
    network = GeneralistNetwork(looked_at, side)
    if start:
        network.load_state_dict({name: torch.from_numpy(v) for name, v in generalist.read_tensors(start).items()})
    free = torch.from_numpy(high - low >= _STILL)
    loss = _descend(
        network, samples, torch.from_numpy(np.stack([words(i) for i in instructions])), free, training, show
    )
    everything = tuple(dict.fromkeys([*(known.instructions if known else ()), *instructions]))
    figures = {"episodes": len(episodes), "steps": len(samples.which), "likelihood": LIKELIHOOD, "loss": loss}
    figures["parameters"] = sum(each.numel() for each in network.parameters())
    made_by = {**(provenance or {}), **figures, "training": vars(training)}
    card = Card(everything, looked_at, side, rate_hz, tuple(low.tolist()), tuple(high.tolist()), made_by)
    generalist.write(out, card, export(network, samples, words(instructions[0])), _tensors(network))
    return figures


def _range(episodes: list[Demonstration]) -> tuple[np.ndarray, np.ndarray]:
    """What -1 and 1 stand for: the 1st and 99th percentile of each number, as OpenVLA has it. Shapes: (6,)"""
    motion = np.concatenate([each.actions[:, :6] for each in episodes])
    low, high = np.percentile(motion, [1, 99], axis=0)
    still = high - low < _STILL
    return np.where(still, 0.0, low), np.where(still, 0.0, high)


def _samples(
    episodes: list[Demonstration], cameras: tuple[str, ...], instructions: list[str], low: np.ndarray, high: np.ndarray
) -> _Samples:
    for each in episodes:
        missing = sorted(set(cameras) - set(each.images))
        if missing:
            raise NothingToLearn(
                f"An episode has no pictures of camera '{missing[0]}', which the generalist looks at: leave it out."
            )
    images = {name: torch.from_numpy(np.concatenate([each.images[name] for each in episodes])) for name in cameras}
    which = np.concatenate([np.full(len(e.actions), instructions.index(plain(e.instruction))) for e in episodes])
    actions = np.concatenate([each.actions for each in episodes])
    span = np.where(high > low, high - low, 1.0)
    motion = np.clip(2 * (actions[:, :6] - low) / span - 1, -1, 1).astype(np.float32)
    is_open = torch.from_numpy((actions[:, 6] > 0.5).astype(np.float32))
    return _Samples(images, torch.from_numpy(which), torch.from_numpy(motion), is_open)


def _descend(
    network: GeneralistNetwork, samples: _Samples, told: Tensor, free: Tensor, training: Training, show: bool
) -> float:
    """Adam with a cosine schedule; returns the mean loss of the last tenth."""
    optimiser = torch.optim.AdamW(network.parameters(), training.learning_rate, weight_decay=training.weight_decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, training.steps)
    losses = []
    for _ in (bar := tqdm(range(training.steps), desc="fine-tuning", mininterval=2.0, disable=not show)):
        rows = torch.randint(len(samples.which), (training.batch,))
        pictures = {name: augmented(all_[rows], training) for name, all_ in samples.images.items()}
        mixture = network(pictures, told[samples.which[rows]])
        loss = mixture.negative_log_likelihood(samples.motion[rows], samples.is_open[rows], free).mean()
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 10.0)
        optimiser.step()
        schedule.step()
        losses.append(loss.item())
        bar.set_postfix_str(f"loss {losses[-1]:.2f}", refresh=False)
    return float(np.mean(losses[-max(1, training.steps // 10) :]))


def augmented(pictures: Tensor, training: Training) -> Tensor:
    """All shifted alike, each brighter or darker, its hue turned, tinted. Shape: (B, H, W, 3) uint8 -> floats"""
    count, side, reach = len(pictures), pictures.shape[1], training.shift_px
    rows, columns = ((torch.arange(side) + int(torch.randint(-reach, reach + 1, ()))).clamp(0, side - 1) for _ in "yx")
    moved = pictures.index_select(1, rows).index_select(2, columns).float()
    gain = 1 + training.brightness * (2 * torch.rand(count, 1, 1, 1) - 1)
    tint = 1 + training.tint * (2 * torch.rand(count, 1, 1, 3) - 1)
    return moved.mul_(gain * tint).flatten(1, 2).bmm(_hue_turn(count, training.hue)).view_as(moved)


def _hue_turn(count: int, reach: float) -> Tensor:
    """Turns colours about grey, each picture's by up to `reach` of the circle. Shape: (count, 3, 3)"""
    angle = 2 * torch.pi * reach * (2 * torch.rand(count, 1, 1) - 1)
    grey = torch.full((3, 3), 1 / 3)
    across = torch.tensor([[0.0, 1.0, -1.0], [-1.0, 0.0, 1.0], [1.0, -1.0, 0.0]]) / 3**0.5
    return grey + angle.cos() * (torch.eye(3) - grey) + angle.sin() * across


def export(network: GeneralistNetwork, samples: _Samples, told: np.ndarray) -> bytes:
    """As ONNX, having seen that it computes what was trained."""
    import onnxruntime

    deployed = Deployed(network).eval()
    shown = [samples.images[name][:4] for name in network.cameras]
    inputs = (*shown, torch.from_numpy(told).repeat(len(shown[0]), 1))
    names = [*network.cameras, "words"]
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            deployed, inputs, file, dynamo=False, opset_version=17, input_names=names, output_names=["action"],
            dynamic_axes={name: {0: "batch"} for name in (*names, "action")},
        )  # fmt: skip
    session = onnxruntime.InferenceSession(file.getvalue(), providers=["CPUExecutionProvider"])
    (answer,) = session.run(None, {name: each.numpy() for name, each in zip(names, inputs, strict=True)})
    with torch.no_grad():
        off = float((torch.from_numpy(answer) - deployed(*inputs)).abs().max())
    if not off <= _EXPORT_TOLERANCE:
        raise RuntimeError(f"The exported generalist and the trained one differ by {off:.1e}.")
    return file.getvalue()


def _tensors(network: GeneralistNetwork) -> dict[str, np.ndarray]:
    return {name: tensor.detach().numpy() for name, tensor in network.state_dict().items()}
