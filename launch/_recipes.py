"""Commands and configs with which OpenVLA's and Octo's own scripts fine-tune on an RLDS export, on a GPU machine.

Interfaces are those of openvla at c8f03f4 (vla-scripts/finetune.py, prismatic/vla/datasets/rlds/oxe) and octo at
241fb35 (scripts/finetune.py). Figures of both are RLDG's: LoRA of rank 32 with batch 2 x 3; all weights with batch 64.
"""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from pathlib import Path

from robot_runtime.collection.folders import DatasetError
from robot_runtime.collection.rlds_features import VERSION
from robot_runtime.collection.verifying import manifest


class BadExport(ValueError):
    """What was given is no RLDS export that the large generalists' scripts can read."""


@dataclass(frozen=True)
class Export:
    """An RLDS export. root: the folder above it. frame: of its actions. cameras: its keys of pictures,
    the primary one first."""

    name: str
    root: str
    frame: str
    cameras: tuple[str, ...]
    episodes: int
    validation_episodes: int


def inspect(folder: Path) -> Export:
    """What an export says of itself. Raises BadExport."""
    try:
        info = json.loads((folder / VERSION / "dataset_info.json").read_text())
        features = json.loads((folder / VERSION / "features.json").read_text())
        step = features["featuresDict"]["features"]["steps"]["sequence"]["feature"]["featuresDict"]["features"]
        observation = step["observation"]["featuresDict"]["features"]
        counts = {each["name"]: sum(map(int, each["shardLengths"])) for each in info["splits"]}
        name, frame = info["name"], manifest(folder)["frame"]
    except (OSError, ValueError, KeyError, TypeError, DatasetError):
        raise BadExport(f"{folder} is no RLDS export: make one with launch/dataset.py export.") from None
    missing = sorted({"action", "language_instruction"} - set(step))
    if missing or "image" not in observation:
        raise BadExport(f"{folder} lacks '{(*missing, 'observation/image')[0]}': export it with launch/dataset.py.")
    if not counts.get("train") or not counts.get("val"):
        raise BadExport(f"{folder} needs episodes in both of its splits, train and val: export more episodes.")
    if folder.name != name:
        raise BadExport(
            f"The dataset is called '{name}', its folder '{folder.name}': tensorflow-datasets wants one name."
        )
    cameras = ("image", *sorted(key for key in observation if key.startswith("image_")))
    return Export(name, str(folder.absolute().parent), frame, cameras, counts["train"], counts["val"])


def openvla(exports: list[Export], model: str, steps: int) -> dict[str, str]:
    """Files by name: a script, the registration it needs, and what to do with them. Raises BadExport."""
    names, roots = [export.name for export in exports], {export.root for export in exports}
    if len(roots) > 1 or len(set(names)) < len(names):
        raise BadExport("OpenVLA wants datasets of different names in one folder: export them beside each other.")
    if len({export.frame for export in exports}) > 1:
        raise BadExport("Some of these have their actions in the base's frame, some in the wrist's: export them alike.")
    root, name = shlex.quote(roots.pop()), "+".join(names)
    return {
        "finetune.sh": _OPENVLA.format(
            name=name, root=root, model=shlex.quote(model), steps=steps, save=save_every(steps)
        ),
        "register.py": _REGISTER.format(name=name, names=names),
        "README.md": _readme("OpenVLA", "https://github.com/openvla/openvla", "c8f03f4", "OPENVLA", exports),
    }


