"""The JSON file of a program's figures: its folder is made before the work begins, the file is whole or not there."""

import contextlib
import json
import os
from pathlib import Path
from typing import Any


class CannotWrite(OSError):
    """A file that is to be written at the end cannot be; the sentence says which."""


def check(*paths: Path | None) -> None:
    """Makes the files' folders. Raises CannotWrite, before anything is started."""
    for path in filter(None, paths):
        folder = path.absolute().parent
        with contextlib.suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
        if path.is_dir() or not folder.is_dir() or not os.access(folder, os.W_OK):
            raise CannotWrite(f"{path} cannot be written: name a file in a folder that you may write.")


def write(path: Path | None, figures: dict[str, Any]) -> None:
    """Nothing where no path is given. Raises CannotWrite."""
    if path is None:
        return
    staging = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        staging.write_text(json.dumps(figures, indent=1) + "\n")
        staging.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            staging.unlink(missing_ok=True)
        raise CannotWrite(f"{path} cannot be written ({error.strerror}); what it was before is kept.") from error
