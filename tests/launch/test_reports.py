"""A report's folder is made before the work, and its file is whole or not there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import _reports


def test_the_folder_is_made_and_the_figures_are_written(tmp_path: Path) -> None:
    path = tmp_path / "runs" / "today" / "report.json"
    _reports.check(path, None)
    assert list(path.parent.iterdir()) == []
    _reports.write(path, {"success": 0.5})
    assert json.loads(path.read_text()) == {"success": 0.5}
    assert list(path.parent.iterdir()) == [path]


def test_what_cannot_be_written_is_told_before_anything_starts(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path, tmp_path / "file" / "report.json"):
        with pytest.raises(_reports.CannotWrite, match="cannot be written: name a file in a folder"):
            _reports.check(path)


def test_what_cannot_be_written_at_the_end_is_told_too_and_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.mkdir()
    with pytest.raises(_reports.CannotWrite, match="cannot be written"):
        _reports.write(path, {"trials": 1})
    assert list(tmp_path.iterdir()) == [path]


def test_figures_that_are_no_json_leave_the_report_before_them(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    _reports.write(path, {"trials": 1})
    with pytest.raises(TypeError):
        _reports.write(path, {"trials": object()})
    assert json.loads(path.read_text()) == {"trials": 1}