def octo(exports: list[Export], model: str, steps: int) -> dict[str, str]:
    """Files by name: a script, the config it reads, and what to do with them. Raises BadExport."""
    if len(exports) > 1:
        raise BadExport("Octo's script takes one dataset: name one, or fine-tune OpenVLA or the small one on several.")
    (export,) = exports
    primary = export.cameras[1] if len(export.cameras) > 1 else None
    return {
        "finetune.sh": _OCTO.format(
            model=shlex.quote(model), steps=steps, save=save_every(steps), warmup=min(2000, steps // 10)
        ),
        "config.py": _OCTO_CONFIG.format(name=export.name, root=export.root, primary=primary),
        "standardize.py": _STANDARDIZE,
        "README.md": _readme("Octo", "https://github.com/octo-models/octo", "241fb35", "OCTO", exports),
    }


def save_every(steps: int) -> int:
    """About every 5000 steps, and at the end: both scripts save at multiples only."""
    return steps // max(1, round(steps / 5000))


def _readme(what: str, url: str, commit: str, variable: str, exports: list[Export]) -> str:
    names = ", ".join(f"`{export.name}`" for export in exports)
    train, val = sum(each.episodes for each in exports), sum(each.validation_episodes for each in exports)
    roots = ", ".join(sorted({export.root for export in exports}))
    frame = "base" if exports[0].frame == "base" else "tool"
    return f"""# Fine-tuning {what} on {names}

{train} episodes to train on, {val} to validate on; they are looked for where they were made, in {roots}.
On a machine with a GPU, the weights and this folder:

    git clone {url} && git -C {what.lower()} checkout {commit}   # then install it as its README says
    {variable}={what.lower()} ./finetune.sh

{_served(what, frame, exports[0].cameras)}
Written by `launch/finetune.py`, which has not run any of this.
"""


def _served(what: str, frame: str, cameras: tuple[str, ...]) -> str:
    """How the result becomes a teacher, which is shown one picture: OpenVLA's only one, Octo's primary one."""
    if what == "Octo" and len(cameras) == 1:
        return "It cannot be a teacher: it would be shown a primary camera, and has learnt from the wrist's alone."
    camera, crop = ("wrist", " --centre-crop") if what == "OpenVLA" else ("front", "")
    return f"""What comes out is served, and asked for tenths of a second, with

    launch/serve_teacher.py {what.lower()} --model FOLDER --frame {frame}{crop}
    launch/eval_teacher.py --teacher tcp://127.0.0.1:5570 --camera {camera}
    launch/train_sim.sh --teacher tcp://127.0.0.1:5570 --camera {camera} --increments 2

`--camera {camera}` shows it ManiSkill's scene from where that camera is in `launch/cells/mock_rldg.yaml`. The scene's
colours are not the cell's: the second command says how well it does there."""


_OPENVLA = """#!/usr/bin/env bash
# LoRA of rank 32, batch 2 with 3 steps of gradient accumulation (RLDG).
set -euo pipefail
: "${{OPENVLA:?set OPENVLA to a checkout of openvla}}"
here="$(cd "$(dirname "${{BASH_SOURCE[0]}}")" && pwd)"
cd "$OPENVLA"
# register.py adds what it learns from to OpenVLA's tables, then runs the script named after it.
PYTHONPATH="$here:$PWD" torchrun --standalone --nnodes 1 --nproc-per-node 1 "$here/register.py" \\
  --vla_path {model} \\
  --data_root_dir {root} \\
  --dataset_name {name} \\
  --run_root_dir "$here/runs" \\
  --adapter_tmp_dir "$here/adapter" \\
  --lora_rank 32 \\
  --batch_size 2 \\
  --grad_accumulation_steps 3 \\
  --learning_rate 5e-4 \\
  --max_steps {steps} \\
  --save_steps {save} \\
  --image_aug True \\
  --wandb_project "${{WANDB_PROJECT:-panda-jumpstart}}" \\
  --wandb_entity "${{WANDB_ENTITY:?set WANDB_ENTITY, or WANDB_MODE=offline and any name}}" "$@"
"""

_REGISTER = '''"""Tells OpenVLA of the datasets, whose actions are already as it wants them, and starts its script."""

import runpy

from prismatic.vla.datasets.rlds.oxe import OXE_NAMED_MIXTURES
from prismatic.vla.datasets.rlds.oxe.configs import OXE_DATASET_CONFIGS, ActionEncoding, StateEncoding
from prismatic.vla.datasets.rlds.oxe.transforms import OXE_STANDARDIZATION_TRANSFORMS

NAMES = {names}
for name in NAMES:
    OXE_DATASET_CONFIGS[name] = {{
        "image_obs_keys": {{"primary": "image", "secondary": None, "wrist": None}},
        "depth_obs_keys": {{"primary": None, "secondary": None, "wrist": None}},
        "state_obs_keys": ["state"],
        "state_encoding": StateEncoding.POS_QUAT,
        "action_encoding": ActionEncoding.EEF_POS,
    }}
    OXE_STANDARDIZATION_TRANSFORMS[name] = lambda trajectory: trajectory
OXE_NAMED_MIXTURES["{name}"] = [(name, 1.0) for name in NAMES]  # by their sizes, as its loader balances them

runpy.run_path("vla-scripts/finetune.py", run_name="__main__")
'''

_OCTO = """#!/usr/bin/env bash
# All weights, batch 64 (RLDG).
set -euo pipefail
: "${{OCTO:?set OCTO to a checkout of octo}}"
here="$(cd "$(dirname "${{BASH_SOURCE[0]}}")" && pwd)"
cd "$OCTO"
PYTHONPATH="$here:$PWD" python scripts/finetune.py \\
  --config "$here/config.py:full,language_conditioned" \\
  --config.pretrained_path {model} \\
  --config.save_dir "$here/runs" \\
  --config.batch_size 64 \\
  --config.num_steps {steps} \\
  --config.optimizer.learning_rate.warmup_steps {warmup} \\
  --config.save_interval {save} "$@"
"""

_OCTO_CONFIG = '''"""Octo's own fine-tuning config, with this dataset in it."""

import importlib.util

from octo.utils.spec import ModuleSpec

_SPEC = importlib.util.spec_from_file_location("octo_finetune", "scripts/configs/finetune_config.py")
_OCTO = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(_OCTO)


def get_config(config_string="full,language_conditioned"):
    config = _OCTO.get_config(config_string)
    config.dataset_kwargs = {{
        "name": "{name}",
        "data_dir": "{root}",
        "image_obs_keys": {{"primary": {primary!r}, "wrist": "image"}},
        "language_key": "language_instruction",
        "action_proprio_normalization_type": "normal",
        "action_normalization_mask": [True] * 6 + [False],
        "standardize_fn": ModuleSpec.create("standardize:unchanged"),
    }}
    return config
'''

_STANDARDIZE = '''"""The export's actions are already as Octo wants them; it sees pictures only, as in RLDG."""


def unchanged(trajectory):
    return trajectory
'''
