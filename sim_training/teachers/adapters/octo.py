# /// script
# requires-python = "==3.11.*"
# dependencies = [
#   "octo @ git+https://github.com/octo-models/octo@241fb3514b7c40957a86d869fecb7c7fc353f540",
#   "dlimp @ git+https://github.com/kvablack/dlimp@ad72ce3a9b414db2185bc0b38461d4101a65477a",
#   "jax==0.4.20", "jaxlib==0.4.20", "flax==0.7.5", "distrax==0.1.5", "chex==0.1.85", "optax==0.1.5",
#   "tensorflow==2.15.0", "tensorflow-probability==0.23.0", "tensorflow-datasets==4.9.2", "tensorflow-metadata<1.16",
#   "ml-dtypes==0.2.0", "scipy<1.13", "einops", "transformers>=4.34.1,<4.40",
#   "numpy==1.24.3", "opencv-python-headless<4.12", "pyzmq", "msgpack", "tyro",
# ]
# ///
"""Octo: `launch/serve_teacher.py octo --model hf://rail-berkeley/octo-base-1.5 --dataset bridge_dataset`.

These pins run on the CPU; on a GPU add `jax[cuda12_pip]==0.4.20` to the list above, as Octo's README says.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from sim_training.teachers.adapters.conversions import Convention, action_statistics, deltas, resized
from sim_training.teachers.server import ServerConfig, serve


@dataclass(frozen=True)
class Settings:
    """Which Octo, and how."""

    model: str = "hf://rail-berkeley/octo-base-1.5"
    """Checkpoint folder, or hf:// and a Hugging Face name."""
    dataset: str | None = None
    """Whose action statistics to use; bridge_dataset for BridgeData V2."""
    seed: int = 0
    """Of the diffusion head's samples."""


class Octo:
    """A `Model`: one sampled action chunk for each row."""

    def __init__(self, settings: Settings, convention: Convention, largest_batch: int):
        """largest_batch: every call is filled up to it, so that JAX compiles once."""
        import jax
        from octo.model.octo_model import OctoModel

        self.name = f"octo {Path(settings.model).name}"
        self._convention, self._largest_batch = convention, largest_batch
        self._octo = OctoModel.load_pretrained(settings.model)
        self._statistics = action_statistics(self._octo.dataset_statistics, settings.dataset)
        self._height, self._width = self._octo.example_batch["observation"]["image_primary"].shape[2:4]
        self._random = jax.random.PRNGKey(settings.seed)

    def predict(self, images: np.ndarray, instructions: list[str], tcp: np.ndarray) -> np.ndarray:
        """See `Model.predict`."""
        import jax

        filler = self._largest_batch - len(images)
        seen = observation(np.pad(resized(images, self._height, self._width), [(0, filler), (0, 0), (0, 0), (0, 0)]))
        task = self._octo.create_tasks(texts=instructions + [""] * filler)
        self._random, drawn = jax.random.split(self._random)
        chunks = self._octo.sample_actions(seen, task, unnormalization_statistics=self._statistics, rng=drawn)
        return deltas(np.asarray(chunks)[: len(images)], tcp, self._convention)


def observation(images: np.ndarray) -> dict[str, np.ndarray]:
    """A history of one instant. images: (N, height, width, 3) uint8 RGB"""
    return {"image_primary": images[:, None], "timestep_pad_mask": np.ones((len(images), 1), bool)}


@dataclass(frozen=True)
class Arguments:
    """Serve Octo."""

    settings: Settings = field(default_factory=Settings)
    convention: Convention = field(default_factory=Convention)
    server: ServerConfig = field(default_factory=ServerConfig)


if __name__ == "__main__":
    import tyro

    chosen = tyro.cli(Arguments, config=(tyro.conf.OmitArgPrefixes,))
    serve(partial(Octo, chosen.settings, chosen.convention, chosen.server.largest_batch), chosen.server)
