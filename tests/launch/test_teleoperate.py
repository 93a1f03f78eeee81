"""Whatever a person who wants to drive gets wrong ends in one sentence, before anything moves or is written."""

from __future__ import annotations

import contextlib
import dataclasses
from pathlib import Path

import pytest
import teleoperate

from robot_runtime.cell import load_cell
from robot_runtime.collection.targets import Targets


def sentence(tmp_path: Path, **given: object) -> str:
    """What the program ends with."""
    plain: dict[str, object] = {"out": tmp_path / "episodes", "device": "clumsy"}
    run = teleoperate.Run(teleoperate.Arguments(**plain | given))  # type: ignore[arg-type]
    with contextlib.ExitStack() as stack, pytest.raises(teleoperate.EXPECTED) as raised:
        run.go(stack)
    assert not (tmp_path / "episodes").exists()
    return str(raised.value)


def test_arguments_that_cannot_be_meant(tmp_path: Path) -> None:
    assert "--speed is 2; it is a share of full speed" in sentence(tmp_path, speed=2.0)
    assert "--episodes and --seconds must be at least 1" in sentence(tmp_path, seconds=0.5)
    assert "did you mean 'red_cube'?" in sentence(tmp_path, variant="read_cube")
    assert "did you mean 'lift_cube'?" in sentence(tmp_path, task="lift_cub")


def test_no_keyboard_and_no_spacemouse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pyspacemouse

    def none_there(**_: object) -> None:
        raise RuntimeError("No connected or supported devices found.")

    assert "start this program from a terminal" in sentence(tmp_path, device="keyboard")
    monkeypatch.setattr(teleoperate, "open_keyboard", lambda arguments, hand: None)
    monkeypatch.setattr(pyspacemouse, "open", none_there)
    assert "plug it in, or use --device keyboard" in sentence(tmp_path, device="spacemouse")


def test_a_lab_is_spared_the_clumsy_hand(tmp_path: Path) -> None:
    lab = tmp_path / "lab.yaml"
    dataclasses.replace(load_cell("mock"), name="lab", mock=None, scoring=None).write(lab)
    assert "--device clumsy are for a mock cell: leave them out" in sentence(tmp_path, cell=str(lab))
    blind = tmp_path / "blind.yaml"
    dataclasses.replace(load_cell("mock"), name="blind", wrist_camera=None).write(blind)
    assert "has no wrist_camera, whose pictures episodes need" in sentence(tmp_path, cell=str(blind))


def test_failed_episodes_count_too() -> None:
    targets = Targets({"red_cube": teleoperate.Tried(2)})
    targets.add("red_cube", False, 3.0)
    assert (targets.missing, targets.next()) == (1, "red_cube")
    targets.add("red_cube", True, 3.0)
    assert (targets.missing, targets.next()) == (0, None)
    assert str(targets) == "red_cube 2/2, 1 succeeded"
