#!/usr/bin/env python3
"""Datasets of recorded episodes: list and check them, mix and relabel them, export them and check the export."""

from __future__ import annotations

import _environment

_environment.enter()

import json
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro
from tqdm import tqdm

import _own_environment
import _reports
from contract import artifact
from contract.tasks import UnknownTask, task
from robot_runtime.collection import card, catalogue, checking, export, mixing, relabelling, segments
from robot_runtime.collection.convention import Frame
from robot_runtime.collection.episode import EpisodeBroken, name_of, write
from robot_runtime.collection.folders import (
    DatasetError,
    Entry,
    check_alike,
    check_judged,
    check_once,
    entries,
    episode_files,
    new_folder,
)

EXPECTED = (
    DatasetError, EpisodeBroken, artifact.ArtifactError, UnknownTask, _own_environment.ScriptFailed,
)  # fmt: skip

Folders = Annotated[tuple[Path, ...], tyro.conf.Positional]


@dataclass(frozen=True)
class List:
    """What there is, by task, variant and policy."""

    folders: Folders
    """Folders of episodes."""
    report: Path | None = None
    """Write the figures to this JSON file."""

    def run(self) -> dict[str, Any]:
        """Prints a table for each folder."""
        figures = {}
        for folder in self.folders:
            found = entries([folder])
            print(f"{folder}\n\n{catalogue.table(found)}\n")
            figures[str(folder)] = catalogue.figures(found)
        return figures


@dataclass(frozen=True)
class Check:
    """Read every file whole and say what is wrong with it. Exit code 1 if anything is."""

    folders: Folders
    """Folders of episodes that are to make one dataset."""
    report: Path | None = None
    """Write what was found to this JSON file."""

    def run(self) -> dict[str, Any]:
        """Prints one line for each thing."""
        paths = [path for folder in self.folders for path in episode_files(folder)]
        wrong = list(checking.check(tqdm(paths, desc="check", unit="episode", mininterval=2.0)))
        return {"episodes": len(paths), "problems": wrong}


@dataclass(frozen=True)
class Mix:
    """Make a dataset of successful episodes: chosen, cut, balanced; sources stay as they are."""

    folders: Folders
    """Folders of episodes; with --segment, of demonstrations."""
    out: Path
    """The folder to make."""
    segment: str | None = None
    """Leave this segment out of the demonstrations and take it from the expert: `reach` ends where the object is held,
    `carry` begins there; or one that the episodes' notes name."""
    expert: tuple[Path, ...] = ()
    """Folders of the expert's episodes, for --segment."""
    variants: tuple[str, ...] = ()
    """Only these of the task's objects."""
    instructions: tuple[str, ...] = ()
    """Only episodes with these instructions."""
    balance: bool = False
    """Equal numbers of episodes of each variant."""
    size: int | None = None
    """So many episodes; with --segment, of each kind. A seed's smaller dataset is part of its larger ones."""
    cut_end: bool = True
    """Cut steps at the end in which neither commanded tool nor gripper moves."""
    cut_start: bool = False
    """Cut such steps at the start, too."""
    seed: int = 0
    """Decides which episodes are drawn."""
    report: Path | None = None
    """Write the figures to this JSON file."""

    def run(self) -> dict[str, Any]:
        """Writes the folder."""
        if (self.segment is None) != (not self.expert):
            raise DatasetError("--segment and --expert go together: whose segment it is, and which.")
        if self.size is not None and self.size < 1:
            raise DatasetError("--size must be 1 at least.")
        if self.seed < 0:
            raise DatasetError("--seed must be 0 at least.")
        found = entries(self.folders)
        experts = entries(self.expert)
        check_once(found)
        check_once(experts)
        check_alike([*found, *experts])
        pieces = self._chosen(found)
        if self.segment is not None:
            pieces = segments.mixed(pieces, self._chosen(experts), self.segment)
        with new_folder(self.out) as staging:
            mixing.write_pieces(staging, tqdm(pieces, desc="mix", unit="episode", mininterval=2.0))
            made = entries([staging])
            card.write(staging, self.out.name, made, self._facts())
        print(catalogue.table(entries([self.out])))
        return {"read": len(found) + len(experts), "written": catalogue.figures(entries([self.out]))}

    def _chosen(self, found: Sequence[Entry]) -> list[mixing.Piece]:
        check_judged(found)
        wanted = mixing.only(mixing.only(found, "variant", self.variants), "instruction", self.instructions)
        pieces = mixing.whole(entry for entry in wanted if entry.about.success)
        if self.balance:
            mixing.check_all_succeed(wanted)
        if self.cut_end or self.cut_start:
            pieces = [mixing.without_idle(piece, at_start=self.cut_start, at_end=self.cut_end) for piece in pieces]
        return mixing.chosen([piece for piece in pieces if len(piece)], self.seed, self.balance, self.size)

    def _facts(self) -> dict[str, str]:
        facts = {"seed": str(self.seed), "equal numbers of variants": "yes" if self.balance else "no"}
        cut = [name for name, asked in (("end", self.cut_end), ("start", self.cut_start)) if asked]
        facts["idle steps cut at the"] = " and ".join(cut) or "no side"
        if self.segment is not None:
            facts["segment"] = f"{self.segment} of the expert, the rest of demonstrations"
        return facts


