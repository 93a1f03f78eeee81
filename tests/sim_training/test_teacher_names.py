"""A teacher's name is `scripted` or an address; anything else is one sentence, and never the synthetic teacher."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from contract.tasks import LIFT_CUBE
from sim_training.teachers import make_teacher
from sim_training.teachers.names import UnknownTeacher, check_name, served_families
from sim_training.teachers.scripted import ScriptedTeacher

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("name", ["openvla-7b", "Scripted", "oracle", "", "scripted (synthetic)"])
def test_a_name_nobody_has_is_an_error_that_names_the_nearest(name: str) -> None:
    with pytest.raises(UnknownTeacher, match="did you mean .*Known are scripted .*tcp://127.0.0.1:5570"):
        make_teacher(name, LIFT_CUBE)


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("scriptd", "scripted"),
        ("opnvla", "openvla"),
        ("127.0.0.1:5570", "tcp://127.0.0.1:5570"),
        ("tcp:/gpu:5570", "tcp://gpu:5570"),
    ],
)
def test_a_slip_of_the_finger_is_told_what_was_meant(name: str, near: str) -> None:
    with pytest.raises(UnknownTeacher, match=f"did you mean '{near}'"):
        check_name(name)


@pytest.mark.parametrize("family", ["openvla", "octo", "lerobot", "openpi", "tiny"])
def test_a_model_that_has_to_be_served_is_told_how(family: str) -> None:
    with pytest.raises(UnknownTeacher, match=rf"serve it with launch/serve_teacher\.py {family} and give its address"):
        make_teacher(family, LIFT_CUBE)
    assert family in served_families()


def test_the_scripted_teacher_and_addresses_are_known() -> None:
    for name in ("scripted", "tcp://127.0.0.1:5570", "ipc:///tmp/teacher"):
        check_name(name)
    assert isinstance(make_teacher("scripted", LIFT_CUBE), ScriptedTeacher)


def test_checking_a_name_loads_neither_torch_nor_sockets() -> None:
    program = "import sys; import sim_training.teachers.names; print({'torch', 'zmq', 'msgpack'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "set()", done.stderr
