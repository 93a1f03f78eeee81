#!/usr/bin/env python3
"""Moments of a video side by side in one picture, such as the README's: contact_sheet.py --video F --picture F."""

import _environment

_environment.enter()

from dataclasses import dataclass
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import tyro


@dataclass(frozen=True)
class Arguments:
    """Which moments of which video."""

    video: Path
    """An MP4, for example of `launch/run_robot.py --video`."""
    picture: Path
    """The PNG to write."""
    moments: int = 4
    """How many frames, evenly spread from `start` to `end`."""
    start: float = 0.0
    """First moment, as a share of the video."""
    end: float = 1.0
    """Last moment, as a share of the video."""


def main(arguments: Arguments) -> None:
    """Write the picture."""
    frames = iio.imread(arguments.video)
    last = len(frames) - 1
    chosen = np.linspace(arguments.start * last, arguments.end * last, arguments.moments).round().astype(int)
    arguments.picture.parent.mkdir(parents=True, exist_ok=True)
    iio.imwrite(arguments.picture, np.concatenate(frames[chosen], axis=1))


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
