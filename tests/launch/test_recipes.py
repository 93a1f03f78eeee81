"""Recipes for large generalists: what the export says is in them, and what is no export is refused."""

from __future__ import annotations

import ast
import json
import subprocess
from pathlib import Path
from typing import Any

import finetune
import pytest

import _recipes


def export(
    folder: Path, name: str = "lift_cube", cameras: tuple[str, ...] = ("image", "image_front"), frame: str = "base"
) -> Path:
    """What of an RLDS export a recipe reads."""
    inside = folder / name / _recipes.VERSION
    inside.mkdir(parents=True)
    splits = [{"name": "train", "shardLengths": ["60", "30"]}, {"name": "val", "shardLengths": ["10"]}]
    (inside / "dataset_info.json").write_text(json.dumps({"name": name, "splits": splits}))
    observation = {"featuresDict": {"features": {key: {} for key in (*cameras, "state")}}}
    step: dict[str, Any] = {"observation": observation, "action": {}, "language_instruction": {}}
    steps = {"sequence": {"feature": {"featuresDict": {"features": step}}}}
    (inside / "features.json").write_text(json.dumps({"featuresDict": {"features": {"steps": steps}}}))
    (folder / name / "export.json").write_text(json.dumps({"frame": frame}))
    return folder / name


def test_the_recipe_for_openvla_is_rldgs(tmp_path: Path) -> None:
    finetune.recipe(finetune.Openvla((export(tmp_path),), tmp_path / "recipe"))
    script = (tmp_path / "recipe" / "finetune.sh").read_text()
    for words in ("--lora_rank 32", "--batch_size 2 ", "--grad_accumulation_steps 3", "--dataset_name lift_cube"):
        assert words in script
    register = (tmp_path / "recipe" / "register.py").read_text()
    ast.parse(register)
    assert "NAMES = ['lift_cube']" in register


def test_several_experts_are_one_mixture_for_openvla_and_too_many_for_octo(tmp_path: Path) -> None:
    both = export(tmp_path, "lift_cube"), export(tmp_path, "push_cube")
    finetune.recipe(finetune.Openvla(both, tmp_path / "recipe"))
    assert "--dataset_name lift_cube+push_cube" in (tmp_path / "recipe" / "finetune.sh").read_text()
    register = (tmp_path / "recipe" / "register.py").read_text()
    ast.parse(register)
    assert 'OXE_NAMED_MIXTURES["lift_cube+push_cube"]' in register
    assert "180 episodes to train on" in (tmp_path / "recipe" / "README.md").read_text()
    with pytest.raises(_recipes.BadExport, match="one dataset"):
        finetune.recipe(finetune.Octo(both, tmp_path / "other"))
    apart = both[0], export(tmp_path / "elsewhere", "push_cube")
    with pytest.raises(_recipes.BadExport, match="beside each other"):
        finetune.recipe(finetune.Openvla(apart, tmp_path / "other"))
    unlike = both[0], export(tmp_path, "pull_cube", frame="wrist")
    with pytest.raises(_recipes.BadExport, match="export them alike"):
        finetune.recipe(finetune.Openvla(unlike, tmp_path / "other"))
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("steps", [1, 900, 5000, 12_000, 20_000])
def test_what_was_trained_is_saved_at_the_end_at_the_latest(steps: int) -> None:
    every = _recipes.save_every(steps)
    assert 1 <= every <= min(steps, 7500)
    assert steps % every <= steps // 5000, "only a few steps after the last time it is saved"


def test_the_recipe_for_octo_is_rldgs(tmp_path: Path) -> None:
    finetune.recipe(finetune.Octo((export(tmp_path),), tmp_path / "recipe"))
    script = (tmp_path / "recipe" / "finetune.sh").read_text()
    assert "--config.batch_size 64" in script
    assert "full,language_conditioned" in script
    config = (tmp_path / "recipe" / "config.py").read_text()
    ast.parse(config)
    assert '{"primary": \'image_front\', "wrist": "image"}' in config


@pytest.mark.parametrize("kind", [finetune.Openvla, finetune.Octo])
def test_bash_can_read_the_scripts(tmp_path: Path, kind: type[finetune.Openvla] | type[finetune.Octo]) -> None:
    finetune.recipe(kind((export(tmp_path),), tmp_path / "recipe"))
    subprocess.run(["bash", "-n", str(tmp_path / "recipe" / "finetune.sh")], check=True)


def test_an_export_of_the_wrist_alone_has_no_primary_picture_for_octo(tmp_path: Path) -> None:
    finetune.recipe(finetune.Octo((export(tmp_path, cameras=("image",)),), tmp_path / "recipe"))
    assert '"primary": None' in (tmp_path / "recipe" / "config.py").read_text()
    assert "serve_teacher" not in (tmp_path / "recipe" / "README.md").read_text()


@pytest.mark.parametrize(("kind", "camera"), [(finetune.Openvla, "wrist"), (finetune.Octo, "front")])
def test_as_a_teacher_it_is_shown_what_it_learnt_from(tmp_path: Path, kind: Any, camera: str) -> None:
    finetune.recipe(kind((export(tmp_path),), tmp_path / "recipe"))
    assert (tmp_path / "recipe" / "README.md").read_text().count(f":5570 --camera {camera}") == 2


def test_a_folder_that_exists_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "recipe").mkdir()
    with pytest.raises(finetune.OutInUse, match="exists"):
        finetune.recipe(finetune.Octo((export(tmp_path),), tmp_path / "recipe"))
    assert not any((tmp_path / "recipe").iterdir())


def test_what_is_no_export_is_refused_and_nothing_written(tmp_path: Path) -> None:
    with pytest.raises(_recipes.BadExport, match=r"dataset\.py export"):
        finetune.recipe(finetune.Octo((tmp_path / "nowhere",), tmp_path / "recipe"))
    folder = export(tmp_path, "other").rename(tmp_path / "renamed")
    with pytest.raises(_recipes.BadExport, match="'other'"):
        finetune.recipe(finetune.Octo((folder,), tmp_path / "recipe"))
    blind = export(tmp_path, "blind", cameras=())
    with pytest.raises(_recipes.BadExport, match="image"):
        finetune.recipe(finetune.Octo((blind,), tmp_path / "recipe"))
    assert not (tmp_path / "recipe").exists()
