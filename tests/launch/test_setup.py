"""Set-up is instantaneous once done, tells what it would install, and never half-finishes without saying so."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from sim_training import vulkan

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """What set-up reads of a clone, with nothing installed."""
    for name in ("launch/setup.sh", "requirements.lock", "sim_training/vulkan.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def program(folder: Path, name: str, body: str) -> None:
    (folder / name).write_text(f"#!/bin/bash\n{body}\n")
    (folder / name).chmod(0o755)


def test_the_lock_names_no_index_and_pins_every_package_by_hash() -> None:
    lock = (ROOT / "requirements.lock").read_text()
    assert "://" not in lock
    assert "--index" not in lock
    packages = re.findall(r"^(\S+)==", lock, flags=re.M)
    wanted = {"torch", "mani-skill", "franky-control", "franky-sim", "pyrealsense2", "ultralytics", "openvino", "uv"}
    assert wanted <= set(packages)
    for entry in re.split(r"\n(?=\S)", lock.strip()):
        assert "--hash=sha256:" in entry, entry[:60]


def test_a_finished_set_up_returns_at_once(clone: Path) -> None:
    stamp = subprocess.run(
        ["bash", "-c", '{ cat requirements.lock launch/setup.sh; echo "$PWD"; } | sha256sum | cut -d" " -f1'],
        cwd=clone,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    (clone / ".venv" / "bin").mkdir(parents=True)
    program(clone / ".venv" / "bin", "python", "exit 1")
    (clone / ".venv" / ".set-up").write_text(stamp)
    begin = time.monotonic()
    subprocess.run([clone / "launch" / "setup.sh"], check=True, timeout=10)
    assert time.monotonic() - begin < 0.3


def test_without_root_the_exact_command_is_printed(clone: Path, tmp_path: Path) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    program(tools, "sudo", "exit 1")
    program(tools, "python3", "exit 1")  # neither venv nor a Vulkan device
    program(tools, "apt-get", "echo 'bookworm mirror://debian/'")
    script = (clone / "launch" / "setup.sh").read_text()
    script = script.replace("$EUID == 0", "1 == 0").replace(". /etc/os-release && ", "VERSION_CODENAME=bookworm; ")
    (clone / "launch" / "setup.sh").write_text(script)
    environment = {**os.environ, "PATH": f"{tools}:{os.environ['PATH']}"}
    done = subprocess.run([clone / "launch" / "setup.sh"], env=environment, capture_output=True, text=True, timeout=30)
    assert done.returncode == 1
    assert "sudo bash -e" in done.stderr
    assert "URIs: mirror://debian/" in done.stderr, "backports come from the mirror the machine already uses"
    assert "-t bookworm-backports" in done.stderr
    assert "python3-venv" in done.stderr
    assert not (clone / ".venv").exists()


@pytest.mark.parametrize(
    ("driver", "version"),
    [
        ("Mesa 25.0.7-2~bpo12+1 (LLVM 15.0.6)", (25, 0)),
        ("Mesa 22.3.6 (LLVM 15.0.6)", (22, 3)),
        ("some other driver", (0, 0)),
    ],
)
def test_the_software_driver_is_judged_by_its_mesa_version(driver: str, version: tuple[int, int]) -> None:
    assert vulkan._mesa_version(driver) == version


def test_no_vulkan_driver_is_one_clear_sentence() -> None:
    environment = {**os.environ, "VK_ICD_FILENAMES": "/dev/null", "VK_DRIVER_FILES": "/dev/null"}
    done = subprocess.run(
        ["python3", ROOT / "sim_training" / "vulkan.py"], env=environment, capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 1
    assert "setup.sh" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
