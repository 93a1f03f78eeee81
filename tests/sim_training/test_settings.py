"""What a user may ask for: checked before anything heavy is imported, each mistake answered in one sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from contract.tasks import UnknownTask
from sim_training import settings
from sim_training.envs import UnknownOption
from sim_training.settings import Config, FolderInUse, NoCheckpoint, OtherRanks, complete_checkpoints
from sim_training.teachers.names import UnknownTeacher


@pytest.mark.parametrize(
    ("wrong", "error", "words"),
    [
        ({"task": "lift_cub"}, UnknownTask, "did you mean 'lift_cube'"),
        ({"algo": "vlaj"}, UnknownOption, "no algorithm 'vlaj'; did you mean 'vlajs'"),
        ({"reward": "spars"}, UnknownOption, "no reward 'spars'; did you mean 'sparse'"),
        ({"teacher": "openvla"}, UnknownTeacher, "serve it with launch/serve_teacher.py openvla"),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest_one(
    wrong: dict[str, str], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        Config(**wrong).check()  # type: ignore[arg-type]


def _checkpoint(folder: Path, *names: str) -> None:
    (folder / "checkpoints").mkdir(exist_ok=True)
    for name in names:
        (folder / "checkpoints" / f"{name}.pt").touch()


def test_only_checkpoints_of_every_rank_count(tmp_path: Path) -> None:
    _checkpoint(tmp_path, "000010-rank0of2")
    assert complete_checkpoints(tmp_path) == {}
    _checkpoint(tmp_path, "000010-rank1of2", "000020-rank0of2", "000005-rank0of1")
    assert complete_checkpoints(tmp_path) == {1: 5, 2: 10}


def _read(monkeypatch: pytest.MonkeyPatch, folder: Path, *arguments: str, ranks: int = 2) -> Config:
    monkeypatch.setenv("RANKS", str(ranks))
    monkeypatch.setattr("sys.argv", ["train", "--out", str(folder), *arguments])
    return settings.read()


def test_a_run_killed_during_its_first_checkpoint_is_started_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _checkpoint(tmp_path, "000010-rank0of2")
    with pytest.raises(NoCheckpoint, match="start without --resume"):
        _read(monkeypatch, tmp_path, "--resume")
    assert _read(monkeypatch, tmp_path).folder == tmp_path


def test_a_run_goes_on_with_as_many_ranks_as_it_began(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _checkpoint(tmp_path, "000010-rank0of2", "000010-rank1of2")
    assert _read(monkeypatch, tmp_path, "--resume").resume
    with pytest.raises(OtherRanks, match="has 2 ranks, this would be 4: resume it with RANKS=2"):
        _read(monkeypatch, tmp_path, "--resume", ranks=4)
    with pytest.raises(FolderInUse, match="continue it with --resume"):
        _read(monkeypatch, tmp_path)
