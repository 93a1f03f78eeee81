"""A folder of episodes goes on where it was stopped, holds one kind only, and fills no disk."""

from __future__ import annotations

import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from robot_runtime.collection import episode
from robot_runtime.collection.episode import EpisodeBroken
from robot_runtime.collection.folder import DiskFull, Folder, FolderBusy, Kind, OtherEpisodes, alone_in
from tests.robot_runtime.collection.made_up import about
from tests.robot_runtime.collection.made_up import episode as made_up

KIND = Kind.of(about())


def test_numbers_go_on_where_they_stopped_and_half_written_files_are_swept_away(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "new" / "folder", KIND)
    assert folder.next_number == 0
    folder.add(0, made_up())
    folder.add(4, made_up(success=False))
    staging = folder.path / ".episode_00005.h5.4711"
    staging.write_bytes(b"half")
    again = Folder(folder.path, KIND)
    assert again.next_number == 5
    assert [each.success for each in again.abouts] == [True, False]
    assert not staging.exists()


@pytest.mark.parametrize(
    "other", [{"task": "pick_cube"}, {"contract_hash": "00"}, {"policy": "another"}, {"cell": "lab"}]
)
def test_episodes_of_another_kind_are_refused_in_one_sentence(tmp_path: Path, other: dict[str, str]) -> None:
    Folder(tmp_path, KIND).add(0, made_up())
    with pytest.raises(OtherEpisodes, match="name another folder with --out") as refusal:
        Folder(tmp_path, Kind(**(vars(KIND) | other)))
    assert len(str(refusal.value).splitlines()) == 1


def test_a_file_that_was_cut_short_is_named(tmp_path: Path) -> None:
    path = Folder(tmp_path, KIND).add(0, made_up())
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(EpisodeBroken, match="episode_00000.h5"):
        Folder(tmp_path, KIND)


def test_room_is_asked_for_before_anything_moves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Folder(tmp_path, KIND)
    folder.check_room(10, with_frames=True)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=250_000_000))
    folder.check_room(10, with_frames=False)
    folder.check_room(0, with_frames=True)
    with pytest.raises(DiskFull, match="250 MB free and 100 more"):
        folder.check_room(100, with_frames=False)


def write_with_no_room(path: Path) -> None:
    """In a process of its own, which may write files of 20 kB at most."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        Folder(path, KIND).add(1, made_up(steps=60))
    except DiskFull as error:
        print(error)


def test_a_disk_that_is_full_midway_costs_the_running_episode_only(tmp_path: Path) -> None:
    Folder(tmp_path, KIND).add(0, made_up())
    body = f"from pathlib import Path; from {__name__} import *; write_with_no_room(Path({str(tmp_path)!r}))"
    done = subprocess.run([sys.executable, "-c", body], capture_output=True, text=True, check=True)
    assert "this episode is lost, the 1 before are whole" in done.stdout, done.stdout + done.stderr
    assert len(done.stdout.strip().splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == [episode.name_of(0)]
    assert len(episode.read(tmp_path / episode.name_of(0))) == 20


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DiskFull, match="name another folder with --out"):
        Folder(tmp_path / "file" / "folder", KIND)


def test_two_collectors_do_not_mix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    again = alone_in(tmp_path / "b" / ".." / "a")
    with alone_in(tmp_path / "a"), alone_in(tmp_path / "b"), pytest.raises(FolderBusy, match="wait for it or stop it"):
        again.__enter__()
    with alone_in(tmp_path / "a"):
        pass


def test_killed_again_and_again_while_it_writes_it_leaves_whole_episodes_only(tmp_path: Path) -> None:
    body = (
        f"from pathlib import Path; from {__name__} import *\n"
        f"folder = Folder(Path({str(tmp_path)!r}), KIND); made = made_up(steps=60)\n"
        "while True: print(folder.add(folder.next_number, made), flush=True)"
    )
    for moment in range(4):
        process = subprocess.Popen([sys.executable, "-c", body], stdout=subprocess.PIPE)
        assert process.stdout is not None
        assert b"episode_" in process.stdout.readline()
        time.sleep(0.007 * moment)
        process.kill()
        process.wait()
    folder = Folder(tmp_path, KIND)
    assert folder.next_number == len(folder.abouts) >= 4
    assert all(len(made) == 60 for _, made in episode.read_all(tmp_path))
