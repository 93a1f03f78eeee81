#!/usr/bin/env bash
# Style, types, then tests. Arguments go to pytest, e.g. `./launch/test.sh -m "not slow"`.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
run=launch/_environment.py

"$run" -m ruff check .
"$run" -m ruff format --check .
"$run" -m mypy
exec "$run" -m pytest -q "$@"
