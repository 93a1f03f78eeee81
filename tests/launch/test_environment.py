"""A program started outside the environment sets it up and restarts itself inside; nobody installs by hand."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent

PROGRAM = """#!/usr/bin/env python3
import _environment; _environment.enter()
import os, sys
print("inside", sys.prefix, os.environ["MUJOCO_GL"], sys.argv[1:])
"""


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A clone whose set-up only makes an empty environment and counts how often it did."""
    launch = tmp_path / "launch"
    launch.mkdir()
    shutil.copy(ROOT / "launch" / "_environment.py", launch)
    (launch / "program.py").write_text(PROGRAM)
    (launch / "setup.sh").write_text(
        "#!/bin/sh\ncd $(dirname $0)/..\necho run >> setups\n"
        f"[ -e .venv ] || {sys.executable} -m venv --without-pip .venv\n"
    )
    for file in launch.iterdir():
        file.chmod(0o755)
    return tmp_path


def start(clone: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    outside = {"PATH": os.environ["PATH"], **environment}
    return subprocess.run([*arguments], cwd="/", env=outside, capture_output=True, text=True, timeout=60)


def test_a_program_restarts_itself_inside_with_its_arguments(clone: Path) -> None:
    done = start(clone, str(clone / "launch" / "program.py"), "--task", "lift cube")
    assert done.stdout.split("\n")[0] == f"inside {clone / '.venv'} egl ['--task', 'lift cube']", done.stderr
    assert (clone / "setups").read_text().count("run") == 1


def test_a_default_never_replaces_what_the_user_has_set(clone: Path) -> None:
    done = start(clone, str(clone / "launch" / "program.py"), MUJOCO_GL="osmesa")
    assert "osmesa" in done.stdout


def test_a_program_does_not_start_when_set_up_failed(clone: Path) -> None:
    (clone / "launch" / "setup.sh").write_text("#!/bin/sh\necho no root >&2\nexit 3\n")
    done = start(clone, str(clone / "launch" / "program.py"))
    assert (done.returncode, done.stdout, done.stderr) == (3, "", "no root\n")


def test_ctrl_c_while_a_program_loads_is_one_word_not_a_traceback(clone: Path) -> None:
    with (clone / "launch" / "program.py").open("a") as program:
        program.write("raise KeyboardInterrupt\n")
    done = start(clone, str(clone / "launch" / "program.py"))
    assert done.stderr == "Interrupted.\n"
    assert done.returncode != 0


def test_shell_scripts_run_modules_of_the_environment(clone: Path) -> None:
    done = start(clone, str(clone / "launch" / "_environment.py"), "-c", "import sys; print(sys.prefix)")
    assert done.stdout.strip() == str(clone / ".venv"), done.stderr


def test_exit_code_and_interpreter_survive_the_restart(clone: Path) -> None:
    assert start(clone, str(clone / "launch" / "_environment.py"), "-c", "raise SystemExit(7)").returncode == 7


@pytest.mark.parametrize("program", sorted((ROOT / "launch").glob("[a-z]*.py")), ids=lambda path: path.name)
def test_every_launch_program_can_be_started_as_it_is(program: Path) -> None:
    text = program.read_text()
    assert text.startswith("#!/usr/bin/env python3\n")
    assert os.access(program, os.X_OK), "not executable: chmod +x"
    heavy_before = text.partition("_environment.enter()")[0]
    assert heavy_before != text, "does not enter the environment"
    for package in ("numpy", "tyro", "contract", "robot_runtime", "sim_training", "perception"):
        assert f"import {package}" not in heavy_before, f"imports {package} before it enters"
        assert f"from {package}" not in heavy_before, f"imports {package} before it enters"


@pytest.mark.parametrize("script", sorted((ROOT / "launch").glob("*.sh")), ids=lambda path: path.name)
def test_every_shell_script_stops_at_its_first_error(script: Path) -> None:
    text = script.read_text()
    assert os.access(script, os.X_OK)
    assert "set -euo pipefail" in text
    subprocess.run(["bash", "-n", script], check=True)
