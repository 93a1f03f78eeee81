"""The rules of the house that can be read off its imports: arrows point down, and each big library has one door."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent

MAY_IMPORT = {
    "contract": set(),
    "safety": {"contract"},
    "perception": {"contract"},
    "calibration": {"contract", "perception", "safety"},
    "robot_runtime": {"contract", "perception", "safety", "calibration"},
    "sim_training": {"contract"},
    "launch": {"contract", "perception", "safety", "calibration", "robot_runtime", "sim_training"},
}

DOORS = {
    "ultralytics": ["perception/train_detector.py", "perception/detector_runtimes.py"],
    "openvino": ["perception/detector_runtimes.py"],
    "pyrealsense2": ["perception/realsense/*"],
    "franky": ["robot_runtime/franka.py", "robot_runtime/gripper.py"],
    "mani_skill": ["sim_training/*"],
    "sapien": ["sim_training/*"],
    "mujoco": ["robot_runtime/mock_cell/*"],
    "franky_sim": ["robot_runtime/mock_cell/*"],
    "pyspacemouse": ["robot_runtime/teleoperation/spacemouse.py"],
}

CONTRACT_MAY_USE = {"numpy", "safetensors"}


class Import(NamedTuple):
    """One import statement. file: path from the root. top_level: runs when the file is imported."""

    file: str
    line: int
    module: str
    top_level: bool

    @property
    def package(self) -> str:
        return self.module.partition(".")[0]

    def __str__(self) -> str:
        return f"{self.file}:{self.line} imports {self.module}"


def imports_of(path: Path) -> Iterator[Import]:
    file = path.relative_to(ROOT).as_posix()
    tree = ast.parse(path.read_text())
    lazy = {
        id(inner)
        for outer in ast.walk(tree)
        if isinstance(outer, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for inner in ast.walk(outer)
    }
    typing_only = {
        id(inner)
        for outer in ast.walk(tree)
        if isinstance(outer, ast.If) and "TYPE_CHECKING" in ast.unparse(outer.test)
        for inner in ast.walk(outer)
    }
    for node in ast.walk(tree):
        top_level = id(node) not in lazy and id(node) not in typing_only
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(file, node.lineno, alias.name, top_level)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}:{node.lineno}: relative import; write the full name"
            for alias in node.names:
                yield Import(file, node.lineno, f"{node.module}.{alias.name}", top_level)


def all_imports() -> list[Import]:
    files = [path for folder in MAY_IMPORT for path in sorted((ROOT / folder).rglob("*.py"))]
    return [found for path in files for found in imports_of(path)]


IMPORTS = all_imports()


def describe(imports: list[Import]) -> str:
    return "\n".join(map(str, imports))


def test_the_walk_sees_the_project() -> None:
    assert {found.file.partition("/")[0] for found in IMPORTS} >= {"contract", "robot_runtime", "sim_training"}
    assert any(not found.top_level for found in IMPORTS), "lazy imports are recognised"


@pytest.mark.parametrize("folder", sorted(MAY_IMPORT))
def test_arrows_point_down_only(folder: str) -> None:
    ours = set(MAY_IMPORT)
    allowed = MAY_IMPORT[folder] | {folder}
    wrong = [i for i in IMPORTS if i.file.startswith(f"{folder}/") and i.package in ours - allowed]
    assert not wrong, describe(wrong)


def test_nothing_imports_a_launch_program() -> None:
    wrong = [i for i in IMPORTS if i.package == "launch"]
    assert not wrong, describe(wrong)


@pytest.mark.parametrize("library", sorted(DOORS))
def test_a_big_library_is_imported_at_its_door_only(library: str) -> None:
    wrong = [i for i in IMPORTS if i.package == library and not any(fnmatch(i.file, door) for door in DOORS[library])]
    assert not wrong, describe(wrong)


@pytest.mark.parametrize("library", ["ultralytics", "pyrealsense2", "franky", "pyspacemouse"])
def test_libraries_that_need_hardware_or_seconds_are_imported_when_used(library: str) -> None:
    wrong = [i for i in IMPORTS if i.package == library and i.top_level]
    assert not wrong, describe(wrong)


def test_the_contract_needs_numpy_and_nothing_heavier() -> None:
    known = set(sys.stdlib_module_names) | {"contract"} | CONTRACT_MAY_USE
    wrong = [i for i in IMPORTS if i.file.startswith("contract/") and i.package not in known]
    assert not wrong, describe(wrong)


def test_the_runtime_cannot_see_the_truth_of_the_mock_cell() -> None:
    inside = "robot_runtime/mock_cell/"
    wrong = [
        i
        for i in IMPORTS
        if i.module.startswith("robot_runtime.mock_cell")
        and not i.file.startswith(inside)
        and not i.file.startswith("launch/")
    ]
    assert not wrong, describe(wrong)


def test_the_runtime_does_not_ask_whether_it_is_on_the_mock_cell() -> None:
    files = [p for p in (ROOT / "robot_runtime").rglob("*.py") if "mock_cell" not in p.parts]
    asked = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in files
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.If | ast.IfExp) and "mock" in ast.unparse(node.test).lower()
    ]
    assert not asked, asked
