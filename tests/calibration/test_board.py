"""The board is found to a fraction of a pixel, printed to scale, and what is wrong with it is said in one sentence."""

from __future__ import annotations

import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from calibration.board import (
    BlurredFrame,
    Board,
    BoardHalfVisible,
    BoardOfOtherDimensions,
    BoardView,
    NoBoard,
    UnknownBoard,
    check_size,
    pose_of,
)
from contract.poses import Pose, quat_from_axis_angle, rotation_between

K = np.array([[312.6, 0.0, 211.5], [0.0, 312.6, 119.5], [0.0, 0.0, 1.0]])
BOARDS = [Board(), Board.parse("charuco:5x4:45:33")]
OVERSAMPLED = 6


def picture(board: Board, pose: Pose, background: int = 110) -> np.ndarray:
    """What a perfect camera sees of it, averaged over each pixel."""
    drawn = board.image(100)
    height, width = drawn.shape
    w, h = board.plate_m
    px_to_m = np.array([[w / width, 0, -w / 2 + w / width / 2], [0, h / height, -h / 2 + h / height / 2], [0, 0, 1]])
    T = pose.matrix()
    project = K @ np.stack([T[:3, 0], T[:3, 1], T[:3, 3]], axis=1) @ px_to_m
    finer = np.diag([OVERSAMPLED, OVERSAMPLED, 1.0])
    finer[:2, 2] = (OVERSAMPLED - 1) / 2
    size = 424 * OVERSAMPLED, 240 * OVERSAMPLED
    large = cv2.warpPerspective(drawn, finer @ project, size, flags=cv2.INTER_LINEAR, borderValue=background)
    gray = cv2.resize(large, (424, 240), interpolation=cv2.INTER_AREA)
    return np.repeat(gray[..., None], 3, axis=2)


def seen_at(board: Board, z: float = 0.6, x: float = 0.0, turn: tuple[float, float, float] = (0.3, -0.2, 0.2)) -> Pose:
    return Pose(np.array([x, 0.0, z]), quat_from_axis_angle(np.array(turn)))


def expected_px(view: BoardView, pose: Pose) -> np.ndarray:
    p = pose.apply(view.points_board)
    return p[:, :2] / p[:, 2:] * [K[0, 0], K[1, 1]] + K[:2, 2]


@pytest.mark.parametrize("board", BOARDS, ids=str)
@pytest.mark.parametrize("turn", [(0.0, 0.0, 0.0), (0.6, 0.0, 0.3), (0.0, -0.6, -0.5), (0.3, 0.4, 0.7)])
def test_corners_are_found_within_three_tenths_of_a_pixel(board: Board, turn: tuple[float, float, float]) -> None:
    pose = seen_at(board, turn=turn)
    view = board.find(picture(board, pose))
    off = np.linalg.norm(view.corners_px - expected_px(view, pose), axis=1)
    assert np.sqrt((off**2).mean()) < 0.3
    found = pose_of(view, K)
    assert np.linalg.norm(found.position - pose.position) < 0.006
    assert np.linalg.norm(rotation_between(found.quaternion, pose.quaternion)) < np.deg2rad(4)


def test_an_empty_picture_has_no_board() -> None:
    noise = np.random.default_rng(0).integers(60, 180, (240, 424, 3)).astype(np.uint8)
    with pytest.raises(NoBoard, match="put it where the camera sees it"):
        Board().find(noise)


def test_half_a_board_is_not_taken_for_a_whole_one() -> None:
    board = Board()
    rgb = picture(board, seen_at(board, z=0.5, turn=(0.0, 0.0, 0.0)))
    rgb[:, 215:] = 110
    with pytest.raises(BoardHalfVisible, match="corners are seen"):
        board.find(rgb)


@pytest.mark.parametrize("board", BOARDS, ids=str)
@pytest.mark.parametrize("sigma_px", [2.5, 4.0])
def test_a_blurred_picture_is_refused(board: Board, sigma_px: float) -> None:
    rgb = cv2.GaussianBlur(picture(board, seen_at(board)), (0, 0), sigma_px)
    with pytest.raises(BlurredFrame, match="blurred"):
        board.find(rgb)


def test_tags_of_another_board_are_named() -> None:
    larger = Board("apriltag", 5, 4, 0.045, 0.036)
    with pytest.raises(BoardOfOtherDimensions, match="name the board that is there"):
        Board("apriltag", 4, 3, 0.045, 0.036).find(picture(larger, seen_at(larger, 0.5)))


def test_a_board_printed_at_another_scale_is_noticed_by_its_depth() -> None:
    board, pose = Board(), seen_at(Board())
    view = board.find(picture(board, pose))
    true_depth = np.full((240, 424), 0.6, np.float32)
    check_size(view, Pose(np.array([0.0, 0.0, 0.6]), np.array([1.0, 0, 0, 0])), true_depth)
    with pytest.raises(BoardOfOtherDimensions, match="times as large"):
        check_size(view, pose_of(view, K), 0.8 * true_depth)


def test_corners_that_lie_on_no_plane_are_another_board() -> None:
    board = Board()
    view = board.find(picture(board, seen_at(board)))
    bent = BoardView(view.ids, view.corners_px + 8.0 * np.sin(view.ids[:, None] * 1.7), view.points_board)
    with pytest.raises(BoardOfOtherDimensions):
        pose_of(bent, K)


def test_a_board_is_written_and_read_as_text() -> None:
    for board in BOARDS:
        assert Board.parse(str(board)) == board


@pytest.mark.parametrize("text", ["charuco", "chess:5x4:45:33", "charuco:5x4:30:40", "charuco:2x2:45:33"])
def test_boards_that_cannot_be_are_refused(text: str) -> None:
    with pytest.raises(UnknownBoard):
        Board.parse(text)


def test_the_printed_page_has_the_size_it_names_and_the_board_its_own(tmp_path: Path) -> None:
    board = Board()
    assert board.print_pdf(tmp_path / "board.pdf") == "A4"
    pdf = (tmp_path / "board.pdf").read_bytes()
    box = re.search(rb"/MediaBox \[ ?([\d. ]+)\]", pdf)
    assert box is not None
    width, height = (float(x) * 25.4 / 72 for x in box[1].split()[2:])
    assert (width, height) == pytest.approx((297.0, 210.0), abs=0.1)


def test_a_board_for_no_page_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnknownBoard, match="larger than the largest page"):
        Board("charuco", 6, 5, 0.2, 0.15).print_pdf(tmp_path / "board.pdf")
