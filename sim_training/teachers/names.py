"""What a teacher may be called: checked before anything heavy is imported."""

from __future__ import annotations

import difflib
from pathlib import Path

SCRIPTED = "scripted"
_KNOWN = f"Known are {SCRIPTED} (synthetic) and the address of a teacher server, such as tcp://127.0.0.1:5570."
_ADAPTERS = Path(__file__).parent / "adapters"
_NOT_ADAPTERS = ("__init__", "conversions")


class UnknownTeacher(ValueError):
    """No teacher has this name."""


def served_families() -> list[str]:
    """The families of models that `launch/serve_teacher.py` serves: one adapter file each."""
    return sorted(path.stem for path in _ADAPTERS.glob("*.py") if path.stem not in _NOT_ADAPTERS)


def check_name(name: str) -> None:
    """Raises UnknownTeacher for what is neither `scripted` nor an address such as tcp://HOST:PORT."""
    if name == SCRIPTED or "://" in name:
        return
    family = name.lower()
    if family in served_families():
        raise UnknownTeacher(
            f"Teacher '{name}' runs in a program of its own:"
            f" serve it with launch/serve_teacher.py {family} and give its address. {_KNOWN}"
        )
    raise UnknownTeacher(f"There is no teacher '{name}'; did you mean '{_nearest(name)}'? {_KNOWN}")


def _nearest(name: str) -> str:
    if ":" in name:
        return f"tcp://{name.rpartition('/')[2]}"
    return difflib.get_close_matches(name.lower(), [SCRIPTED, *served_families()], n=1, cutoff=0.0)[0]
