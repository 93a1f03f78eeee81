"""Makes a randomly initialised OpenVLA of 7 million parameters: `tiny_openvla.py FOLDER CODE`.

CODE is `prismatic/extern/hf` of a checkout of the OpenVLA repository: the code that comes with its released weights.
"""

import importlib
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from questions import IMAGES, INSTRUCTIONS, write_expected
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaTokenizerFast

from sim_training.teachers.adapters.openvla import prompt

ACTION_TOKENS = slice(32_000 - 256, 32_000)


def tokenizer() -> LlamaTokenizerFast:
    """One token for each byte, so that instructions differ in length."""
    words = ["<unk>", "<s>", "</s>", "<pad>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    bytewise = Tokenizer(models.BPE({word: i for i, word in enumerate(words)}, [], unk_token="<unk>"))
    bytewise.pre_tokenizer, bytewise.decoder = pre_tokenizers.ByteLevel(), decoders.ByteLevel()
    return LlamaTokenizerFast(tokenizer_object=bytewise, pad_token="<pad>", add_bos_token=True)


def make(folder: Path, code: Path) -> None:
    """Save model, processor and what `predict_action` answers row by row."""
    sys.path.insert(0, str(code.parent))
    configuration, modeling, processing = (
        importlib.import_module(f"{code.name}.{part}_prismatic") for part in ("configuration", "modeling", "processing")
    )
    llama = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = configuration.OpenVLAConfig(
        vision_backbone_id="in1k-vit-l",
        timm_model_ids=["vit_tiny_patch16_224"],
        image_sizes=[64],
        image_resize_strategy="resize-naive",
        text_config=llama | {"vocab_size": 32_064, "initializer_range": 0.5, "torch_dtype": "float32"},
        norm_stats={
            "synthetic": {
                "action": {"q01": [-0.03] * 3 + [-0.2] * 3 + [0.0], "q99": [0.05] * 3 + [0.1] * 3 + [1.0]}
                | {"mask": [True] * 6 + [False]}
            }
        },
    )
    torch.manual_seed(0)
    model = modeling.OpenVLAForActionPrediction(config).float().eval()
    head = model.language_model.lm_head.weight.data
    head[: ACTION_TOKENS.start], head[ACTION_TOKENS.stop :] = 0, 0  # so that only actions are ever the likeliest
    processor = processing.PrismaticProcessor(
        processing.PrismaticImageProcessor(
            image_resize_strategy="resize-naive", input_sizes=[(3, 64, 64)], interpolations=["bicubic"]
        ),
        tokenizer(),
    )
    configuration.OpenVLAConfig.register_for_auto_class()
    modeling.OpenVLAForActionPrediction.register_for_auto_class("AutoModelForVision2Seq")
    processing.PrismaticImageProcessor.register_for_auto_class("AutoImageProcessor")
    processing.PrismaticProcessor.register_for_auto_class("AutoProcessor")
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    rows = []
    for image, text in zip(IMAGES, INSTRUCTIONS, strict=True):
        inputs = processor(prompt(text), Image.fromarray(image))
        rows.append(model.predict_action(**inputs, unnorm_key="synthetic", do_sample=False))
    write_expected(folder, np.array(rows)[:, None])


if __name__ == "__main__":
    make(Path(sys.argv[1]), Path(sys.argv[2]))
