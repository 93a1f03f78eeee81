"""What a program that asks a teacher tells its user in one sentence."""

from __future__ import annotations

from sim_training.teachers.keys import TeacherKeysMissing
from sim_training.teachers.names import UnknownTeacher
from sim_training.teachers.remote import TeacherRefused, TeacherUnreachable
from sim_training.teachers.teacher import BadAnswer

TEACHER_ERRORS = (UnknownTeacher, TeacherUnreachable, TeacherRefused, TeacherKeysMissing, BadAnswer)
"""The first four when a teacher is made, the last when it is asked."""
