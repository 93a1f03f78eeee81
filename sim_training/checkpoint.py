"""What a training run leaves on disk: checkpoints that continue exactly, TensorBoard events, the report."""

from __future__ import annotations

import io
import json
import os
import signal
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from sim_training import distributed
from sim_training.backends import is_saveable, restore_state, save_state
from sim_training.settings import complete_checkpoints

if TYPE_CHECKING:
    from sim_training.train import Progress, Trainer


class CheckpointOfAnotherRun(RuntimeError):
    """The checkpoint was made with other settings; resume with the settings it was started with."""


class CannotWrite(RuntimeError):
    """Something of a run could not be written."""

    def __init__(self, path: Path, cause: OSError):
        super().__init__(
            f"{path} could not be written ({cause.strerror}); what was there before is whole. Make room, then --resume."
        )


class StopRequest:
    """Remembers that the user asked to stop, so that the iteration under way can be finished and saved."""

    def __init__(self, *signals: signal.Signals):
        self.requested = False
        for number in signals:
            signal.signal(number, self._remember)

    def _remember(self, *_: Any) -> None:
        self.requested = True


class Log:
    """TensorBoard events in the run's folder."""

    def __init__(self, folder: Path):
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder))

    def write(self, step: int, figures: dict[str, float]) -> None:
        """Every figure at this environment step."""
        for name, value in figures.items():
            self._writer.add_scalar(name, value, step)


def _write_whole(path: Path, content: bytes) -> None:
    """Write beside, then rename: a killed process or a full disk leaves the old file. Raises CannotWrite."""
    part = path.with_suffix(path.suffix + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(content)
        os.replace(part, path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise CannotWrite(path, error) from error


_FREE = {"resume", "report", "out", "video"}
"""Settings that may change between a run and its continuation."""


def _settings(trainer: Trainer) -> dict[str, str]:
    return {k: str(v) for k, v in asdict(trainer.config).items() if k not in _FREE}


def _path(trainer: Trainer, iteration: int) -> Path:
    return trainer.config.folder / "checkpoints" / f"{iteration:06d}-rank{trainer.rank}of{trainer.world}.pt"


def save(trainer: Trainer) -> None:
    """Every rank writes its own file; the two newest complete sets are kept. Raises CannotWrite, on every rank.

    Physics on the GPU cannot be saved: a run resumed there goes on with new episodes.
    """
    iteration = trainer.progress.iteration
    simulation = save_state(trainer.env) if is_saveable(trainer.env) else b""
    state = {
        "settings": _settings(trainer),
        "model": trainer.model.state_dict(),
        "optimiser": trainer.optimiser.state_dict(),
        "progress": asdict(trainer.progress),
        "schedule": trainer.schedule.state(),
        "teacher": trainer.teacher.state(),
        "observation": trainer.observation,
        "simulation": torch.from_numpy(np.frombuffer(simulation, np.uint8).copy()),
        "torch_random": torch.get_rng_state(),
        "cuda_random": torch.cuda.get_rng_state() if trainer.device.type == "cuda" else None,
    }
    whole = io.BytesIO()
    torch.save(state, whole)
    _write_on_every_rank(_path(trainer, iteration), whole.getvalue())
    kept = sorted({p.name[:6] for p in _path(trainer, 0).parent.glob("*.pt")})[-2:]
    for old in _path(trainer, 0).parent.glob(f"*-rank{trainer.rank}of{trainer.world}.pt"):
        if old.name[:6] not in kept:
            old.unlink()


def _write_on_every_rank(path: Path, content: bytes) -> None:
    """As `_write_whole`; where one rank cannot write, all give up, instead of waiting for it."""
    trouble = None
    try:
        _write_whole(path, content)
    except CannotWrite as error:
        trouble = error
    if distributed.any_rank(trouble is not None):
        raise trouble or CannotWrite(path, OSError(0, "another rank could not write its own"))


def load_newest(trainer: Trainer) -> None:
    """Put the trainer where the newest complete checkpoint left it. Raises CheckpointOfAnotherRun."""
    newest = complete_checkpoints(trainer.config.folder)[trainer.world]
    state = torch.load(_path(trainer, newest), weights_only=True, map_location=trainer.device)
    if state["settings"] != _settings(trainer):
        changed = sorted(k for k, v in _settings(trainer).items() if state["settings"].get(k) != v)
        raise CheckpointOfAnotherRun(f"{CheckpointOfAnotherRun.__doc__} Changed: {', '.join(changed)}.")
    trainer.model.load_state_dict(state["model"])
    trainer.optimiser.load_state_dict(state["optimiser"])
    for name, value in state["progress"].items():
        setattr(trainer.progress, name, value)
    trainer.schedule.restore(state["schedule"])
    trainer.teacher.restore(state["teacher"])
    trainer.observation = state["observation"]
    if len(state["simulation"]):
        restore_state(trainer.env, state["simulation"].cpu().numpy().tobytes())
    else:
        trainer.observation, _ = trainer.env.reset(seed=trainer.config.seed + trainer.progress.iteration)
    torch.set_rng_state(state["torch_random"].cpu())
    if state["cuda_random"] is not None:
        torch.cuda.set_rng_state(state["cuda_random"].cpu())


def write_report(path: Path, progress: Progress) -> None:
    """The key figures: `eval_success`, `env_steps`, `wall_s`, and the rest of the progress."""
    text = json.dumps(asdict(progress) | {"eval_success": progress.best_success}, indent=1)
    _write_whole(path, text.encode())
