"""From a trained torch actor to the policy folder of `contract.artifact`."""

from __future__ import annotations

import importlib.metadata
import platform
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from contract import artifact
from contract.task_spec import TaskSpec
from sim_training.networks import ActorCritic

_PACKAGES = ("numpy", "torch", "mani_skill", "sapien")


class ExportMismatch(RuntimeError):
    """What was written does not compute what was trained."""


def export_policy(
    folder: Path | str, spec: TaskSpec, model: ActorCritic, observations: Any, provenance: Mapping[str, Any]
) -> Path:
    """Writes what of a trained model runs on the robot. observations: golden ones. Shape: (n, policy_size)"""
    seen, normaliser = slice(model.policy_size), model.normaliser
    return export_artifact(
        folder, spec, normaliser.mean[seen], normaliser.std[seen], model.deployed_actor(), observations, provenance
    )


def export_artifact(
    folder: Path | str,
    spec: TaskSpec,
    observation_mean: Any,
    observation_std: Any,
    actor: Any,
    golden_observations: Any,
    provenance: Mapping[str, Any],
) -> Path:
    """Writes the policy folder and checks that it computes what `actor` does. Returns the folder.

    observation_mean, observation_std: normaliser, torch or numpy. Shape: (observation_size,)
    actor: `nn.Sequential` of Linear and Tanh, or a list of (weight, bias); input is the normalised observation.
    golden_observations: real ones, not normalised. Shape: (n, observation_size)
    provenance: seed, env_steps, success, ...; command, commit and package versions are added here.
    Raises ExportMismatch.
    """
    layers = _layers(actor)
    tensors = {"normaliser.mean": _array(observation_mean), "normaliser.std": _array(observation_std)}
    for index, (weight, bias) in enumerate(layers):
        tensors[f"actor.{index}.weight"], tensors[f"actor.{index}.bias"] = weight, bias
    observations = _array(golden_observations)
    graph = onnx_graph(tensors["normaliser.mean"], tensors["normaliser.std"], layers)
    numpy_actions = artifact.policy_from_tensors(spec, tensors, {}).act(observations)
    _require_equal("ONNX", _run_onnx(graph, observations), numpy_actions)
    if not isinstance(actor, list):
        _require_equal("the torch actor", _run_torch(actor, tensors, observations), numpy_actions)
    return artifact.write(folder, spec, tensors, graph, observations, {**circumstances(), **provenance})


def onnx_graph(mean: np.ndarray, std: np.ndarray, layers: Sequence[tuple[np.ndarray, np.ndarray]]) -> bytes:
    """Normaliser, tanh network and final clip as serialised ONNX. Shape: observation (batch, n) -> action (batch, 7)"""
    import onnx
    from onnx import helper, numpy_helper

    bound = artifact.OBSERVATION_CLIP
    constants: dict[str, Any] = {"mean": mean, "std": std, "low": -bound, "high": bound, "minus_one": -1, "one": 1}
    nodes = [
        helper.make_node("Sub", ["observation", "mean"], ["centred"]),
        helper.make_node("Div", ["centred", "std"], ["scaled"]),
        helper.make_node("Clip", ["scaled", "low", "high"], ["x0"]),
    ]
    for index, (weight, bias) in enumerate(layers):
        constants[f"weight{index}"], constants[f"bias{index}"] = weight, bias
        last = index == len(layers) - 1
        linear = f"linear{index}"
        nodes.append(helper.make_node("Gemm", [f"x{index}", f"weight{index}", f"bias{index}"], [linear], transB=1))
        nodes.append(
            helper.make_node("Clip", [linear, "minus_one", "one"], ["action"])
            if last
            else helper.make_node("Tanh", [linear], [f"x{index + 1}"])
        )
    graph = helper.make_graph(
        nodes,
        "policy",
        [helper.make_tensor_value_info("observation", onnx.TensorProto.FLOAT, ["batch", len(mean)])],
        [helper.make_tensor_value_info("action", onnx.TensorProto.FLOAT, ["batch", len(layers[-1][1])])],
        [numpy_helper.from_array(np.asarray(value, np.float32), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def _layers(actor: Any) -> list[tuple[np.ndarray, np.ndarray]]:
    if isinstance(actor, list):
        return [(_array(weight), _array(bias)) for weight, bias in actor]
    from torch import nn

    modules = list(actor)
    linear, between = modules[::2], modules[1::2]
    if not (all(isinstance(m, nn.Linear) for m in linear) and all(isinstance(m, nn.Tanh) for m in between)):
        raise ExportMismatch(f"Only Linear and Tanh in turn can be exported, ending on Linear; this is {actor}.")
    if len(modules) % 2 == 0:
        raise ExportMismatch("The actor must end on a Linear layer.")
    return [(_array(module.weight), _array(module.bias)) for module in linear]


def _array(values: Any) -> np.ndarray:
    if hasattr(values, "detach"):
        values = values.detach().cpu().numpy()
    return np.asarray(values, np.float32)


def _run_onnx(graph: bytes, observations: np.ndarray) -> np.ndarray:
    import onnxruntime

    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"observation": observations})[0])


def _run_torch(actor: Any, tensors: Mapping[str, np.ndarray], observations: np.ndarray) -> np.ndarray:
    import torch

    normalised = (observations - tensors["normaliser.mean"]) / tensors["normaliser.std"]
    clipped = np.clip(normalised, -artifact.OBSERVATION_CLIP, artifact.OBSERVATION_CLIP)
    parameter = next(actor.parameters())
    with torch.no_grad():
        mean = actor(torch.as_tensor(clipped).to(parameter))
    return np.clip(_array(mean), -1.0, 1.0)


def _require_equal(name: str, actions: np.ndarray, expected: np.ndarray) -> None:
    off = float(np.abs(actions - expected).max())
    if not off <= artifact.GOLDEN_TOLERANCE:
        raise ExportMismatch(f"{name} and the written weights differ by {off:.1e} in the action.")


def circumstances() -> dict[str, Any]:
    """Command, commit and versions of packages, for a provenance."""
    versions = {name: importlib.metadata.version(name) for name in _PACKAGES}
    git = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=12"],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    return {
        "command": command_line(*sys.argv),
        "commit": git.stdout.strip() or "unknown",
        "versions": {"python": platform.python_version(), **versions},
    }


def command_line(*arguments: str) -> str:
    """As one would type it in this repository's root: paths inside it without the machine's part."""
    root = str(Path(__file__).resolve().parent.parent) + "/"
    return shlex.join(argument.replace(root, "") for argument in arguments)
