"""Makes randomly initialised LeRobot policies: `tiny_lerobot.py FOLDER act|smolvla`."""

import sys
from pathlib import Path

import numpy as np
import torch
from lerobot.configs.types import FeatureType, PolicyFeature
from lerobot.policies.act.configuration_act import ACTConfig
from lerobot.policies.factory import get_policy_class, make_pre_post_processors
from lerobot.policies.smolvla.configuration_smolvla import SmolVLAConfig
from questions import IMAGES, INSTRUCTIONS, TCP, write_expected
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    PreTrainedTokenizerFast,
    SmolVLMConfig,
    SmolVLMImageProcessor,
    SmolVLMProcessor,
    SmolVLMVideoProcessor,
)

CAMERA = "observation.images.front"
FEATURES = {
    "input_features": {
        CAMERA: PolicyFeature(FeatureType.VISUAL, (3, 128, 128)),
        "observation.state": PolicyFeature(FeatureType.STATE, (7,)),
    },
    "output_features": {"action": PolicyFeature(FeatureType.ACTION, (7,))},
    "device": "cpu",
    "chunk_size": 4,
    "n_action_steps": 4,
}
STATISTICS = {
    CAMERA: {"mean": np.full((3, 1, 1), 0.5), "std": np.full((3, 1, 1), 0.25)},
    "observation.state": {"mean": np.array([0.5, 0.0, 0.2, 0, 1, 0, 0]), "std": np.full(7, 0.1)},
    "action": {"mean": np.array([0.0, 0.0, -0.01, 0, 0, 0, 0.5]), "std": np.array([0.02] * 3 + [0.1] * 3 + [0.5])},
}


def vision_language_model(folder: Path) -> str:
    """A folder with what SmolVLA reads of its backbone: configuration and processor, no weights."""
    special = {
        "fake_image_token": "<fake_token_around_image>",
        "global_image_token": "<global-img>",
        "image_token": "<image>",
        "end_of_utterance_token": "<end_of_utterance>",
    }
    words = ["<unk>", "<pad>", *special.values(), *sorted(pre_tokenizers.ByteLevel.alphabet())]
    bytewise = Tokenizer(models.BPE({word: i for i, word in enumerate(words)}, [], unk_token="<unk>"))
    bytewise.pre_tokenizer = pre_tokenizers.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bytewise, pad_token="<pad>", unk_token="<unk>", extra_special_tokens=special
    )
    text = {"vocab_size": len(words), "hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 2}
    vision = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    SmolVLMConfig(
        image_token_id=words.index("<image>"),
        pad_token_id=1,
        vision_config=vision | {"image_size": 64, "patch_size": 16},
        text_config=text | {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16, "pad_token_id": 1},
    ).save_pretrained(folder)
    SmolVLMProcessor(SmolVLMImageProcessor(), tokenizer, SmolVLMVideoProcessor(), image_seq_len=4).save_pretrained(
        folder
    )
    return str(folder)


def make(folder: Path, kind: str) -> None:
    """Save policy, processors and what `select_action` answers row by row."""
    if kind == "act":
        small = {"dim_model": 32, "n_heads": 2, "dim_feedforward": 32, "n_encoder_layers": 1}
        config = ACTConfig(**FEATURES, **small, pretrained_backbone_weights=None, use_vae=False)
    else:
        config = SmolVLAConfig(
            **FEATURES,
            vlm_model_name=vision_language_model(folder / "vlm"),
            resize_imgs_with_padding=(64, 64),
            num_vlm_layers=2,
            expert_width_multiplier=0.5,
        )
    torch.manual_seed(0)
    policy = get_policy_class(kind)(config).eval()
    before, after = make_pre_post_processors(config, dataset_stats=STATISTICS)
    for part in (policy, before, after):
        part.save_pretrained(folder)
    rows = []
    for image, text, state in zip(IMAGES, INSTRUCTIONS, TCP, strict=True):
        policy.reset()
        pixels = torch.from_numpy(image).permute(2, 0, 1).float() / 255
        question = {CAMERA: pixels[None], "observation.state": torch.from_numpy(state).float()[None], "task": [text]}
        with torch.inference_mode():
            rows.append(after(policy.select_action(before(question)))[0].float().numpy())
    write_expected(folder, np.array(rows)[:, None])


if __name__ == "__main__":
    make(Path(sys.argv[1]), sys.argv[2])
