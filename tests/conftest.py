"""What every test gets: the settings of the environment, and one place for what a test needs of the machine."""

from __future__ import annotations

import os

import _environment

for _name, _value in _environment.DEFAULTS.items():
    os.environ.setdefault(_name, _value)
