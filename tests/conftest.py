"""What every test gets: the environment's settings, and a policy that is valid and never moves."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import _environment
from contract import artifact
from contract.observation import observation_size
from contract.tasks import LIFT_CUBE
from tests.hil.matrix import Matrix

for _name, _value in _environment.DEFAULTS.items():
    os.environ.setdefault(_name, _value)
os.environ["PANDA_JUMPSTART_ENVIRONMENT"] = str(_environment.VENV)


def pytest_collection_finish() -> None:
    """What was imported need not be looked through again: with torch and all, garbage collection takes half a second,
    in which a client sends no setpoints."""
    gc.collect()
    gc.freeze()


def pytest_addoption(parser: pytest.Parser) -> None:
    """How often, and where to, for the fault matrix."""
    parser.addoption("--fault-matrix", type=Path, help="write what the tests of faults measured to this JSON file")
    parser.addoption("--repeats", type=int, default=1, help="how often each test of a fault makes it happen")


@pytest.fixture(scope="session")
def matrix(request: pytest.FixtureRequest) -> Iterator[Matrix]:
    """What the tests of faults measure."""
    matrix = Matrix(request.config.getoption("--repeats"))
    yield matrix
    if file := request.config.getoption("--fault-matrix"):
        matrix.write(file)


@pytest.fixture(scope="session")
def still_policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A policy folder that loads, and never moves."""
    size = observation_size(LIFT_CUBE)
    tensors = {"normaliser.mean": np.zeros(size), "normaliser.std": np.ones(size)}
    tensors |= {"actor.0.weight": np.zeros((7, size)), "actor.0.bias": np.zeros(7)}
    folder = tmp_path_factory.mktemp("policies") / "still"
    return artifact.write(folder, LIFT_CUBE, tensors, b"", np.zeros((1, size)), {"commit": "test", "env_steps": 0})