@dataclass(frozen=True)
class Relabel:
    """Human states with RL actions: what a policy would have done in each step of demonstrations (RLDG, Fig. 9)."""

    folders: Folders
    """Folders of demonstrations."""
    out: Path
    """The folder to make."""
    policy: Path
    """Folder of the policy."""
    report: Path | None = None
    """Write the figures to this JSON file."""

    def run(self) -> dict[str, Any]:
        """Writes the folder."""
        found = entries(self.folders)
        check_alike(found)
        spec = task(found[0].about.task)
        relabelling.check_fits(spec, found[0].about.task, found[0].about.contract_hash)
        actor = artifact.load(self.policy, spec)
        commit = actor.card["provenance"].get("commit", "unknown")
        with new_folder(self.out) as staging:
            pieces = tqdm(mixing.whole(found), desc="relabel", unit="episode", mininterval=2.0)
            for number, piece in enumerate(pieces):
                episode = relabelling.relabelled(mixing.taken(piece), spec, actor, f"{self.policy.name} ({commit})")
                write(staging / name_of(number), episode)
            card.write(staging, self.out.name, entries([staging]), {"actions": f"of {self.policy.name} ({commit})"})
        agreements = [relabelling.agreement(entry.steps) for entry in entries([self.out])]
        return {"episodes": len(found), "cosine_to_the_person": sum(agreements) / len(agreements)}


@dataclass(frozen=True)
class Export:
    """Write a dataset for OpenVLA and Octo (RLDS) or for LeRobot, with a card."""

    folders: Folders
    """Folders of episodes, all successful, such as `mix` makes."""
    out: Path
    """The folder to make; its name is the dataset's."""
    format: export.Format = "rlds"
    """lerobot is LeRobot's v3.0, lerobot21 its v2.1, which openpi reads; both run LeRobot in an own environment."""
    frame: Frame = "wrist"
    """Axes that actions are written in; RLDG's are the wrist's, Open X-Embodiment's the base's."""
    seed: int = 0
    """Decides which tenth of the episodes is the RLDS split `val`."""
    report: Path | None = None
    """Write the figures to this JSON file."""

    def run(self) -> dict[str, Any]:
        """Writes the folder."""
        began = time.monotonic()
        if self.seed < 0:
            raise DatasetError("--seed must be 0 at least.")
        found = entries(self.folders)
        export.export(self.out, self.format, found, self.frame, self.seed, _own_environment.run)
        size = sum(path.stat().st_size for path in self.out.rglob("*") if path.is_file())
        return {
            "format": self.format,
            "frame": self.frame,
            "wall_s": round(time.monotonic() - began, 1),
            "bytes": size,
            "source": catalogue.figures(found)["total"],
        }


@dataclass(frozen=True)
class CheckExport:
    """Read an export with the ecosystem's own library and compare it with its source. Exit code 1 if it differs."""

    folder: Annotated[Path, tyro.conf.Positional]
    """What `export` made."""
    source: tuple[Path, ...]
    """The folders it was made of."""
    report: Path | None = None
    """Write the figures to this JSON file."""

    def run(self) -> dict[str, Any]:
        """Prints the figures."""
        with tempfile.TemporaryDirectory() as folder:
            found = Path(folder) / "found.json"
            export.verify(self.folder, self.source, found, _own_environment.run)
            figures: dict[str, Any] = json.loads(found.read_text())
        print(json.dumps(figures, indent=1))
        return figures


Command = List | Check | Mix | Relabel | Export | CheckExport


def main(asked: Command) -> int:
    """Does it, and returns the exit code: 1 where a check found something. Raises one of EXPECTED."""
    _reports.check(asked.report)
    figures = asked.run()
    _reports.write(asked.report, figures)
    for problem in figures.get("problems", ()):
        print(problem, file=sys.stderr)
    return 1 if figures.get("problems") else 0


def run() -> None:
    """What is asked for on the command line; ends with an exit code, or with one sentence."""
    try:
        sys.exit(main(tyro.cli(Command, description=__doc__)))
    except EXPECTED as error:
        sys.exit(f"dataset: {error}")
    except OSError as error:
        sys.exit(f"dataset: {error}; nothing half-made was kept.")
    except KeyboardInterrupt:
        sys.exit("dataset: interrupted; nothing half-made was kept.")


if __name__ == "__main__":
    run()
