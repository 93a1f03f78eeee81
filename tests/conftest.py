"""What every test gets: the environment's settings, and a policy that is valid and never moves."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

import _environment
from contract import artifact
from contract.observation import observation_size
from contract.tasks import LIFT_CUBE

for _name, _value in _environment.DEFAULTS.items():
    os.environ.setdefault(_name, _value)
os.environ["PANDA_JUMPSTART_ENVIRONMENT"] = str(_environment.VENV)


@pytest.fixture(scope="session")
def still_policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A policy folder that loads, and never moves."""
    size = observation_size(LIFT_CUBE)
    tensors = {"normaliser.mean": np.zeros(size), "normaliser.std": np.ones(size)}
    tensors |= {"actor.0.weight": np.zeros((7, size)), "actor.0.bias": np.zeros(7)}
    folder = tmp_path_factory.mktemp("policies") / "still"
    return artifact.write(folder, LIFT_CUBE, tensors, b"", np.zeros((1, size)), {"commit": "test", "env_steps": 0})
