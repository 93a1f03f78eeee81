"""The dataset program: what is made is right, what is wrong is one sentence, what is killed is not there."""

from __future__ import annotations

import importlib
import json
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from robot_runtime.collection import rlds
from robot_runtime.collection.episode import files, name_of, read_about, write
from tests.robot_runtime.collection.made_up import episode
from tests.robot_runtime.collection.made_up_folders import folder_of

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = [sys.executable, ROOT / "launch" / "dataset.py"]
Run = Callable[..., tuple[int, str]]


@pytest.fixture
def dataset() -> Run:
    """Runs the program; returns its exit code and what it said on stderr, without progress bars."""

    def run(*arguments: object, **others: object) -> tuple[int, str]:
        done = subprocess.run(
            [*PROGRAM, *map(str, arguments)], capture_output=True, text=True, timeout=280, **others
        )  # fmt: skip
        assert "Traceback" not in done.stderr, done.stderr
        lines = [line for line in done.stderr.split("\n") if "episode/s" not in line and "s/episode" not in line]
        return done.returncode, "\n".join(lines).strip()

    return run


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int | str]:
    """Runs the program in this process, which is faster; returns what it ends with: a code, or one sentence."""
    program = importlib.import_module("dataset")

    def run(*arguments: object) -> int | str:
        monkeypatch.setattr(sys, "argv", ["dataset.py", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            program.run()
        assert isinstance(ended.value.code, int | str)
        return ended.value.code

    return run


@pytest.fixture
def refusal(here: Callable[..., int | str]) -> Callable[..., str]:
    """Runs the program; returns the one sentence that it ends with, exit code 1."""

    def run(*arguments: object) -> str:
        said = here(*arguments)
        assert isinstance(said, str), "a text is printed, and means exit code 1"
        assert said.startswith("dataset: ")
        assert len(said.splitlines()) == 1
        return said

    return run


def test_from_recordings_to_an_export_and_its_figures(here: Callable[..., int | str], tmp_path: Path) -> None:
    source = folder_of(tmp_path / "recorded", ["red", "red", "blue", "red", "blue"])
    write(source / name_of(5), episode(success=False))
    mixed, report = tmp_path / "mixed", tmp_path / "report.json"
    assert here("check", source) == 0
    assert here("mix", source, "--out", mixed, "--balance", "--report", report) == 0
    assert sorted(read_about(path).variant for path in files(mixed)) == ["blue", "blue", "red", "red"]
    assert "recorded (4)" in (mixed / "README.md").read_text()
    written = json.loads(report.read_text())["written"]["total"]
    assert (written["episodes"], written["successes"]) == (4, 4)
    out = tmp_path / "lift_red"
    assert here("export", mixed, "--out", out, "--frame", "base", "--report", report) == 0
    assert json.loads(report.read_text())["source"]["episodes"] == 4
    assert len([*rlds.read(out, "train"), *rlds.read(out, "val")]) == 4


def test_equal_numbers_of_a_variant_that_never_succeeded_are_refused(
    refusal: Callable[..., str], tmp_path: Path
) -> None:
    source = folder_of(tmp_path / "recorded", ["red", "red"])
    write(source / name_of(2), episode(success=False, variant="blue"))
    assert "No episode of 'blue' succeeded" in refusal("mix", source, "--out", tmp_path / "mixed", "--balance")
    assert not (tmp_path / "mixed").exists()


def test_demonstrations_relabelled_by_the_shipped_policy_are_a_dataset(
    here: Callable[..., int | str], tmp_path: Path
) -> None:
    source, more = folder_of(tmp_path / "people", ["red", "red"]), folder_of(tmp_path / "more")
    out, report = tmp_path / "out", tmp_path / "report.json"
    policy = ROOT / "policies" / "lift_cube"
    assert here("relabel", source, more, "--policy", policy, "--out", out, "--report", report) == 0
    assert -1.0 <= json.loads(report.read_text())["cosine_to_the_person"] <= 1.0
    assert here("check", out) == 0
    assert len(files(out)) == 3, "files of one name in two folders are two episodes"
    assert here("export", out, "--out", tmp_path / "lift") == 0


def test_a_segment_of_the_expert_and_the_rest_of_demonstrations(here: Callable[..., int | str], tmp_path: Path) -> None:
    notes = {"segments": {"reach": [0, 5], "carry": [5, 99]}}
    people = folder_of(tmp_path / "people", ["red"] * 3, notes=notes)
    expert = folder_of(tmp_path / "expert", notes=notes)
    out = tmp_path / "out"
    assert here("mix", people, "--segment", "carry", "--expert", expert, "--size", 1, "--out", out) == 0
    person, rollout = (read_about(path).notes["from"] for path in files(out))
    assert (person["episode"].split("/")[0], person["steps"]) == ("people", [0, 5])
    assert rollout == {"episode": "expert/episode_00000.h5", "steps": [5, 8]}


def test_a_check_that_finds_something_says_so_by_its_exit_code(
    here: Callable[..., int | str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = folder_of(tmp_path / "recorded", ["red", "blue"])
    cut = source / name_of(1)
    cut.write_bytes(cut.read_bytes()[:3000])
    assert here("check", source) == 1
    assert "cut short" in capsys.readouterr().err
    assert here("list", folder_of(tmp_path / "sound")) == 0
    assert "| lift_cube | red " in capsys.readouterr().out


def test_what_a_user_can_get_wrong_is_one_sentence_each(refusal: Callable[..., str], tmp_path: Path) -> None:
    source = folder_of(tmp_path / "recorded", ["red", "blue"], steps=3)
    out = tmp_path / "out"
    assert "25 episodes were asked for and 2 are left" in refusal("mix", source, "--out", out, "--size", 25)
    assert "--size must be 1 at least" in refusal("mix", source, "--out", out, "--size", 0)
    assert "No episode has variant 'pink'" in refusal("mix", source, "--out", out, "--variants", "pink")
    assert "--segment and --expert go together" in refusal("mix", source, "--out", out, "--segment", "carry")
    assert "no segment 'insert'" in refusal("mix", source, "--out", out, "--segment", "insert", "--expert", source)
    assert "exists: name another folder" in refusal("mix", source, "--out", source)
    assert "There is no policy in" in refusal("relabel", source, "--out", out, "--policy", tmp_path)
    assert "no name of an RLDS dataset" in refusal("export", source, "--out", tmp_path / "with-dash")
    assert "is no export of" in refusal("check-export", source, "--source", source)
    write(source / name_of(1), episode(contract_hash="0" * 64))
    for verb in ("mix", "export"):
        assert "differ in their contract" in refusal(verb, source, "--out", out)
    cut = source / name_of(1)
    cut.write_bytes(cut.read_bytes()[:3000])
    for verb in ("mix", "export"):
        assert "cut short" in refusal(verb, source, "--out", out)
    assert [path.name for path in tmp_path.iterdir()] == ["recorded"]


def test_a_full_disk_is_one_sentence_and_leaves_nothing(dataset: Run, tmp_path: Path) -> None:
    source = folder_of(tmp_path / "recorded", ["red", "blue"])

    def small_disk() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000))

    for verb in ("mix", "export"):
        code, said = dataset(verb, source, "--out", tmp_path / "out", preexec_fn=small_disk)
        assert code == 1
        assert said.startswith("dataset: [Errno 27] File too large")
        assert len(said.splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["recorded"]


def test_an_export_that_is_killed_leaves_no_folder_and_the_next_one_sweeps(dataset: Run, tmp_path: Path) -> None:
    source = folder_of(tmp_path / "recorded", ["red"] * 12, steps=40)
    out = tmp_path / "lift"
    running = subprocess.Popen([*PROGRAM, "export", source, "--out", out], stderr=subprocess.DEVNULL)
    while not list(tmp_path.glob(".lift.*/1.0.0/*")):
        assert running.poll() is None, "it was over before it could be killed"
        time.sleep(0.002)
    running.send_signal(signal.SIGKILL)
    running.wait()
    assert not out.exists()
    assert list(tmp_path.glob(".lift.*"))
    assert dataset("export", source, "--out", out) == (0, "")
    assert not list(tmp_path.glob(".lift.*"))
    assert len(list(rlds.read(out, "train"))) == 11


@pytest.mark.readers
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("kind", ["rlds", "lerobot", "lerobot21"])
def test_the_ecosystems_own_reader_finds_the_source(dataset: Run, tmp_path: Path, kind: str) -> None:
    source = folder_of(tmp_path / "recorded", ["red", "blue", "red"], steps=12)
    out, report = tmp_path / "lift", tmp_path / "report.json"
    assert dataset("export", source, "--out", out, "--format", kind)[0] == 0
    code, said = dataset("check-export", out, "--source", source, "--report", report)
    assert code == 0, said
    figures = json.loads(report.read_text())
    assert (figures["episodes"], figures["steps"], figures["cameras"]) == (3, 39, ["front", "wrist"])
    assert figures["action_max_difference"] <= 1e-6
    other = folder_of(tmp_path / "other" / "recorded", ["red", "blue", "blue"], steps=13)
    assert dataset("check-export", out, "--source", other)[0] == 1, "another source is not taken for it"
