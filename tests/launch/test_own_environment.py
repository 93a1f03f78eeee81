"""A script with inline dependencies runs apart from our environment, and can import our packages."""

from __future__ import annotations

from pathlib import Path

import pytest

import _own_environment

SCRIPT = """# /// script
# requires-python = "==3.11.*"
# dependencies = []
# ///
import sys
from pathlib import Path
import robot_runtime
Path(sys.argv[1]).write_text(sys.stdin.read() + sys.prefix)
sys.exit(int(sys.argv[2]))
"""


def test_it_gets_its_arguments_and_input_and_is_not_in_our_environment(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    _own_environment.run(tmp_path / "script.py", [], [str(tmp_path / "said"), "0"], "job ")
    word, prefix = (tmp_path / "said").read_text().split()
    assert word == "job"
    assert Path(prefix).resolve() != _own_environment._environment.VENV.resolve()


def test_a_script_that_fails_is_told_of(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    with pytest.raises(_own_environment.ScriptFailed, match=r"script\.py ended with code 3"):
        _own_environment.run(tmp_path / "script.py", [], [str(tmp_path / "said"), "3"], "")
