"""The figures of `bench scale`: steps/s added up over processes, compared turn by turn, medians over rounds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from benches import scale

TRAIN = """
import json, os, sys
from pathlib import Path

asked = dict(zip(sys.argv[1:], sys.argv[2:]))
with open("asked.txt", "a") as file:
    file.write(f"{os.environ['RANKS']} ranks {asked['--total-steps']} steps seed {asked['--seed']}\\n")
figures = {"env_steps": 600 * int(os.environ["RANKS"]), "collect_s": 2.0, "update_s": 1.0, "evaluate_s": 9.0}
Path(asked["--report"]).write_text(json.dumps(figures))
"""


def test_ratios_are_of_turns_beside_each_other_and_medians_over_rounds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates = {
        (2, 1): iter([90.0, 100.0, 80.0]),
        (1, 2): iter([100.0, 200.0, 100.0]),
        (1, 1): iter([50.0, 40.0, 50.0]),
    }
    monkeypatch.setattr(scale, "_speed", lambda _, __, ranks, processes: next(rates[ranks, processes]))
    report = tmp_path / "scale.json"
    scale.run(scale.Arguments(rounds=3, report=report))
    assert json.loads(report.read_text()) == {
        "ratio": 0.8,  # of 0.9, 0.5, 0.8; the medians' ratio would be 0.9
        "ratio_spread": [0.5, 0.9],
        "ratio_one": 1.8,  # of 1.8, 2.5, 1.6
        "ratio_one_spread": [1.6, 2.5],
        "steps_per_s": {"two_ranks": 90.0, "two_processes": 100.0, "one_process": 50.0},
    }


def test_speed_is_of_all_processes_together_without_evaluation_and_every_rank_has_as_much_to_do(
    stand_in, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = stand_in("train_sim.sh", TRAIN)
    monkeypatch.setattr(scale, "ROOT", root)
    arguments = scale.Arguments(num_envs=4, iterations=3)
    assert scale._speed(arguments, tmp_path / "one", ranks=1, processes=1) == 200.0
    assert scale._speed(arguments, tmp_path / "ranks", ranks=2, processes=1) == 400.0
    assert scale._speed(arguments, tmp_path / "processes", ranks=1, processes=2) == 400.0
    asked = (root / "asked.txt").read_text().splitlines()
    assert asked[:2] == ["1 ranks 600 steps seed 0", "2 ranks 1200 steps seed 0"]
    assert sorted(asked[2:]) == ["1 ranks 600 steps seed 0", "1 ranks 600 steps seed 1"]


def test_a_turn_whose_training_failed_is_no_measurement(
    stand_in, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scale, "ROOT", stand_in("train_sim.sh", "raise SystemExit(3)\n"))
    with pytest.raises(RuntimeError, match=r"\[3, 3\]"):
        scale._speed(scale.Arguments(), tmp_path / "turn", ranks=1, processes=2)
