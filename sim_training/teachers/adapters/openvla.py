# /// script
# requires-python = "==3.11.*"
# dependencies = [
#   "transformers==4.40.1", "tokenizers==0.19.1", "timm==0.9.10", "torch==2.2.0", "torchvision==0.17.0",
#   "accelerate==0.30.1", "bitsandbytes==0.43.1", "pillow", "numpy<2", "opencv-python-headless<4.12",
#   "pyzmq", "msgpack", "tyro",
# ]
# ///
"""OpenVLA, and what was fine-tuned from it: `launch/serve_teacher.py openvla --model openvla/openvla-7b`.

Rows with prompts of one length are decoded together: the released `predict_action` takes one row at a time.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from sim_training.teachers.adapters.conversions import (
    ACTION_SIZE,
    Convention,
    action_statistics,
    between_quantiles,
    central,
    deltas,
    from_tokens,
)
from sim_training.teachers.server import ServerConfig, serve

EMPTY_TOKEN = 29871
"""What training put after "Out:"; Llama's tokeniser leaves it out."""
CROPPED_AREA = 0.9
"""Of the random crops that fine-tuning with image augmentation sees."""


@dataclass(frozen=True)
class Settings:
    """Which OpenVLA, and how."""

    model: str = "openvla/openvla-7b"
    """Folder or Hugging Face name; its own code is run (trust_remote_code)."""
    dataset: str | None = None
    """Whose action statistics to use; bridge_orig for BridgeData V2."""
    precision: Literal["bf16", "4bit", "fp32"] = "bf16"
    """4bit needs a CUDA GPU."""
    centre_crop: bool = False
    """Show the middle 90 % of the image, as models fine-tuned with image augmentation expect."""


class NoGpu(RuntimeError):
    """Four bits need a CUDA GPU, and none is usable here."""


class OpenVLA:
    """A `Model`: one forward pass for the prompts, one for each further action token."""

    def __init__(self, settings: Settings, convention: Convention):
        import torch
        from transformers import AutoModelForVision2Seq, AutoProcessor, BitsAndBytesConfig

        self.name = f"openvla {Path(settings.model).name}"
        self._settings, self._convention = settings, convention
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._dtype = torch.float32 if settings.precision == "fp32" else torch.bfloat16
        options: dict[str, Any] = {"torch_dtype": self._dtype, "low_cpu_mem_usage": True, "trust_remote_code": True}
        if settings.precision == "4bit":
            if self._device.type != "cuda":
                raise NoGpu("4bit needs a CUDA GPU and none is usable here; choose --precision bf16.")
            options["quantization_config"] = BitsAndBytesConfig(
                load_in_4bit=True, bnb_4bit_compute_dtype=torch.bfloat16
            )
        self._processor = AutoProcessor.from_pretrained(settings.model, trust_remote_code=True)
        vla = AutoModelForVision2Seq.from_pretrained(settings.model, **options).eval()
        self._vla = vla if settings.precision == "4bit" else vla.to(self._device)
        self._vocabulary = vla.config.text_config.vocab_size - vla.config.pad_to_multiple_of
        of_fine_tuning = Path(settings.model) / "dataset_statistics.json"
        known = json.loads(of_fine_tuning.read_text()) if of_fine_tuning.exists() else vla.config.norm_stats
        self._statistics = action_statistics(known, settings.dataset)

    def predict(self, images: np.ndarray, instructions: list[str], tcp: np.ndarray) -> np.ndarray:
        """See `Model.predict`."""
        import torch

        seen = central(images, CROPPED_AREA) if self._settings.centre_crop else images
        with torch.inference_mode():
            tokens = self._tokens(seen, [prompt(text) for text in instructions])
        normalised = from_tokens(tokens, self._vocabulary, self._vla.config.n_action_bins)
        return deltas(between_quantiles(normalised, self._statistics)[:, None], tcp, self._convention)

    def _tokens(self, images: np.ndarray, prompts: list[str]) -> np.ndarray:
        """Action tokens. Shape: (N, 7)"""
        from PIL import Image

        inputs = [self._processor(text, Image.fromarray(image)) for text, image in zip(prompts, images, strict=True)]
        tokens = np.empty((len(inputs), ACTION_SIZE), np.int64)
        lengths = np.array([one["input_ids"].shape[1] for one in inputs])
        for length in np.unique(lengths):
            rows = np.flatnonzero(lengths == length)
            tokens[rows] = self._decode([inputs[row] for row in rows])
        return tokens

    def _decode(self, inputs: list[Any]) -> np.ndarray:
        """Greedy action tokens of rows with prompts of one length. Shape: (n, 7)"""
        import torch

        prompts = torch.cat([one["input_ids"] for one in inputs]).to(self._device)
        if not bool((prompts[:, -1] == EMPTY_TOKEN).all()):
            prompts = torch.cat([prompts, torch.full_like(prompts[:, :1], EMPTY_TOKEN)], 1)
        pixels = torch.cat([one["pixel_values"] for one in inputs]).to(self._device, self._dtype)
        said = self._vla(input_ids=prompts, pixel_values=pixels, use_cache=True)
        tokens = [said.logits[:, -1].argmax(-1, keepdim=True)]
        while len(tokens) < ACTION_SIZE:
            # The language model itself: the wrapper refuses cached steps of more than one row.
            said = self._vla.language_model(
                input_ids=tokens[-1], past_key_values=said.past_key_values, use_cache=True, return_dict=True
            )
            tokens.append(said.logits[:, -1].argmax(-1, keepdim=True))
        return torch.cat(tokens, 1).cpu().numpy()


def prompt(instruction: str) -> str:
    """What OpenVLA was trained to be asked."""
    return f"In: What action should the robot take to {instruction.lower()}?\nOut:"


@dataclass(frozen=True)
class Arguments:
    """Serve OpenVLA or a model fine-tuned from it."""

    settings: Settings = field(default_factory=Settings)
    convention: Convention = field(default_factory=Convention)
    server: ServerConfig = field(default_factory=ServerConfig)


if __name__ == "__main__":
    import tyro

    chosen = tyro.cli(Arguments, config=(tyro.conf.OmitArgPrefixes,))
    serve(partial(OpenVLA, chosen.settings, chosen.convention), chosen.server)
