#!/usr/bin/env python3
"""Measurements, one per subcommand: `launch/bench.py sim`, `launch/bench.py perception`, ... (files under benches/)."""

from __future__ import annotations

import _environment

_environment.enter()

import importlib
import sys
from pathlib import Path

import tyro

import _reports

_BENCHES = Path(__file__).resolve().parent / "benches"


def main() -> None:
    """Imports only the asked measurement: each has heavy libraries of its own."""
    names = sorted(path.stem for path in _BENCHES.glob("*.py"))
    name = sys.argv[1].replace("-", "_") if len(sys.argv) > 1 else ""
    if name not in names:
        print(f"usage: launch/bench.py {{{','.join(names)}}} [--help] ...", file=sys.stderr)
        sys.exit(0 if name in ("__help", "_h") else 2)
    bench = importlib.import_module(f"benches.{name}")
    asked = tyro.cli(bench.Arguments, prog=f"launch/bench.py {name}", args=sys.argv[2:])
    try:
        _reports.check(asked.report)
    except _reports.CannotWrite as error:
        sys.exit(f"bench {name}: {error}")
    code = bench.run(asked)
    sys.exit(code if isinstance(code, int) else 0)  # some return their figures


if __name__ == "__main__":
    main()
