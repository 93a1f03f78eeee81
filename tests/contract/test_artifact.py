"""What a policy folder promises: it loads only when it is whole, unchanged, and made for this very contract."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from contract import artifact
from contract.observation import observation_size
from contract.tasks import LIFT_CUBE

OBSERVATION_SIZE = observation_size(LIFT_CUBE)


def random_tensors(seed: int = 0, hidden: int = 16) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    widths = [OBSERVATION_SIZE, hidden, hidden, 7]
    tensors = {
        "normaliser.mean": rng.normal(size=OBSERVATION_SIZE),
        "normaliser.std": rng.uniform(0.1, 2, OBSERVATION_SIZE),
    }
    for i in range(3):
        tensors[f"actor.{i}.weight"] = rng.normal(size=(widths[i + 1], widths[i])) / np.sqrt(widths[i])
        tensors[f"actor.{i}.bias"] = rng.normal(size=widths[i + 1]) * 0.1
    return tensors


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    observations = np.random.default_rng(1).normal(size=(8, OBSERVATION_SIZE))
    return artifact.write(
        tmp_path / "lift_cube", LIFT_CUBE, random_tensors(), b"onnx", observations, {"seed": 3, "commit": "abc"}
    )


def test_a_written_policy_loads_and_gives_its_golden_actions(folder: Path) -> None:
    policy = artifact.load(folder, LIFT_CUBE)
    golden = np.load(folder / "golden.npz")
    np.testing.assert_allclose(policy.act(golden["observations"]), golden["actions"], atol=1e-6)
    assert policy.act(golden["observations"][0]).shape == (7,)
    assert policy.card["provenance"]["seed"] == 3


def test_actions_are_the_clipped_output_of_a_tanh_network_on_clipped_normalised_observations() -> None:
    tensors = random_tensors()
    policy = artifact.policy_from_tensors(LIFT_CUBE, tensors, {})
    observation = np.full(OBSERVATION_SIZE, 1e6)  # far outside: the clip at 10 decides
    hidden = np.full(OBSERVATION_SIZE, 10.0)
    for i in range(2):
        hidden = np.tanh(tensors[f"actor.{i}.weight"] @ hidden + tensors[f"actor.{i}.bias"])
    expected = np.clip(tensors["actor.2.weight"] @ hidden + tensors["actor.2.bias"], -1, 1)
    np.testing.assert_allclose(policy.act(observation), expected, atol=1e-4)
    assert np.abs(policy.act(np.random.default_rng(2).normal(size=(100, OBSERVATION_SIZE)) * 100)).max() <= 1.0


def test_the_card_names_every_number_that_goes_in_and_out(folder: Path) -> None:
    card = json.loads((folder / "contract.json").read_text())
    assert sum(field["size"] for field in card["observation"]) == OBSERVATION_SIZE
    assert sum(field["size"] for field in card["action"]) == 7
    assert all(field["unit"] for field in card["observation"] + card["action"])
    assert card["task"]["name"] == "lift_cube"
    assert set(card["files"]) == set(artifact.FILES)


def test_a_folder_that_is_not_there_is_missing(tmp_path: Path) -> None:
    with pytest.raises(artifact.ArtifactMissing, match="train_sim"):
        artifact.load(tmp_path / "nothing", LIFT_CUBE)


@pytest.mark.parametrize("name", artifact.FILES)
def test_a_folder_without_one_of_its_files_is_missing_it(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(artifact.ArtifactMissing, match=name):
        artifact.load(folder, LIFT_CUBE)


@pytest.mark.parametrize("name", [*artifact.FILES, artifact.CONTRACT])
def test_a_truncated_file_is_named(folder: Path, name: str) -> None:
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(artifact.ArtifactTruncated, match=name):
        artifact.load(folder, LIFT_CUBE)


@pytest.mark.parametrize("name", artifact.FILES)
def test_one_flipped_bit_in_any_file_is_noticed(folder: Path, name: str) -> None:
    content = bytearray((folder / name).read_bytes())
    content[-1] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(artifact.ArtifactTampered, match=name):
        artifact.load(folder, LIFT_CUBE)


def test_an_edited_card_is_noticed(folder: Path) -> None:
    path = folder / artifact.CONTRACT
    path.write_text(path.read_text().replace('"translation_scale_m": 0.012', '"translation_scale_m": 0.112'))
    with pytest.raises(artifact.ArtifactTampered, match="contract.json"):
        artifact.load(folder, LIFT_CUBE)


def test_golden_actions_that_do_not_come_out_are_noticed(folder: Path) -> None:
    golden = dict(np.load(folder / "golden.npz"))
    golden["actions"][0, 0] += 1e-3
    np.savez(folder / "golden.npz", **golden)
    card = json.loads((folder / artifact.CONTRACT).read_text())
    card["files"]["golden.npz"] = artifact.fingerprint(folder / "golden.npz")
    card.pop("sha256")
    (folder / artifact.CONTRACT).write_text(json.dumps({**card, "sha256": artifact._card_digest(card)}))
    with pytest.raises(artifact.ArtifactTampered, match="golden"):
        artifact.load(folder, LIFT_CUBE)


def test_a_policy_of_another_task_is_refused_by_name(folder: Path) -> None:
    with pytest.raises(artifact.ArtifactOfAnotherTask, match="'lift_cube', not for 'stack_cube'"):
        artifact.load(folder, replace(LIFT_CUBE, name="stack_cube"))


def test_a_policy_trained_under_other_numbers_is_out_of_date(folder: Path) -> None:
    with pytest.raises(artifact.ArtifactOutOfDate, match="abc"):
        artifact.load(folder, replace(LIFT_CUBE, translation_scale_m=0.01))


def test_other_randomisation_does_not_make_a_policy_out_of_date(folder: Path) -> None:
    from contract.task_spec import Randomisation, Range

    artifact.load(folder, replace(LIFT_CUBE, randomisation=Randomisation(friction=Range(0.1, 0.2))))


def test_a_failed_write_leaves_the_older_policy_whole(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> str:
        raise OSError("disk full")

    monkeypatch.setattr(artifact, "_readme", broken)
    with pytest.raises(OSError, match="disk full"):
        artifact.write(folder, LIFT_CUBE, random_tensors(5), b"", np.zeros((1, OBSERVATION_SIZE)), {})
    artifact.load(folder, LIFT_CUBE)
    assert [path.name for path in folder.parent.iterdir()] == ["lift_cube"]


def test_writing_again_replaces_the_older_policy(folder: Path) -> None:
    artifact.write(folder, LIFT_CUBE, random_tensors(5), b"", np.zeros((1, OBSERVATION_SIZE)), {"seed": 4})
    assert artifact.load(folder, LIFT_CUBE).card["provenance"]["seed"] == 4
    assert [path.name for path in folder.parent.iterdir()] == ["lift_cube"]


@pytest.mark.parametrize("spoil", ["normaliser.std", "actor.1.weight"])
def test_tensors_that_do_not_fit_the_task_are_refused(spoil: str) -> None:
    tensors = random_tensors()
    tensors[spoil] = tensors[spoil][:-1]
    with pytest.raises(artifact.ArtifactTampered):
        artifact.policy_from_tensors(LIFT_CUBE, tensors, {})
