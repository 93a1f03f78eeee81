"""What the comparison of episodes makes of finished cells, and which episodes a cell learns from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from benches import generalist as bench

from robot_runtime.collection import episode as disk
from tests.robot_runtime.collection.made_up import episode


@pytest.fixture
def pool(tmp_path: Path) -> Path:
    for number in range(12):
        variant = "red_cube" if number % 3 else "orange_cube"
        disk.write(tmp_path / disk.name_of(number), episode(2, number, ("wrist",), variant=variant))
    return tmp_path


def test_every_cell_learns_from_equal_parts_of_every_object(pool: Path) -> None:
    picked = bench.chosen(pool, 6, seed=0)
    variants = [disk.read_about(path).variant for path in picked]
    assert len(set(picked)) == 6
    assert variants.count("red_cube") == variants.count("orange_cube") == 3


def test_another_seed_learns_from_other_episodes_and_the_same_from_the_same(pool: Path) -> None:
    assert bench.chosen(pool, 6, 1) == bench.chosen(pool, 6, 1)
    assert len({tuple(bench.chosen(pool, 6, seed)) for seed in range(5)}) > 1


def test_seeds_are_pooled_with_their_intervals() -> None:
    figures = bench.pooled([{"episodes": 10, "times_s": [5.0, 7.0]}, {"episodes": 10, "times_s": [6.0]}])
    assert figures["success"] == pytest.approx(0.15)
    assert figures["success_per_seed"] == [0.2, 0.1]
    assert figures["wilson_95"][0] < 0.15 < figures["wilson_95"][1]
    assert figures["cycle_time_s"] == pytest.approx(6.0)


def test_what_never_succeeded_has_no_time() -> None:
    assert bench.pooled([{"episodes": 4, "times_s": []}])["cycle_time_s"] is None


def test_finished_cells_become_a_table_and_a_picture(pool: Path, tmp_path: Path) -> None:
    arguments = bench.Arguments(sizes=(2, 4), seeds=(0, 1), out=tmp_path / "study", report=tmp_path / "r" / "g.json")
    for source in bench._sim_episodes.SOURCES:
        episodes = arguments.out / "episodes" / source
        episodes.mkdir(parents=True)
        disk.write(episodes / disk.name_of(0), episode(2, 0, ("wrist",)))
        for size in arguments.sizes:
            for seed in arguments.seeds:
                _finish(arguments.out / "cells" / f"{source}-{size}-seed{seed}.json", size)
    report = bench.summarise(arguments)
    assert len(report["cells"]) == 2 * 2 * 2
    arguments.report.parent.mkdir()
    bench.draw(arguments, report["cells"])
    assert arguments.report.with_suffix(".png").stat().st_size > 1000
    assert bench.table(report["cells"]).count("\n") == 9
    json.dumps(report, default=str)


def _finish(path: Path, size: int) -> None:
    kinds: dict[str, Any] = {kind: {"episodes": 8, "times_s": [5.0] * size} for kind in ("seen", "unseen")}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(kinds))
