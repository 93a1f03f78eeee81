"""Makes a randomly initialised Octo with an L1 head, which does not sample: `tiny_octo.py FOLDER`."""

import sys
from pathlib import Path

import cv2
import jax
import numpy as np
from octo.data.utils.text_processing import HFTokenizer
from octo.model.components.action_heads import L1ActionHead
from octo.model.components.tokenizers import ImageTokenizer, LanguageTokenizer
from octo.model.components.vit_encoders import SmallStem16
from octo.model.octo_model import OctoModel
from octo.utils.spec import ModuleSpec
from questions import IMAGES, INSTRUCTIONS, write_expected
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, T5Config

SIDE_PX = 64
STATISTICS = {
    "synthetic": {
        "action": {
            "mean": np.array([0.0, 0.0, -0.01, 0, 0, 0, 0.5]),
            "std": np.array([0.02] * 3 + [0.1] * 3 + [0.5]),
            "mask": np.array([True] * 6 + [False]),
        }
    }
}


def language_model(folder: Path) -> str:
    """A folder with a T5's configuration and a tokenizer with one token for each byte."""
    words = ["<pad>", "<unk>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    bytewise = Tokenizer(models.BPE({word: i for i, word in enumerate(words)}, [], unk_token="<unk>"))
    bytewise.pre_tokenizer = pre_tokenizers.ByteLevel()
    names = ["input_ids", "attention_mask"]
    PreTrainedTokenizerFast(
        tokenizer_object=bytewise, pad_token="<pad>", unk_token="<unk>", model_input_names=names
    ).save_pretrained(folder)
    T5Config(vocab_size=len(words), d_model=32, d_kv=8, d_ff=32, num_layers=1, num_heads=2).save_pretrained(folder)
    return str(folder)


def make(folder: Path) -> None:
    """Save the model and what `sample_actions` answers row by row."""
    encoder = language_model(folder / "t5")
    fixed = {"max_length": 24, "padding": "max_length", "truncation": True, "return_tensors": "np"}
    stem = ModuleSpec.create(SmallStem16, features=(32, 32, 32, 32), num_features=32)
    config = {
        "model": {
            "observation_tokenizers": {
                "primary": ModuleSpec.create(ImageTokenizer, obs_stack_keys=["image_primary"], encoder=stem)
            },
            "task_tokenizers": {"language": ModuleSpec.create(LanguageTokenizer, encoder=encoder)},
            "heads": {
                "action": ModuleSpec.create(L1ActionHead, action_horizon=4, action_dim=7, readout_key="readout_action")
            },
            "readouts": {"action": 1},
            "token_embedding_size": 32,
            "max_horizon": 2,
            "use_correct_attention": True,
            "transformer_kwargs": {"num_layers": 1, "mlp_dim": 32, "num_attention_heads": 2},
        },
        "text_processor": ModuleSpec.create(HFTokenizer, tokenizer_name=encoder, tokenizer_kwargs=fixed),
    }
    words = HFTokenizer(encoder, fixed)
    example = {
        "observation": {
            "image_primary": np.zeros((1, 1, SIDE_PX, SIDE_PX, 3), np.uint8),
            "timestep_pad_mask": np.ones((1, 1), bool),
        },
        "task": {
            "language_instruction": words.encode(["lift"]),
            "pad_mask_dict": {"language_instruction": np.ones(1, bool)},
        },
    }
    model = OctoModel.from_config(config, example, words, dataset_statistics=STATISTICS)
    model.save_pretrained(0, str(folder))
    rows = []
    for image, text in zip(IMAGES, INSTRUCTIONS, strict=True):
        seen = cv2.resize(image, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_AREA)
        observation = {"image_primary": seen[None, None], "timestep_pad_mask": np.ones((1, 1), bool)}
        task = model.create_tasks(texts=[text])
        statistics = STATISTICS["synthetic"]["action"]
        random = jax.random.PRNGKey(0)
        chunk = model.sample_actions(observation, task, unnormalization_statistics=statistics, rng=random)
        rows.append(np.asarray(chunk)[0])
    write_expected(folder, np.array(rows))


if __name__ == "__main__":
    make(Path(sys.argv[1]))
