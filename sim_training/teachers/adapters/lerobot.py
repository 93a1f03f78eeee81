# /// script
# requires-python = "==3.11.*"
# dependencies = ["lerobot[smolvla]==0.4.4", "opencv-python-headless", "pyzmq", "msgpack", "tyro"]
# ///
"""Policies of LeRobot (SmolVLA, pi0, ACT, ...): `launch/serve_teacher.py lerobot --model FOLDER`.

They must have been fine-tuned on tool deltas: joint targets, as of SmolVLA's base model, mean nothing to a teacher.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from sim_training.teachers.adapters.conversions import (
    ACTION_SIZE,
    Convention,
    PolicyDoesNotFit,
    deltas,
    resized,
    tool_state,
)
from sim_training.teachers.server import ServerConfig, serve


@dataclass(frozen=True)
class Settings:
    """Which policy, and what it looks through."""

    model: str
    """Folder or Hugging Face name, with its pre- and postprocessor."""
    image_key: str | None = None
    """The policy's camera that gets our picture; may be left out where it has one only."""


class LeRobot:
    """A `Model`: the start of one action chunk for each row; nothing is remembered between questions."""

    def __init__(self, settings: Settings, convention: Convention):
        import torch
        from lerobot.configs.policies import PreTrainedConfig
        from lerobot.policies.factory import get_policy_class, make_pre_post_processors

        self._convention = convention
        config = PreTrainedConfig.from_pretrained(settings.model)
        config.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.name = f"lerobot {config.type} {Path(settings.model).name}"
        self._state_size = config.robot_state_feature.shape[0] if config.robot_state_feature else 0
        sizes = {key: feature.shape for key, feature in config.image_features.items()}
        self._image_key = only_camera(sizes, settings.image_key)
        self._height, self._width = sizes[self._image_key][1:]
        if config.action_feature.shape != (ACTION_SIZE,):
            raise PolicyDoesNotFit(
                f"The policy's actions have shape {config.action_feature.shape}; a teacher's are {ACTION_SIZE} numbers,"
                " translation, rotation and gripper."
            )
        if self._state_size:
            tool_state(np.zeros((1, 7)), self._state_size)
        self._policy = get_policy_class(config.type).from_pretrained(settings.model, config=config).eval()
        here = {"device_processor": {"device": config.device}}
        self._before, self._after = make_pre_post_processors(config, settings.model, preprocessor_overrides=here)

    def predict(self, images: np.ndarray, instructions: list[str], tcp: np.ndarray) -> np.ndarray:
        """See `Model.predict`."""
        import torch

        seen = resized(images, self._height, self._width)
        question: dict[str, Any] = {
            self._image_key: torch.from_numpy(np.moveaxis(seen, -1, 1) / np.float32(255)),
            "task": instructions,
        }
        if self._state_size:
            question["observation.state"] = torch.from_numpy(tool_state(tcp, self._state_size))
        self._policy.reset()
        with torch.inference_mode():
            chunks = self._policy.predict_action_chunk(self._before(question))
            actions = self._after(chunks.flatten(0, 1)).reshape(chunks.shape)
        return deltas(actions.float().cpu().numpy(), tcp, self._convention)


def only_camera(sizes: dict[str, tuple[int, ...]], wanted: str | None) -> str:
    """The camera asked for, or the only one. Raises PolicyDoesNotFit, which names them."""
    if wanted in sizes:
        return wanted
    if wanted is None and len(sizes) == 1:
        return next(iter(sizes))
    raise PolicyDoesNotFit(f"Say which camera gets the picture with --image-key: {', '.join(sorted(sizes)) or 'none'}.")


@dataclass(frozen=True)
class Arguments:
    """Serve a LeRobot policy."""

    settings: Settings
    convention: Convention = field(default_factory=Convention)
    server: ServerConfig = field(default_factory=ServerConfig)


if __name__ == "__main__":
    import tyro

    chosen = tyro.cli(Arguments, config=(tyro.conf.OmitArgPrefixes,))
    serve(partial(LeRobot, chosen.settings, chosen.convention), chosen.server)
