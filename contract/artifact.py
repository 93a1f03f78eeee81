"""The policy file: a folder of plain numbers that names its task and proves, on loading, that it is what was trained.

policy.safetensors   normaliser and actor weights, evaluated here with numpy
policy.onnx          the same function for other runtimes
contract.json        task card, observation layout, action meaning, provenance, size and sha256 of every file
golden.npz           observations, and the actions that must come out for them
README.md            what it is, for people
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from contract.action import ACTION_SIZE
from contract.observation import layout, observation_size
from contract.task_spec import CONTRACT_VERSION, TaskSpec

FORMAT = 1
OBSERVATION_CLIP = 10.0
"""Normalised observations are clipped to ± this, in training and here."""

GOLDEN_TOLERANCE = 1e-5
CONTRACT = "contract.json"
FILES = ("policy.safetensors", "policy.onnx", "golden.npz", "README.md")


class ArtifactError(RuntimeError):
    """A policy folder that cannot be used."""


class ArtifactMissing(ArtifactError):
    """There is no policy at this place. Train one with ./launch/train_sim.sh or name another folder."""


class ArtifactTruncated(ArtifactError):
    """A file of the policy is incomplete. Copy or export it again."""


class ArtifactTampered(ArtifactError):
    """A file of the policy is not the one that was exported. Copy or export it again."""


class ArtifactOfAnotherTask(ArtifactError):
    """The policy was trained for a different task."""


class ArtifactOutOfDate(ArtifactError):
    """The policy was trained under another version of the contract. Train it again, or use the code it came from."""


@dataclass(frozen=True)
class Policy:
    """A trained actor: normaliser, then a tanh network, evaluated with numpy.

    mean, std: of the observations. Shape: (observation_size,)
    layers: weight (out, in) and bias (out,) of every linear layer; tanh between them, none after the last.
    card: everything contract.json says.
    """

    spec: TaskSpec
    mean: np.ndarray
    std: np.ndarray
    layers: tuple[tuple[np.ndarray, np.ndarray], ...]
    card: Mapping[str, Any]

    @property
    def weights_name(self) -> str:
        """Tells policies of one description apart."""
        return f"weights {self.card['files']['policy.safetensors']['sha256'][:12]}"

    def act(self, observation: np.ndarray) -> np.ndarray:
        """The mean action, normalised. Shape: (..., observation_size) -> (..., 7)"""
        x = np.asarray(observation, np.float32)
        x = np.clip((x - self.mean) / self.std, -OBSERVATION_CLIP, OBSERVATION_CLIP)
        for weight, bias in self.layers[:-1]:
            x = np.tanh(x @ weight.T + bias)
        weight, bias = self.layers[-1]
        return np.clip(x @ weight.T + bias, -1.0, 1.0)


def tensor_names(layer_count: int) -> list[str]:
    """Names in policy.safetensors, in the order of evaluation."""
    return ["normaliser.mean", "normaliser.std"] + [
        f"actor.{layer}.{part}" for layer in range(layer_count) for part in ("weight", "bias")
    ]


def policy_from_tensors(spec: TaskSpec, tensors: Mapping[str, np.ndarray], card: Mapping[str, Any]) -> Policy:
    """Assembles a policy. Raises ArtifactTampered when names or shapes are not those of this task."""
    count = sum(name.startswith("actor.") and name.endswith(".weight") for name in tensors)
    if count == 0 or sorted(tensors) != sorted(tensor_names(count)):
        raise ArtifactTampered(f"policy.safetensors holds {sorted(tensors)}, not a normaliser and an actor.")
    values = {name: np.asarray(tensor, np.float32) for name, tensor in tensors.items()}
    layers = tuple((values[f"actor.{i}.weight"], values[f"actor.{i}.bias"]) for i in range(count))
    widths = [observation_size(spec)] + [weight.shape[0] for weight, _ in layers]
    chained = all(w.shape == (widths[i + 1], widths[i]) and b.shape == w.shape[:1] for i, (w, b) in enumerate(layers))
    normaliser = values["normaliser.mean"].shape == values["normaliser.std"].shape == (widths[0],)
    if not (chained and normaliser and widths[-1] == ACTION_SIZE):
        raise ArtifactTampered(
            f"The shapes in policy.safetensors do not lead from {widths[0]} inputs to {ACTION_SIZE}."
        )
    return Policy(spec, values["normaliser.mean"], values["normaliser.std"], layers, card)


def load(folder: Path | str, spec: TaskSpec) -> Policy:
    """The policy in `folder`, verified against `spec`. Raises an ArtifactError that says what is wrong."""
    folder = Path(folder)
    card = _read_card(folder)
    if card["task"]["name"] != spec.name:
        raise ArtifactOfAnotherTask(
            f"{folder} was trained for '{card['task']['name']}', not for '{spec.name}': give --policy another folder."
        )
    if card["format"] != FORMAT or card["contract_hash"] != spec.contract_hash():
        raise ArtifactOutOfDate(
            f"{folder} was trained under contract {card['contract_hash'][:12]}, this code has"
            f" {spec.contract_hash()[:12]}: train it again, or use the commit it came from"
            f" ({card['provenance'].get('commit', 'unknown')})."
        )
    for name, expected in card["files"].items():
        _verify_file(folder / name, expected)
    from safetensors.numpy import load_file

    policy = policy_from_tensors(spec, load_file(folder / "policy.safetensors"), card)
    _verify_golden(folder, policy)
    return policy


def write(
    folder: Path | str,
    spec: TaskSpec,
    tensors: Mapping[str, np.ndarray],
    onnx: bytes,
    golden_observations: np.ndarray,
    provenance: Mapping[str, Any],
) -> Path:
    """Writes the folder whole or not at all, replacing an older one.

    tensors: named as in `tensor_names`. onnx: the serialised graph. golden_observations: (n, observation_size).
    provenance: command, commit, seed, env_steps, success, versions; plain JSON types.
    """
    from safetensors.numpy import save_file

    folder = Path(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    policy = policy_from_tensors(spec, tensors, {})
    observations = np.asarray(golden_observations, np.float32)
    staging = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        save_file(
            {name: np.ascontiguousarray(tensor, np.float32) for name, tensor in tensors.items()},
            staging / "policy.safetensors",
        )
        (staging / "policy.onnx").write_bytes(onnx)
        np.savez(staging / "golden.npz", observations=observations, actions=policy.act(observations))
        (staging / "README.md").write_text(_readme(spec, provenance))
        card = _card(spec, policy, provenance)
        card["files"] = {name: fingerprint(staging / name) for name in FILES}
        card["sha256"] = _card_digest(card)
        (staging / CONTRACT).write_text(json.dumps(card, indent=2) + "\n")
        staging.chmod(0o755)
        replace_folder(staging, folder)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return folder


def _card(spec: TaskSpec, policy: Policy, provenance: Mapping[str, Any]) -> dict[str, Any]:
    fields = [
        ("translation", 3, "m per tick, base frame", spec.translation_scale_m),
        ("rotation", 3, "rad per tick, rotation vector, base frame", list(spec.rotation_scale_rad)),
        ("gripper", 1, f"above {spec.gripper_threshold} opens, below -{spec.gripper_threshold} closes", 1.0),
    ]
    return {
        "format": FORMAT,
        "contract_version": CONTRACT_VERSION,
        "contract_hash": spec.contract_hash(),
        "task": spec.as_dict(),
        "rate_hz": spec.rate_hz,
        "frames": "robot base frame; metres, radians, seconds; quaternions wxyz",
        "observation": layout(spec),
        "action": [
            {"name": name, "size": size, "unit": unit, "full_scale": full_scale}
            for name, size, unit, full_scale in fields
        ],
        "normaliser": {"formula": "clip((x - mean) / std, -clip, clip)", "clip": OBSERVATION_CLIP},
        "network": {"activation": "tanh", "widths": [w.shape[1] for w, _ in policy.layers] + [ACTION_SIZE]},
        "provenance": json.loads(json.dumps(dict(provenance))),
    }


def _readme(spec: TaskSpec, provenance: Mapping[str, Any]) -> str:
    facts = "\n".join(f"- {name}: {value}" for name, value in provenance.items())
    return (
        f"# Policy for `{spec.name}`\n\n“{spec.instruction}”, {spec.rate_hz:g} decisions per second, trained in"
        f" simulation. Run it with\n\n    ./launch/run_robot.py --task {spec.name} --policy <this folder>\n\n"
        "`contract.json` says what every number in and out of `policy.safetensors` means; `policy.onnx` is the same\n"
        "function; `golden.npz` holds inputs and the outputs that must come out.\n\n"
        f"## Where it comes from\n\n{facts}\n"
    )


def _read_card(folder: Path) -> dict[str, Any]:
    try:
        text = (folder / CONTRACT).read_text()
    except OSError:
        raise ArtifactMissing(
            f"There is no policy in {folder}: train one with ./launch/train_sim.sh, or name its folder with --policy."
        ) from None
    try:
        card = json.loads(text)
        signed = card.pop("sha256")
    except (ValueError, KeyError, AttributeError):
        raise ArtifactTruncated(f"{folder / CONTRACT} is incomplete: copy or export the policy again.") from None
    if signed != _card_digest(card):
        raise ArtifactTampered(f"{folder / CONTRACT} was changed after export: copy or export the policy again.")
    return dict(card)


def _card_digest(card: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(card, sort_keys=True).encode()).hexdigest()


def fingerprint(path: Path) -> dict[str, Any]:
    """Size and digest of a file, for the card of its folder."""
    content = path.read_bytes()
    return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def _verify_file(path: Path, expected: Mapping[str, Any]) -> None:
    if not path.is_file():
        raise ArtifactMissing(f"{path} is missing: copy or export the policy again.")
    found = fingerprint(path)
    if found["bytes"] < expected["bytes"]:
        raise ArtifactTruncated(f"{path} has {found['bytes']} of {expected['bytes']} bytes: copy or export it again.")
    if found != expected:
        raise ArtifactTampered(f"{path} is not the file that was exported: copy or export the policy again.")


def _verify_golden(folder: Path, policy: Policy) -> None:
    with np.load(folder / "golden.npz", allow_pickle=False) as golden:
        off = float(np.abs(policy.act(golden["observations"]) - golden["actions"]).max())
    if not off <= GOLDEN_TOLERANCE:
        raise ArtifactTampered(f"{folder} gives actions {off:.1e} away from its golden ones: export the policy again.")


def replace_folder(staging: Path, folder: Path) -> None:
    """Put a finished folder in the place of an older one, or of none."""
    old = staging.with_name(staging.name + "-old")
    if folder.exists():
        os.rename(folder, old)
    try:
        os.rename(staging, folder)
    except OSError:
        if old.exists():
            os.rename(old, folder)
        raise
    shutil.rmtree(old, ignore_errors=True)
