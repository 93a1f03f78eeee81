"""Which episodes and steps get into a dataset."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from contract.tasks import LIFT_CUBE
from robot_runtime.collection import segments
from robot_runtime.collection.checking import check
from robot_runtime.collection.episode import Episode, name_of, read, write
from robot_runtime.collection.folders import DatasetError, Entry, check_once, entries
from robot_runtime.collection.mixing import Piece, chosen, only, taken, whole, without_idle, write_pieces
from robot_runtime.collection.rlds import split_episodes
from robot_runtime.collection.success_steps import verdicts
from tests.robot_runtime.collection.made_up import episode
from tests.robot_runtime.collection.made_up_folders import entries_of


def idle(made: Episode, first: int, stop: int) -> Episode:
    """The episode with the tool at rest and the gripper as it is from step `first` to `stop`."""
    columns = {name: values.copy() for name, values in made.steps.items()}
    for kind in ("asked", "executed"):
        for frame in ("base", "wrist"):
            columns[f"{kind}_{frame}"][first:stop, :6] = 0.0
    return replace(made, steps=columns)


def entry_of(made: Episode) -> Entry:
    return Entry(Path("somewhere/episode_00000.h5"), made.about, made.steps, tuple(made.images))


def test_idle_steps_at_the_end_are_cut_but_one() -> None:
    piece = Piece(entry_of(idle(episode(steps=30), 20, 30)), 0, 30)
    assert without_idle(piece) == replace(piece, stop=21)
    busy = Piece(entry_of(episode(steps=30)), 0, 30)
    assert without_idle(busy, at_start=True) == busy


def test_idle_steps_at_the_start_are_cut_when_asked() -> None:
    piece = Piece(entry_of(idle(episode(steps=30), 0, 6)), 0, 30)
    assert without_idle(piece).start == 0
    assert (without_idle(piece, at_start=True).start, without_idle(piece, at_start=True).stop) == (5, 30)


def test_steps_in_between_and_closing_fingers_are_not_idle() -> None:
    made = idle(episode(steps=30), 15, 30)
    assert without_idle(Piece(entry_of(made), 0, 30)).stop == 17, "the gripper is told to close in step 15"
    made.steps["gripper_width"][20:] = 0.04
    assert without_idle(Piece(entry_of(made), 0, 30)).stop == 21, "fingers still move in step 19"


def test_an_episode_in_which_nothing_moves_is_empty() -> None:
    made = idle(episode(steps=10), 0, 10)
    made.steps["gripper_closed"][:] = 1.0 - made.steps["executed_base"][:, 6]
    assert len(without_idle(Piece(entry_of(made), 0, 10))) == 0


@pytest.mark.parametrize("balanced", [False, True])
def test_a_seeds_small_dataset_is_part_of_its_larger_ones(tmp_path: Path, balanced: bool) -> None:
    pieces = whole(entries_of(tmp_path / "a", ["red", "red", "red", "blue", "blue", "green", "green"], steps=2))
    before: set[str] = set()
    for size in range(1, 7):
        drawn = {piece.entry.source for piece in chosen(pieces, 3, balanced, size)}
        assert len(drawn) == size
        assert before < drawn
        before = drawn
    others = {tuple(p.entry.source for p in chosen(pieces, seed, balanced, 3)) for seed in range(10)}
    assert len(others) > 3, "the seed decides"


def test_variants_are_balanced_at_every_size(tmp_path: Path) -> None:
    pieces = whole(entries_of(tmp_path / "a", ["red"] * 7 + ["blue"] * 3 + ["green"] * 4, steps=2))
    for size in (3, 4, 6, 9, None):
        names = [piece.entry.about.variant for piece in chosen(pieces, 0, True, size)]
        counts = [names.count(name) for name in ("red", "blue", "green")]
        assert sum(counts) == (size or 9)
        assert max(counts) - min(counts) <= 1


def test_too_few_and_none_are_one_sentence(tmp_path: Path) -> None:
    pieces = whole(entries_of(tmp_path / "a", ["red"] * 3, steps=2))
    with pytest.raises(DatasetError, match="25 episodes were asked for and 3 are left"):
        chosen(pieces, 0, True, 25)
    with pytest.raises(DatasetError, match="No episode is left"):
        chosen([], 0, True, None)


def test_an_unknown_variant_or_instruction_is_told_with_what_there_is(tmp_path: Path) -> None:
    found = entries_of(tmp_path / "a", ["red", "blue"], steps=2)
    assert [entry.about.variant for entry in only(found, "variant", ["blue"])] == ["blue"]
    with pytest.raises(DatasetError, match="No episode has variant 'pink'; there are 'blue', 'red'"):
        only(found, "variant", ["pink"])
    with pytest.raises(DatasetError, match="'lift the cube'"):
        only(found, "instruction", ["sing"])


def test_a_cut_episode_is_whole_says_where_it_is_from_and_leaves_its_source_alone(tmp_path: Path) -> None:
    (entry,) = entries_of(tmp_path / "a", steps=20, notes={"segments": {"reach": [0, 6], "carry": [6, 20]}})
    before = entry.path.read_bytes()
    (tmp_path / "mixed").mkdir()
    write_pieces(tmp_path / "mixed", [Piece(entry, 4, 12), Piece(entry, 0, 20)])
    cut, uncut = (read(tmp_path / "mixed" / name_of(k)) for k in range(2))
    source = read(entry.path)
    assert len(cut) == 8
    np.testing.assert_array_equal(cut.steps["executed_wrist"], source.steps["executed_wrist"][4:12])
    assert cut.images["front"] == source.images["front"][4:12]
    assert cut.about.notes["from"] == {"episode": "a/episode_00000.h5", "steps": [4, 12]}
    assert cut.about.notes["segments"] == {"reach": [0, 2], "carry": [2, 8]}
    assert cut.about.duration_s == pytest.approx(0.8)
    assert uncut.images == source.images
    assert entry.path.read_bytes() == before
    assert list(check([tmp_path / "mixed" / name_of(0)])) == []


def test_a_persons_marks_are_cut_with_the_steps(tmp_path: Path) -> None:
    marks = [[2, True], [3, False], [10, True], [15, False]]
    (entry,) = entries_of(tmp_path / "a", steps=20, notes={"marks": marks})
    kept = taken(Piece(entry, 4, 14))
    assert kept.about.notes["marks"] == [[0, True], [0, False], [6, True]]
    assert verdicts(kept, LIFT_CUBE).tolist() == verdicts(read(entry.path), LIFT_CUBE)[4:14].tolist()


def test_steps_of_one_recording_are_there_once(tmp_path: Path) -> None:
    (entry,) = entries_of(tmp_path / "first", steps=10)
    for name, pieces in (("second", [Piece(entry, 0, 6)]), ("rest", [Piece(entry, 6, 10)])):
        (tmp_path / name).mkdir()
        write_pieces(tmp_path / name, pieces)
    check_once(entries([tmp_path / "second", tmp_path / "rest"]))
    with pytest.raises(DatasetError, match="hold the same steps of first/episode_00000.h5"):
        check_once(entries([tmp_path / "first", tmp_path / "rest"]))
    together = entries([tmp_path / "second", tmp_path / "rest"])
    with pytest.raises(DatasetError, match="two recordings"):
        split_episodes(together, 0)


def test_provenance_outlives_a_second_mixing(tmp_path: Path) -> None:
    (entry,) = entries_of(tmp_path / "first", steps=10)
    (tmp_path / "second").mkdir()
    write_pieces(tmp_path / "second", [Piece(entry, 0, 8)])
    (again,) = entries([tmp_path / "second"])
    assert taken(Piece(again, 2, 8)).about.notes["from"] == {
        "episode": "second/episode_00000.h5",
        "steps": [2, 8],
        "from": {"episode": "first/episode_00000.h5", "steps": [0, 8]},
    }


def test_raw_signals_are_cut_at_the_same_times(tmp_path: Path) -> None:
    made = episode(steps=10)
    stamps = 100.0 + 0.05 * np.arange(20)
    made = replace(made, ticks={"stamp": stamps, "torque": np.zeros((20, 7)), "once": np.zeros(3)})
    write(tmp_path / name_of(0), made)
    ticks = taken(Piece(entries([tmp_path])[0], 2, 5)).ticks
    np.testing.assert_allclose(ticks["stamp"], stamps[4:10])
    assert ticks["torque"].shape == (6, 7)
    assert ticks["once"].shape == (3,)


def holding(made: Episode, first: int) -> Episode:
    """The episode with the object in the hand from step `first`."""
    made.steps["object_held"][first:] = 1.0
    return made


def test_the_experts_segment_and_the_rest_of_demonstrations_make_the_papers_mix() -> None:
    person, expert = entry_of(holding(episode(steps=20), 12)), entry_of(holding(episode(steps=10), 4))
    mixed = segments.mixed(whole([person]), whole([expert]), "carry")
    assert mixed == [Piece(person, 0, 12), Piece(expert, 4, 10)]
    assert segments.mixed(whole([person]), whole([expert]), "reach") == [Piece(person, 12, 20), Piece(expert, 0, 4)]


def test_an_expert_of_the_segment_and_demonstrations_of_the_rest_pass_whole() -> None:
    grasping = entry_of(episode(steps=20, notes={"segments": {"grasp": [0, 20]}}))
    inserting = entry_of(episode(steps=10, notes={"segments": {"insert": [0, 10]}}))
    assert segments.mixed(whole([grasping]), whole([inserting]), "insert") == whole([grasping, inserting])


def test_a_segment_in_the_middle_leaves_both_sides_and_what_was_cut_stays_cut() -> None:
    notes = {"segments": {"grasp": [0, 5], "move": [5, 12], "insert": [12, 20]}}
    person, expert = entry_of(episode(steps=20, notes=notes)), entry_of(episode(steps=20, notes=notes))
    mixed = segments.mixed([Piece(person, 2, 18)], [Piece(expert, 0, 9)], "move")
    assert mixed == [Piece(person, 2, 5), Piece(person, 12, 18), Piece(expert, 5, 9)]


def test_a_segment_nobody_has_is_told_with_those_there_are() -> None:
    entry = entry_of(holding(episode(steps=10), 4))
    with pytest.raises(DatasetError, match="no segment 'insert'; there are carry, reach"):
        segments.mixed(whole([entry]), whole([entry]), "insert")
    held = entry_of(holding(episode(steps=10), 0))
    with pytest.raises(DatasetError, match="nothing beside the segment"):
        segments.mixed(whole([held]), whole([held]), "carry")
