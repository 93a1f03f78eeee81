#!/usr/bin/env python3
"""One turn of the wheel: a poor teacher guides an expert, the expert's episodes make it a better one, and that one
guides the next task's expert.

Every stage leaves a folder or a file that is whole or not there: started again, it goes on where it was stopped.
"""

import _environment

_environment.enter()

import json
import multiprocessing
import shlex
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro

import _demonstrations
import _generalist
import _reports
import _running
import _sim_episodes
from contract import generalist
from contract.tasks import task
from robot_runtime.trials import wilson_interval
from sim_training.export import circumstances
from sim_training.generalist.evaluate import evaluate
from sim_training.generalist.train import Training, fit
from sim_training.learning_curves import Curve, read_curve
from sim_training.rollouts import VARIANTS
from sim_training.settings import USER_ERRORS, Config, complete_checkpoints

OBJECT = "red_cube"
"""Nothing varies but places, as in VLAJS's and RPD's comparisons."""
EVALUATION_SEED = 800_000_000
UNAIDED = Config(randomise=False, near_starts=0.0, num_envs=64, log_std_end=-2.5)
"""As in `bench.py sample_efficiency`: nothing varies but places, every episode begins at its beginning."""
WORDS = {"before": "the old teacher", "after": "the new teacher"}


class Stopped(RuntimeError):
    """A stage was stopped or failed; what it says is above. Start again to go on."""


@dataclass(frozen=True)
class Arguments:
    """How large a turn."""

    task: str = "lift_cube"
    """what the teacher is shown, and the first expert learns"""
    next_task: str = "pick_cube"
    """what the next expert learns, with the old teacher and with the new one"""
    demonstrations: int = 25
    """human-like ones (synthetic) that the old teacher is made of"""
    episodes: int = 100
    """of the first expert, that the new teacher is made of"""
    evaluation_episodes: int = 64
    """of each teacher"""
    expert_steps: int = 1_500_000
    """environment steps at most of the first expert, which has all help: dense rewards, starts further on"""
    next_steps: int = 1_500_000
    """of the next one"""
    next_algo: str = "vlajs_rpd"
    """what it is trained by: to directional guidance, `vlajs`, a teacher says nothing about the fingers"""
    next_threshold: float = 0.15
    """share of the best reward at which its guidance ends: it then often holds the cube, all that its teacher knows"""
    seeds: tuple[int, ...] = (0,)
    """of the next expert, one run with each teacher for each"""
    reward: str = "simplified"
    """that the next expert is trained with; it has the teacher's help and no other"""
    training: tyro.conf.OmitArgPrefixes[Training] = field(default_factory=lambda: Training(hue=0.0))
    """of the teachers, which meet one colour only"""
    out: Path = Path("runs/flywheel")
    """folder of all stages"""
    report: Path | None = None
    """JSON file for the figures; the chart lies beside it, else in `out`"""


def main(arguments: Arguments) -> dict[str, Any]:
    """All stages that are missing. Raises Stopped, USER_ERRORS or one of _sim_episodes.FAILURES."""
    torch.set_num_threads(1)
    if not arguments.seeds or arguments.evaluation_episodes < 1:
        raise _sim_episodes.NothingAsked("At least one seed and one evaluation episode have to be asked for.")
    out, (spec, variants) = arguments.out, _sim_episodes.card_and_variants(arguments.task, (OBJECT,))
    helped, unaided = plans(arguments)
    _sim_episodes.claim(out / "turn.json", arguments, ("out", "report", "seeds"))
    _reports.check(arguments.report)
    say("1/6 a few human-like demonstrations (synthetic)")
    poor = out / "demonstrations"
    _sim_episodes.collect(poor, spec, "human-like", variants, arguments.demonstrations, 0, randomise=False)
    say("2/6 the old teacher")
    before = teacher(out / "teacher_before", poor, None, arguments)
    say(f"    succeeds in {before['success']:.0%}")
    say("3/6 an expert, guided by it")
    expert = train(out / "expert", helped, out / "teacher_before")
    say(f"4/6 {arguments.episodes} episodes of the expert")
    good = out / "episodes"
    policy = out / "expert" / "policy"
    _sim_episodes.collect(good, spec, "rl", variants, arguments.episodes, 1, policy, randomise=False)
    say("5/6 the new teacher")
    after = teacher(out / "teacher_after", good, out / "teacher_before", arguments)
    say(f"    succeeds in {after['success']:.0%}")
    curves: dict[str, list[Curve]] = {"before": [], "after": []}
    for seed in arguments.seeds:
        for which, made in curves.items():
            say(f"6/6 the next task's expert, guided by {WORDS[which]}, seed {seed}")
            folder, guide = out / f"next_{which}" / f"seed{seed}", out / f"teacher_{which}"
            made.append(train(folder, replace(unaided, seed=seed), guide))
    return report(arguments, before, after, expert, curves)


