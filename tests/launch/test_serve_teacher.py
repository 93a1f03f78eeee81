"""The programs around teachers that are served."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def test_adapters_are_named_to_a_person_who_names_none_of_them() -> None:
    done = subprocess.run(
        [ROOT / "launch" / "serve_teacher.py", "conversions"], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2
    assert "{lerobot,octo,openpi,openvla,tiny,keys}" in done.stderr


@pytest.mark.slow
def test_the_bench_measures_every_way_beside_http(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    small = ["--clients", "1", "2", "--rows", "2", "--side-px", "32", "--rounds", "1", "--turn-s", "0.2"]
    command = [str(ROOT / "launch" / "bench.py"), "teacher", *small, "--report", str(report)]
    subprocess.run(command, capture_output=True, check=True, timeout=120)
    figures = json.loads(report.read_text())
    for clients in ("1", "2"):
        rates = figures["images_per_s"][clients]
        assert set(rates) == {"shared", "raw", "jpeg", "png", "http"}
        assert min(rates.values()) > 0
        assert figures["ratio_over_http"][clients]["shared"]["median"] == pytest.approx(rates["shared"] / rates["http"])
