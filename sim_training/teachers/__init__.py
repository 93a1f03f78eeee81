"""Teachers: who is asked which way the tool should go, and is never obeyed blindly.

Importing this package loads no torch: a VLA's own environment runs the teacher server from it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from contract.task_spec import TaskSpec
from sim_training.teachers.names import check_name

if TYPE_CHECKING:
    from sim_training.teachers.teacher import Teacher


def make_teacher(name: str, spec: TaskSpec) -> Teacher:
    """The scripted teacher for a task, or the one served at that address (`tcp://`, `ipc://`).

    Raises one of TEACHER_ERRORS, see `errors.py`.
    """
    check_name(name)
    if "://" in name:
        from sim_training.teachers.remote import RemoteTeacher

        return RemoteTeacher(name)
    from sim_training.teachers.scripted import ScriptedTeacher

    return ScriptedTeacher(spec)
