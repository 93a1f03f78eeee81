#!/usr/bin/env python3
"""Let a success classifier judge recorded episodes: label those that nobody has, or be compared with who has.

Every episode is rewritten whole or not at all, so the same command goes on where it was stopped.
"""

import _environment

_environment.enter()

import contextlib
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from tqdm import tqdm

import _reports
from robot_runtime.collection import episode as episodes
from robot_runtime.collection.classifier import (
    CameraNotThere,
    ClassifierUnusable,
    SuccessClassifier,
    precision_recall,
)
from robot_runtime.collection.episode import EpisodeBroken
from robot_runtime.collection.folder import FolderBusy, alone_in
from robot_runtime.collection.folders import DatasetError, episode_files


class WrongEpisodes(ValueError):
    """The episodes cannot be judged. Name others, or another classifier."""


EXPECTED = (FolderBusy, ClassifierUnusable, WrongEpisodes, DatasetError, EpisodeBroken, OSError)


@dataclass(frozen=True)
class Arguments:
    """Which episodes, and what to do with them."""

    data: tuple[Path, ...]
    """Folders of episodes."""
    classifier: Path
    """Folder that launch/train_classifier.py has written."""
    relabel: bool = False
    """Label all episodes, also those that somebody has labelled."""
    compare: bool = False
    """Write nothing: only compare with the labels that are there."""
    report: Path | None = None
    """Write the figures to this JSON file."""


def check(paths: list[Path], arguments: Arguments, classifier: SuccessClassifier) -> None:
    """Raises WrongEpisodes, EpisodeBroken before any episode is touched."""
    if arguments.relabel and arguments.compare:
        raise WrongEpisodes("--compare writes nothing and --relabel everything: leave one of them out.")
    for path in paths:
        about = episodes.read_about(path)
        if about.task != classifier.card.task:
            raise WrongEpisodes(
                f"{path} is an episode of '{about.task}', the classifier judges '{classifier.card.task}': leave it out."
            )


def judge(path: Path, classifier: SuccessClassifier, arguments: Arguments) -> dict[str, Any]:
    """One episode, labelled if it is to be. Raises WrongEpisodes, DatasetError, EpisodeBroken, OSError."""
    read = episodes.read(path, with_frames=True)
    try:
        said = classifier.succeeded(read)
    except CameraNotThere as error:
        raise WrongEpisodes(f"{path} {error}") from error
    except EpisodeBroken as error:
        raise EpisodeBroken(f"{path}: {error}") from error
    now = read.about
    before, before_by = now.first_label
    writes = not arguments.compare and (arguments.relabel or now.success is None)
    if writes:
        by = {"classifier": said, "classifier_name": classifier.name}
        notes = now.notes | {episodes.FIRST_LABEL: now.first_label, **by}
        episodes.write(path, replace(read, about=replace(now, success=said, success_by="classifier", notes=notes)))
    return {
        "episode": path.name, "folder": path.parent.name, "classifier": said, "before": before,
        "before_by": before_by, "written": writes,
    }  # fmt: skip


def figures(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Against the labels of others that were there before."""
    judged = [row for row in rows if row["before"] is not None and row["before_by"] != "classifier"]
    said, before = (np.array([row[name] for row in judged], bool) for name in ("classifier", "before"))
    return {
        "episodes": len(rows),
        "written": sum(row["written"] for row in rows),
        "successes": sum(row["classifier"] for row in rows),
        "against_labels": precision_recall(said, before),
        "per_episode": rows,
    }


def main(arguments: Arguments) -> None:
    """Raises one of EXPECTED."""
    _reports.check(arguments.report)
    classifier = SuccessClassifier(arguments.classifier)
    paths = [path for folder in arguments.data for path in episode_files(folder)]
    check(paths, arguments, classifier)
    with contextlib.ExitStack() as held:
        for folder in () if arguments.compare else dict.fromkeys(each.resolve() for each in arguments.data):
            held.enter_context(alone_in(folder))
        rows = [judge(path, classifier, arguments) for path in tqdm(paths, desc="judging episodes", mininterval=1.0)]
    found = figures(rows)
    _reports.write(arguments.report, found)
    against = found["against_labels"]
    print(f"{found['successes']} of {found['episodes']} succeeded, {found['written']} labels written.")
    if against["count"]:
        print(
            f"Of {against['count']} that others had labelled, {against['true']} as successes: said {against['said']},"
            f" rightly {against['right']}."
        )


if __name__ == "__main__":
    try:
        main(tyro.cli(Arguments, description=__doc__))
    except EXPECTED as error:
        sys.exit(f"label_episodes: {error}")
    except KeyboardInterrupt:
        sys.exit("Stopped; every episode is whole, and the same command goes on.")
