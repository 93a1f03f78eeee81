"""Hand-labelled frames: what is read, and one clear sentence for each mistake."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from perception.real_frames import BadRealFrames, read_frames, split

SQUARE = "0 0.25 0.5 0.5 0.5 0.5 0.75 0.25 0.75\n"
PEG = "0 0.5 0.5 0.5 0.2 0.7 0.5 2 0.3 0.5 2\n"


def frames(folder: Path, label: str | None = SQUARE, count: int = 1, names: str | None = None) -> Path:
    for kind in ("images", "labels"):
        (folder / kind).mkdir(exist_ok=True)
    for k in range(count):
        cv2.imwrite(str(folder / "images" / f"{k:03d}.png"), np.full((240, 320, 3), k, np.uint8))
        if label is not None:
            (folder / "labels" / f"{k:03d}.txt").write_text(label)
    if names is not None:
        (folder / "data.yaml").write_text(names)
    return folder


def test_a_polygon_becomes_the_mask_it_outlines(tmp_path: Path) -> None:
    (frame,) = read_frames(frames(tmp_path), "cube", 160, is_long=False)
    expected = np.zeros((240, 320), bool)
    expected[120:180, 80:160] = True
    assert (frame.mask ^ expected).sum() < 0.05 * expected.sum()
    assert frame.ends_px is None


def test_a_picture_without_a_label_shows_nothing(tmp_path: Path) -> None:
    (frame,) = read_frames(frames(tmp_path, label=None), "cube", 160, is_long=False)
    assert not frame.mask.any()


def test_the_ends_of_a_long_object_come_in_the_order_of_training(tmp_path: Path) -> None:
    (frame,) = read_frames(frames(tmp_path, PEG), "peg", 160, is_long=True)
    assert frame.ends_px is not None
    np.testing.assert_allclose(frame.ends_px, [[95.5, 119.5], [223.5, 119.5]], atol=1e-6)
    assert frame.mask.sum() == pytest.approx(160 * 48, rel=0.05)


def test_a_tenth_and_at_least_one_is_kept_to_validate_on(tmp_path: Path) -> None:
    read = read_frames(frames(tmp_path, count=25), "cube", 160, is_long=False)
    train, kept = split(read)
    assert (len(train), len(kept)) == (23, 2)
    assert [len(part) for part in split(read[:3])] == [2, 1]


@pytest.mark.parametrize(
    ("label", "says"),
    [
        ("1 0.1 0.1 0.2 0.2 0.1 0.3\n", "class 1 is unknown; 'cube' is 0"),
        ("cube 0.1 0.1 0.2 0.2 0.1 0.3\n", "not a row of numbers"),
        ("0 0.1 0.1 0.2 0.2\n", "three or more pairs"),
        ("0 0.1 0.1 0.2 0.2 0.1\n", "three or more pairs"),
        ("0 0.1 0.1 0.2 0.2 0.1 1.3\n", "shares of the picture"),
        ("0 0.1 0.1 0.2 0.2 0.1 -0.3\n", "shares of the picture"),
        ("0 0.1 0.1 0.2 0.2 0.1 nan\n", "shares of the picture"),
    ],
)
def test_a_malformed_label_is_named_with_its_line(tmp_path: Path, label: str, says: str) -> None:
    with pytest.raises(BadRealFrames, match=says) as raised:
        read_frames(frames(tmp_path, SQUARE + label), "cube", 160, is_long=False)
    assert "000.txt, line 2" in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("names", "says"),
    [
        ("names: [cube, cup]\n", "names cup; this detector learns 'cube' only"),
        ("names: {0: cup}\n", "names cup"),
        ("names: []\n", "no class"),
        ("nc: 1\n", "'names'"),
        ("names: [\n", "'names'"),
    ],
)
def test_unknown_classes_are_named(tmp_path: Path, names: str, says: str) -> None:
    with pytest.raises(BadRealFrames, match=says):
        read_frames(frames(tmp_path, names=names), "cube", 160, is_long=False)


def test_a_class_may_have_another_number(tmp_path: Path) -> None:
    (frame,) = read_frames(
        frames(tmp_path, SQUARE.replace("0 ", "3 ", 1), names="names: {3: cube}\n"), "cube", 160, is_long=False
    )
    assert frame.mask.any()


def test_polygons_cannot_teach_a_peg(tmp_path: Path) -> None:
    with pytest.raises(BadRealFrames, match="two ends"):
        read_frames(frames(tmp_path), "peg", 160, is_long=True)


def test_missing_broken_and_small_pictures_are_named(tmp_path: Path) -> None:
    with pytest.raises(BadRealFrames, match="no .png or .jpg pictures"):
        read_frames(tmp_path, "cube", 160, is_long=False)
    frames(tmp_path)
    with pytest.raises(BadRealFrames, match="at least 280"):
        read_frames(tmp_path, "cube", 280, is_long=False)
    (tmp_path / "labels" / "lost.txt").write_text(SQUARE)
    with pytest.raises(BadRealFrames, match="lost.txt has no picture"):
        read_frames(tmp_path, "cube", 160, is_long=False)
    (tmp_path / "labels" / "lost.txt").unlink()
    (tmp_path / "images" / "000.png").write_bytes(b"no picture")
    with pytest.raises(BadRealFrames, match="not a readable picture"):
        read_frames(tmp_path, "cube", 160, is_long=False)
