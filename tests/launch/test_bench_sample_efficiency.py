"""The figures of `bench sample_efficiency`, from hand-made runs whose medians, means and shares are worked out here."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from benches import sample_efficiency as bench
from torch.utils.tensorboard import SummaryWriter

EVAL_TEACHER = """
import json, os, sys
from pathlib import Path

with open("asked.jsonl", "a") as file:
    file.write(json.dumps(sys.argv[1:]) + "\\n")
Path(sys.argv[-1]).write_text(json.dumps({"success": 0.75 if "--no-randomise" in sys.argv else 0.25}))
"""


@dataclass(frozen=True)
class Ran:
    """What one run of four evaluations left. calls: teacher calls so far, at each; ended: when guidance did, or -1."""

    success: tuple[float, ...]
    calls: tuple[int, ...] = (0, 0, 0, 0)
    guided: int = 0
    ended: int = -1
    wall_s: float = 10.0


VLAJS = (
    Ran((0.125, 0.625, 0.875, 0.875), calls=(10, 14, 14, 14), guided=40, ended=200, wall_s=10.0),
    Ran((0.5, 0.8125, 0.75, 1.0), calls=(8, 8, 8, 8), guided=30, ended=100, wall_s=20.0),
    Ran((0.0, 0.25, 0.375, 0.5), calls=(6, 12, 20, 32), guided=60, wall_s=60.0),
)
"""Evaluated after 100, 200, 300 and 400 steps."""
PPO = (Ran((0.0, 0.25, 0.375, 0.8125)), Ran((0.0, 0.625, 0.875, 0.875)), Ran((0.0, 0.0, 0.0, 0.0)))
"""Evaluated after 200, 400, 600 and 800 steps."""
NEVER = (Ran((0.0, 0.25, 0.375, 0.5)),) * 3
FIXED = {"teacher": "scripted", "randomise": False, "horizon_factor": 1}


@pytest.fixture
def arguments(stand_in, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> bench.Arguments:
    """Two algorithms, three seeds, folders relative to where the bench is started; teachers are not really run."""
    monkeypatch.setattr(bench, "ROOT", stand_in("eval_teacher.py", EVAL_TEACHER))
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    return bench.Arguments(
        tasks=("lift_cube",),
        algos=("ppo", "vlajs"),
        total_steps=(400,),
        out=Path("runs"),
        report=Path("results/figures.json"),
    )


def trained(
    arguments: bench.Arguments, task: str, algo: str, runs: tuple[Ran, ...], provenance: dict[str, Any] | None = None
) -> None:
    """Leaves on disk what runs of this task and algorithm, one for each seed, would have left."""
    for seed, ran in enumerate(runs):
        run = bench._run(arguments, task, algo, seed)
        run.claim()
        total = arguments.steps(task, algo)
        steps = [total * number // len(ran.success) for number in range(1, len(ran.success) + 1)]
        with SummaryWriter(str(run.folder)) as writer:
            for step, success, calls in zip(steps, ran.success, ran.calls, strict=True):
                writer.add_scalar("eval/success", success, step)
                writer.add_scalar("ledger/teacher_calls", calls, step)
        ledger = {"teacher_calls": ran.calls[-1], "guided_steps": ran.guided, "switched_off_at": ran.ended}
        run.report.write_text(json.dumps(ledger | {"env_steps": total, "wall_s": ran.wall_s}))
        made_by = {"commit": f"c0ffee{seed}", "settings": FIXED} | (provenance or {})
        (run.folder / "policy").mkdir()
        (run.folder / "policy" / "contract.json").write_text(json.dumps({"provenance": made_by}))


def asked_of_eval_teacher() -> list[list[str]]:
    """Arguments it was started with, each time."""
    asked = bench.ROOT / "asked.jsonl"
    return [json.loads(line) for line in asked.read_text().splitlines()] if asked.exists() else []


def test_steps_are_medians_over_seeds_and_success_is_a_mean_with_its_t_interval(arguments) -> None:
    trained(arguments, "lift_cube", "ppo", PPO)
    trained(arguments, "lift_cube", "vlajs", VLAJS)
    figures = bench._summarise(arguments, "lift_cube")
    vlajs, ppo = figures["vlajs"], figures["ppo"]
    assert vlajs["steps_to_50_per_seed"] == [200, 100, 400]
    assert vlajs["steps_to_50"] == 200
    assert vlajs["steps_to_80_per_seed"] == [300, 200, None]
    assert vlajs["steps_to_80"] == 300
    assert vlajs["final_success_per_seed"] == [0.875, 1.0, 0.5]
    assert vlajs["final_success"] == pytest.approx(0.791667, abs=1e-6)
    # t(0.975, 2) = 4.302653; standard deviation 0.260208: 4.302653 * 0.260208 / sqrt(3) = 0.646396
    assert vlajs["final_success_interval"] == pytest.approx([0.791667 - 0.646396, 1.0], abs=1e-5)
    assert vlajs["curves"][1] == {"env_steps": [100, 200, 300, 400], "success": [0.5, 0.8125, 0.75, 1.0]}
    assert (vlajs["total_steps"], ppo["total_steps"]) == (400, 800)
    assert ppo["steps_to_50_per_seed"] == [800, 400, None]
    assert ppo["steps_to_80_per_seed"] == [800, 600, None]


def test_the_ratio_is_of_medians_and_says_whether_ppo_got_there(arguments) -> None:
    trained(arguments, "lift_cube", "ppo", PPO)
    trained(arguments, "lift_cube", "vlajs", VLAJS)
    figures = bench._summarise(arguments, "lift_cube")
    assert figures["steps_to_80_ratio_vlajs_over_ppo"] == 300 / 800
    assert figures["ppo_never_reached_80"] is False


def test_a_ppo_that_never_got_there_counts_as_all_the_steps_of_its_own_task(arguments) -> None:
    two_tasks = replace(arguments, tasks=("lift_cube", "push_cube"), total_steps=(400, 1200))
    trained(two_tasks, "push_cube", "ppo", NEVER)
    trained(two_tasks, "push_cube", "vlajs", tuple(replace(ran, ended=-1) for ran in VLAJS))
    figures = bench._summarise(two_tasks, "push_cube")
    assert figures["ppo"]["steps_to_80"] is None
    assert figures["ppo_never_reached_80"] is True
    assert figures["steps_to_80_ratio_vlajs_over_ppo"] == 900 / 2400


def test_there_is_no_ratio_where_vlajs_never_got_there(arguments) -> None:
    trained(arguments, "lift_cube", "ppo", PPO)
    trained(arguments, "lift_cube", "vlajs", NEVER)
    figures = bench._summarise(arguments, "lift_cube")
    assert not {"steps_to_80_ratio_vlajs_over_ppo", "ppo_never_reached_80"} & figures.keys()


def test_the_ledger_counts_until_guidance_ended_or_to_the_end_where_it_never_did(arguments) -> None:
    trained(arguments, "lift_cube", "ppo", PPO)
    trained(arguments, "lift_cube", "vlajs", VLAJS)
    vlajs = bench._summarise(arguments, "lift_cube")["vlajs"]
    assert vlajs["switched_off_at"] == [200, 100, -1]
    assert vlajs["asked_until_then"] == pytest.approx([14 / 200, 8 / 100, 32 / 400])
    assert vlajs["guided_until_then"] == pytest.approx([40 / 200, 30 / 100, 60 / 400])
    assert vlajs["calls_since_then"] == [0, 0, 0]
    assert vlajs["teacher_calls"] == (14 + 8 + 32) / 3
    assert vlajs["guided_steps"] == (40 + 30 + 60) / 3
    assert vlajs["env_steps"] == 400
    assert vlajs["wall_s"] == 30


def test_a_teacher_asked_after_guidance_ended_does_not_go_unnoticed(arguments) -> None:
    asked_again = replace(VLAJS[0], calls=(10, 14, 14, 17))
    trained(arguments, "lift_cube", "ppo", PPO)
    trained(arguments, "lift_cube", "vlajs", (asked_again, *VLAJS[1:]))
    assert bench._summarise(arguments, "lift_cube")["vlajs"]["calls_since_then"] == [3, 0, 0]


def test_the_table_has_a_line_for_every_task_and_algorithm(arguments) -> None:
    one = {"final_success": 0.791667, "final_success_interval": [0.1453, 1.0], "env_steps": 400.0, "wall_s": 29.6}
    vlajs = one | {"steps_to_50": 144_000.0, "steps_to_80": 192_400.0, "teacher_calls": 18.0}
    ppo = one | {"steps_to_50": 288_000.0, "steps_to_80": None, "teacher_calls": 0.0}
    assert bench._table(arguments, {"lift_cube": {"ppo": ppo, "vlajs": vlajs}}).splitlines()[2:] == [
        "| lift_cube | ppo | 288 k | – | 79 % (15–100) | 0 (0.0 %) | 30 |",
        "| lift_cube | vlajs | 144 k | 192 k | 79 % (15–100) | 18 (4.5 %) | 30 |",
    ]
    one_seed = replace(arguments, algos=("vlajs",), seeds=(0,))
    assert "| 79 % |" in bench._table(one_seed, {"lift_cube": {"vlajs": vlajs}}), "one seed has no interval"


@pytest.mark.parametrize(
    ("settings", "options"),
    [
        ({"randomise": True, "horizon_factor": 1}, []),
        ({"randomise": False, "horizon_factor": 1}, ["--no-randomise"]),
        ({"randomise": True, "horizon_factor": 10}, ["--horizon-factor", "10"]),
        ({"randomise": False, "horizon_factor": 10}, ["--no-randomise", "--horizon-factor", "10"]),
    ],
)
def test_the_teacher_is_measured_once_and_under_what_the_runs_were_trained_in(arguments, settings, options) -> None:
    trained(arguments, "lift_cube", "ppo", PPO, {"settings": FIXED | settings})
    success = 0.25 if settings["randomise"] else 0.75
    assert [bench._teacher_success(arguments, "lift_cube") for _ in range(2)] == [success, success]
    ((*asked, report),) = asked_of_eval_teacher()
    assert asked == ["--task", "lift_cube", *options, "--report"]
    assert Path(report).parent == Path.cwd() / "runs" / "lift_cube", "not where eval_teacher.py runs"


def test_a_teacher_measured_under_other_conditions_is_not_taken_for_this_one(arguments) -> None:
    trained(arguments, "lift_cube", "ppo", PPO, {"settings": FIXED | {"randomise": True}})
    assert bench._teacher_success(arguments, "lift_cube") == 0.25
    trained(replace(arguments, algos=("vlajs",)), "lift_cube", "vlajs", VLAJS, {"settings": FIXED})
    assert bench._teacher_success(replace(arguments, algos=("vlajs",)), "lift_cube") == 0.75


def test_a_served_teacher_is_named_and_the_scripted_one_does_not_stand_in_for_it(arguments) -> None:
    served = {"settings": FIXED | {"teacher": "tcp://127.0.0.1:5570"}}
    trained(arguments, "lift_cube", "ppo", PPO, served | {"teacher": None})
    trained(arguments, "lift_cube", "vlajs", VLAJS, served | {"teacher": "openpi pi0.5"})
    bench.run(arguments)
    figures = json.loads(arguments.report.read_text())
    assert figures["teacher"] == "openpi pi0.5"
    assert figures["tasks"]["lift_cube"]["teacher_success"] is None
    assert asked_of_eval_teacher() == []


def test_finished_runs_become_a_report_a_picture_and_a_table(
    arguments, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from matplotlib import pyplot

    drawn: list[Any] = []
    monkeypatch.setattr(pyplot, "close", drawn.append)
    monkeypatch.setattr("sys.argv", ["bench.py", "sample_efficiency", "--tasks", "lift_cube"])
    trained(arguments, "lift_cube", "ppo", PPO, {"teacher": None})
    trained(arguments, "lift_cube", "vlajs", VLAJS, {"teacher": "scripted (synthetic)"})
    bench.run(arguments)
    figures = json.loads(arguments.report.read_text())
    assert figures["command"] == "./launch/bench.py sample_efficiency --tasks lift_cube"
    assert figures["commits"] == ["c0ffee0", "c0ffee1", "c0ffee2"]
    assert figures["teacher"] == "scripted (synthetic)"
    assert figures["tasks"]["lift_cube"]["teacher_success"] == 0.75
    assert figures["tasks"]["lift_cube"]["steps_to_80_ratio_vlajs_over_ppo"] == 300 / 800
    assert "| lift_cube | vlajs | 0 k | 0 k | 79 % (15–100) |" in capsys.readouterr().out
    (axis,) = drawn[0].axes
    (teacher,) = (line for line in axis.lines if line.get_label() == "teacher, synthetic")
    assert (list(teacher.get_ydata()), teacher.get_linestyle()) == ([0.75, 0.75], "--")
    ends = sorted(line.get_xdata()[0] for line in axis.lines if line.get_marker() == "^" and len(line.get_xdata()))
    assert ends == [0.1, 0.2], "guidance of the third seed never ended"
    assert arguments.report.with_suffix(".png").exists()


def test_runs_from_before_teachers_were_noted_have_the_name_of_their_setting(arguments) -> None:
    trained(arguments, "lift_cube", "vlajs", VLAJS)
    runs = [bench._run(arguments, "lift_cube", "vlajs", seed) for seed in arguments.seeds]
    assert bench._teachers(runs) == "scripted (synthetic)"
