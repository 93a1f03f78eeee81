"""Keyboard and SpaceMouse say what the hand does; what is missing is said in one sentence."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace

import numpy as np
import pytest

from contract.poses import quat_rotate
from contract.task_spec import TaskSpec
from contract.tasks import LIFT_CUBE, PEG_UPRIGHT
from robot_runtime.teleoperation.device import DeviceMissing, in_wrist
from robot_runtime.teleoperation.keyboard import HELD_S, HELP, MOVES, Keyboard, TerminalKeys
from robot_runtime.teleoperation.spacemouse import SILENT_S, SpaceMouse

FORWARD, UP = (1, 0, 0), (0, 0, -1)
"""In the frame of a tool that points down."""


class TypedKeys(TerminalKeys):
    """Synthetic: keys without a terminal."""

    def __init__(self) -> None:
        self.waiting = ""

    def pressed(self, wait_s: float = 0.0) -> str:
        typed, self.waiting = self.waiting, ""
        return typed


class Typist:
    """A keyboard, its keys and its clock."""

    def __init__(self) -> None:
        self.now, self.keys = 10.0, TypedKeys()
        self.board = Keyboard(0.5, keys=self.keys, clock=lambda: self.now)

    def types(self, keys: str) -> None:
        self.keys.waiting += keys


@pytest.fixture
def typist() -> Typist:
    return Typist()


def test_a_key_moves_while_it_is_held_and_for_a_moment_after(typist: Typist) -> None:
    typist.types("w")
    first = typist.board.read()
    assert first.touched
    np.testing.assert_allclose(first.twist_wrist[:3], 0.5 * np.array(FORWARD), atol=1e-12)
    typist.now += 0.9 * HELD_S
    assert typist.board.read().touched
    typist.now += 0.2 * HELD_S
    after = typist.board.read()
    assert not after.touched
    assert not after.twist_wrist.any()


@pytest.mark.parametrize("card", [LIFT_CUBE, PEG_UPRIGHT])
def test_forward_is_away_from_the_robot_however_the_hand_is_turned(card: TaskSpec) -> None:
    hand = np.array(card.start_quaternion)
    for person in np.eye(3):
        twist = in_wrist(np.array([*person, *person]), hand)
        np.testing.assert_allclose(quat_rotate(hand, twist[:3]), person, atol=1e-6)
        np.testing.assert_allclose(quat_rotate(hand, twist[3:]), person, atol=1e-6)


def test_keys_together_add_up_and_opposite_ones_cancel(typist: Typist) -> None:
    typist.types("wR")
    np.testing.assert_allclose(
        typist.board.read().twist_wrist[:3], 0.5 * np.array(FORWARD) + 0.5 * np.array(UP), atol=1e-12
    )
    typist.types("s")
    np.testing.assert_allclose(typist.board.read().twist_wrist[:3], 0.5 * np.array(UP), atol=1e-12)


def test_every_other_key_does_what_the_help_says(typist: Typist) -> None:
    for keys, expected in (
        ("g", (True, True, None, False, False)), ("gg", (True, False, None, False, False)),
        ("y", (False, False, True, False, False)), ("yn", (False, False, False, False, False)),
        ("\n", (False, False, None, True, False)), (" ", (False, False, None, False, True)),
        ("x\x1b[A", (False, False, None, False, False)),
    ):  # fmt: skip
        typist.now += 1.0
        typist.types(keys)
        read = typist.board.read()
        assert (read.touched, read.grips, read.mark, read.ends, read.stops) == expected, keys
        typist.now += 1.0
        assert not typist.board.read().grips
    assert all(f"{key}/" in HELP[0] or f"/{key} " in HELP[0] for key in MOVES)


def test_without_a_terminal_there_is_no_keyboard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", SimpleNamespace(isatty=lambda: False))
    with pytest.raises(DeviceMissing, match="start this program from a terminal"), Keyboard(0.5):
        pass


class SyntheticMouse:
    """Stands for pyspacemouse's device: one state object, brought up to date by one report at every read."""

    def __init__(self, *reports: dict[str, object]) -> None:
        from pyspacemouse import SpaceMouseState

        self.state = SpaceMouseState(buttons=[0, 0])  # type: ignore[arg-type]
        self.reports: Iterator[dict[str, object]] = iter(reports)
        self.closed = False

    def read(self) -> object:
        for name, value in next(self.reports, {}).items():
            if isinstance(value, Exception):
                raise value
            setattr(self.state, name, value)
        return self.state

    def close(self) -> None:
        self.closed = True