def plans(arguments: Arguments) -> tuple[Config, Config]:
    """How the first expert is trained, and how the next ones. Raises USER_ERRORS."""
    helped = Config(task=arguments.task, total_steps=arguments.expert_steps)
    schedule = replace(UNAIDED.schedule, threshold=arguments.next_threshold)
    unaided = replace(
        UNAIDED, task=arguments.next_task, total_steps=arguments.next_steps, reward=arguments.reward,
        algo=arguments.next_algo, schedule=schedule,
    )  # fmt: skip
    helped.check()
    unaided.check()
    return helped, unaided


def say(line: str) -> None:
    """At once, also into a file."""
    print(line, flush=True)


def teacher(folder: Path, episodes: Path, start: Path | None, arguments: Arguments) -> dict[str, Any]:
    """Fine-tunes it and tries it at the task that it was shown; returns how it does."""
    tried = folder.with_suffix(".json")
    if not (folder / generalist.CARD).exists():
        tried.unlink(missing_ok=True)
        fit(_demonstrations.read(episodes), folder, arguments.training, start, provenance=circumstances())
    if not tried.exists():
        spec, thing, count = task(arguments.task), VARIANTS[OBJECT], arguments.evaluation_episodes
        model, painter = _generalist.load(folder), _sim_episodes.Studio().painter(thing)
        outcome = evaluate(model, spec.name, spec.instruction, thing, painter, count, EVALUATION_SEED, randomise=False)
        interval = wilson_interval(outcome.successes, count)
        _reports.write(tried, {"success": outcome.successes / count, "wilson_95": interval, "episodes": count})
    figures: dict[str, Any] = json.loads(tried.read_text())
    return figures


def train(folder: Path, config: Config, guide: Path) -> Curve:
    """An expert by VLAJS, in a process of its own; goes on from its checkpoints. Raises Stopped."""
    done = folder / "report.json"
    if not done.exists():
        config = replace(
            config, teacher=guide.name, eval_every=8, eval_episodes=64, stop_at=0.9, out=folder,
            video=False, report=done, resume=bool(complete_checkpoints(folder)),
        )  # fmt: skip
        instruction = generalist.read_card(guide).instructions[0]
        child = multiprocessing.get_context("spawn").Process(target=_guided, args=(config, guide, instruction))
        child.start()
        try:
            child.join()
        except KeyboardInterrupt:
            child.join()
            raise
        if not done.exists():
            raise Stopped(f"The training in {folder} was stopped. Start again to go on.")
    return read_curve(folder)


def _guided(config: Config, guide: Path, instruction: str) -> None:
    """What the process of one training does."""
    from sim_training.teachers.generalist import GeneralistTeacher
    from sim_training.train import FAILURES
    from sim_training.train import train as train_policy

    _running.end_with_parent()
    painter, model = _sim_episodes.Studio().painter(VARIANTS[OBJECT]), _generalist.load(guide)
    name = f"small generalist {guide.name}, asked to “{instruction}”"
    try:
        train_policy(config, GeneralistTeacher(model, painter, config.spec, instruction, name))
    except FAILURES as error:
        sys.exit(f"flywheel: {error}")


