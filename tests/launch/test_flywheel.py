"""What one turn of the wheel says when it is over, and that a folder holds one turn only."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import flywheel
import numpy as np
import pytest

import _sim_episodes
from sim_training.learning_curves import Curve
from sim_training.settings import USER_ERRORS

TRIED = {"before": {"success": 0.1, "wilson_95": [0.05, 0.2]}, "after": {"success": 0.6, "wilson_95": [0.5, 0.7]}}


def curve(*success: float) -> Curve:
    return Curve(np.arange(1, len(success) + 1) * 1000, np.array(success), {})


def test_the_report_has_what_was_promised_and_the_chart_lies_beside_it(tmp_path: Path) -> None:
    arguments = flywheel.Arguments(out=tmp_path, report=tmp_path / "turn.json", seeds=(0, 1, 2))
    curves = {
        "before": [curve(0.0, 0.1), curve(0.2, 0.9), curve(0.1, 0.3)],
        "after": [curve(0.9), curve(0.3, 0.8), curve(0.85)],
    }
    flywheel.report(arguments, TRIED["before"], TRIED["after"], curve(0.5, 0.95), curves)
    figures = json.loads((tmp_path / "turn.json").read_text())
    assert (figures["teacher_success_before"], figures["teacher_success_after"]) == (0.1, 0.6)
    assert (figures["steps_to_80_before"], figures["steps_to_80_after"]) == (None, 1000)
    assert figures["steps_to_80_per_seed"]["before"] == [None, 2000, None]
    assert (tmp_path / "turn.png").stat().st_size > 1000


def test_a_folder_holds_one_turn_of_as_many_seeds_as_one_likes(tmp_path: Path) -> None:
    def claim(**asked: Any) -> None:
        _sim_episodes.claim(tmp_path / "turn.json", flywheel.Arguments(out=tmp_path, **asked), ("out", "seeds"))

    claim()
    claim(seeds=(0, 1))
    with pytest.raises(_sim_episodes.OtherSettings, match="--out"):
        claim(episodes=7)


@pytest.mark.parametrize("asked", [{"next_algo": "vlajs_rdp"}, {"next_task": "pick_cub"}, {"reward": "spars"}])
def test_what_the_last_stage_could_not_do_is_said_before_the_first(tmp_path: Path, asked: dict[str, Any]) -> None:
    with pytest.raises(USER_ERRORS, match=r"[Dd]id you mean"):
        flywheel.main(flywheel.Arguments(out=tmp_path, **asked))
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("asked", [{"seeds": ()}, {"evaluation_episodes": 0}])
def test_a_turn_of_nothing_is_refused_and_claims_no_folder(tmp_path: Path, asked: dict[str, Any]) -> None:
    with pytest.raises(_sim_episodes.NothingAsked, match="At least one"):
        flywheel.main(flywheel.Arguments(out=tmp_path, **asked))
    assert not any(tmp_path.iterdir())


def test_a_teacher_that_is_there_is_not_trained_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "teacher").mkdir()
    (tmp_path / "teacher" / "card.json").write_text("{}")
    (tmp_path / "teacher.json").write_text(json.dumps(TRIED["after"]))
    monkeypatch.setattr(flywheel, "fit", lambda *_, **__: pytest.fail("it was trained again"))
    found = flywheel.teacher(tmp_path / "teacher", tmp_path, None, flywheel.Arguments())
    assert found == TRIED["after"]


def test_a_finished_training_is_only_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "report.json").write_text("{}")
    monkeypatch.setattr(flywheel, "read_curve", lambda folder: curve(0.4))
    assert flywheel.train(tmp_path, flywheel.UNAIDED, tmp_path).success.tolist() == [0.4]
