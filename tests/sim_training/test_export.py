"""The exported folder computes what torch trained."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from contract import artifact
from contract.observation import observation_size
from contract.tasks import LIFT_CUBE
from sim_training.export import ExportMismatch, export_artifact, export_policy
from sim_training.networks import ActorCritic

N = observation_size(LIFT_CUBE)


def actor() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(N, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 7))


def test_torch_numpy_and_onnx_give_the_same_actions(tmp_path: Path) -> None:
    network = actor()
    mean, std = torch.randn(N), torch.rand(N) + 0.1
    observations = torch.randn(32, N) * 3
    folder = export_artifact(tmp_path / "p", LIFT_CUBE, mean, std, network, observations, {"seed": 0, "success": 0.9})
    with torch.no_grad():
        expected = network(((observations - mean) / std).clip(-10, 10)).clip(-1, 1).numpy()
    policy = artifact.load(folder, LIFT_CUBE)
    np.testing.assert_allclose(policy.act(observations.numpy()), expected, atol=1e-5)
    session = onnxruntime.InferenceSession(folder / "policy.onnx", providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(session.run(None, {"observation": observations.numpy()})[0], expected, atol=1e-5)


def test_the_exported_policy_is_the_mean_of_the_trained_one(tmp_path: Path) -> None:
    torch.manual_seed(1)
    model = ActorCritic(policy_size=N, observation_size=N + 16, log_std=[-0.5] * 7, hidden=32)
    torch.nn.init.normal_(model.actor[-1].weight, std=0.3)
    batch = torch.randn(500, N + 16) * 2 + 1
    model.normaliser.update(batch.mean(0), batch.var(0), len(batch))
    folder = export_policy(tmp_path / "p", LIFT_CUBE, model, batch[:16, :N], {"seed": 1})
    with torch.no_grad():
        expected = model.mean(batch).clip(-1, 1).numpy()
    np.testing.assert_allclose(artifact.load(folder, LIFT_CUBE).act(batch[:, :N].numpy()), expected, atol=1e-5)


def test_provenance_says_command_commit_and_versions_without_the_place_it_was_made_at(tmp_path: Path) -> None:
    folder = export_artifact(tmp_path / "p", LIFT_CUBE, torch.zeros(N), torch.ones(N), actor(), torch.zeros(2, N), {})
    provenance = artifact.load(folder, LIFT_CUBE).card["provenance"]
    assert {"command", "commit", "versions"} <= set(provenance)
    assert provenance["versions"]["torch"] == torch.__version__.split("+")[0]
    assert str(Path(artifact.__file__).parent.parent) not in (folder / "contract.json").read_text()


def test_a_network_that_the_policy_file_cannot_hold_is_refused(tmp_path: Path) -> None:
    relu = nn.Sequential(nn.Linear(N, 8), nn.ReLU(), nn.Linear(8, 7))
    with pytest.raises(ExportMismatch, match="Tanh"):
        export_artifact(tmp_path / "p", LIFT_CUBE, torch.zeros(N), torch.ones(N), relu, torch.zeros(2, N), {})