def report(
    arguments: Arguments,
    before: dict[str, Any],
    after: dict[str, Any],
    expert: Curve,
    curves: dict[str, list[Curve]],
) -> dict[str, Any]:
    """The figures, written and drawn. Steps are medians over the seeds; None where 80 % was not reached."""

    def steps_to_80(of: list[Curve]) -> list[int | None]:
        return [None if (steps := curve.steps_to(0.8)) == float("inf") else int(steps) for curve in of]

    per_seed = {which: steps_to_80(of) for which, of in curves.items()}
    figures = {
        "command": "./launch/flywheel.py " + shlex.join(sys.argv[1:]),
        "commit": circumstances()["commit"],
        "task": arguments.task,
        "next_task": arguments.next_task,
        "teacher_success_before": before["success"],
        "teacher_success_after": after["success"],
        "teacher_wilson_95": {"before": before["wilson_95"], "after": after["wilson_95"]},
        "expert_steps_to_80": steps_to_80([expert])[0],
        "expert_success": float(expert.success.max()),
        "steps_to_80_before": median(per_seed["before"]),
        "steps_to_80_after": median(per_seed["after"]),
        "steps_to_80_per_seed": per_seed,
        "best_success_per_seed": {which: [float(c.success.max()) for c in of] for which, of in curves.items()},
        "curves": {
            which: [{"env_steps": c.steps.tolist(), "success": c.success.tolist()} for c in of]
            for which, of in curves.items()
        },
        "settings": {name: str(value) for name, value in vars(arguments).items() if name not in ("out", "report")},
    }
    target = arguments.report or arguments.out / "flywheel.json"
    _reports.write(target, figures)
    draw(target.with_suffix(".png"), arguments, before, after, curves)
    return figures


def median(steps: list[int | None]) -> int | None:
    """A seed that never got there counts as later than all others."""
    middle = float(np.median([float("inf") if each is None else each for each in steps]))
    return None if middle == float("inf") else int(middle)


def draw(
    path: Path,
    arguments: Arguments,
    before: dict[str, Any],
    after: dict[str, Any],
    curves: dict[str, list[Curve]],
) -> None:
    """How often each teacher succeeds, and the curves of the next task's experts."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), width_ratios=(1, 2))
    colours = {"before": "tab:grey", "after": "tab:blue"}
    for place, (which, one) in enumerate({"before": before, "after": after}.items()):
        low, high = one["wilson_95"]
        reach = [[max(0.0, one["success"] - low)], [max(0.0, high - one["success"])]]
        left.bar(place, one["success"], yerr=reach, capsize=4, color=colours[which])
    left.set(title=f"teacher at {arguments.task}", ylabel="success", ylim=(0, 1.03))
    left.set_xticks((0, 1), WORDS.values())
    for which, of in curves.items():
        for number, curve in enumerate(of):
            label = WORDS[which] if number == 0 else None
            right.plot(curve.steps / 1e3, curve.success, "o-", color=colours[which], label=label)
    right.axhline(0.8, color="black", linewidth=0.6, linestyle=":")
    right.set(title=f"expert at {arguments.next_task}", xlabel="thousand environment steps", ylim=(-0.03, 1.03))
    right.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)


def run() -> int:
    """Exit code."""
    arguments = tyro.cli(Arguments, description=__doc__)
    try:
        figures = main(arguments)
    except (*_sim_episodes.FAILURES, *USER_ERRORS, generalist.GeneralistUnusable, Stopped) as error:
        print(f"flywheel: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("flywheel: Stopped; start again to go on.", file=sys.stderr)
        return 130
    print(json.dumps({name: value for name, value in figures.items() if name != "curves"}, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(run())