def test_the_cap_moves_the_tool_and_the_newest_report_counts() -> None:
    mouse = SyntheticMouse({"t": 1.0, "x": 0.2}, {"t": 1.008, "x": 0.6, "z": 1.0}, {"t": 1.016, "x": 1.0, "z": 0.03})
    with SpaceMouse(0.5, opened=lambda: mouse) as device:
        read = device.read()
    assert read.touched
    np.testing.assert_allclose(read.twist_wrist, [0.5, 0, 0, 0, 0, 0], atol=1e-12)
    assert mouse.closed


def test_up_is_away_from_the_table_and_turning_left_is_turning_left() -> None:
    with SpaceMouse(1.0, opened=lambda: SyntheticMouse({"t": 1.0, "z": 1.0, "yaw": 1.0})) as device:
        np.testing.assert_allclose(device.read().twist_wrist, [0, 0, -1, 0, 0, -1], atol=1e-12)


def test_a_cap_that_rests_a_little_off_is_not_touched() -> None:
    with SpaceMouse(1.0, opened=lambda: SyntheticMouse({"t": 1.0, "x": 0.05, "yaw": -0.04})) as device:
        read = device.read()
    assert not read.touched
    assert not read.twist_wrist.any()


def test_a_cap_that_falls_silent_is_let_go_of_until_it_is_heard_again() -> None:
    now = 10.0
    mouse = SyntheticMouse({"t": 1.0, "x": 1.0}, *5 * [{}], {"t": 1.5})
    with SpaceMouse(0.5, opened=lambda: mouse, clock=lambda: now) as device:
        for later, pushes in ((0.0, True), (0.9 * SILENT_S, True), (0.2 * SILENT_S, False), (0.1, True)):
            now += later
            read = device.read()
            assert (read.touched, read.twist_wrist.any()) == (pushes, pushes), later


def test_a_button_acts_once_however_long_it_is_held() -> None:
    mouse = SyntheticMouse({"t": 1.0, "buttons": [1, 0]}, {"t": 1.1, "buttons": [1, 0]}, {"t": 1.2, "buttons": [0, 1]})
    with SpaceMouse(1.0, opened=lambda: mouse) as device:
        first, second = device.read(), device.read()
    assert (first.grips, first.mark, first.touched) == (True, True, True)
    assert (second.grips, second.mark, second.touched) == (False, None, True)


def test_a_mouse_that_is_unplugged_is_said_to_be_gone() -> None:
    device = SpaceMouse(1.0, opened=lambda: SyntheticMouse({"t": OSError("read error")}))
    with device, pytest.raises(DeviceMissing, match=r"The SpaceMouse is gone \(read error\): plug it in"):
        device.read()


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("HID API is probably not installed. See …", "apt-get install libhidapi-hidraw0"),
        ("No connected or supported devices found.", "plug it in, or use --device keyboard"),
        ("Failed to open device", "udev rule"),
    ],
)
def test_what_is_missing_is_said_in_one_sentence(monkeypatch: pytest.MonkeyPatch, theirs: str, ours: str) -> None:
    import pyspacemouse

    def refuse(**_: object) -> None:
        raise RuntimeError(theirs)

    monkeypatch.setattr(pyspacemouse, "open", refuse)
    with pytest.raises(DeviceMissing, match=ours), SpaceMouse(1.0):
        pass


def test_the_real_library_is_asked_as_it_documents(monkeypatch: pytest.MonkeyPatch) -> None:
    import pyspacemouse

    asked: dict[str, object] = {}
    monkeypatch.setattr(pyspacemouse, "open", lambda **how: asked.update(how) or SyntheticMouse())
    with SpaceMouse(1.0) as device:
        assert not device.read().touched
    assert asked == {"axis_convention": pyspacemouse.AxisConvention.ROS}
