#!/usr/bin/env bash
# Trains a policy: ./launch/train_sim.sh --task lift_cube --seed 0 [--resume] [--report FILE.json]
# --list names the tasks, --help the settings.
# One process per GPU, or per core where there is none; RANKS overrides how many.
# Several machines that share the run's folder: start it on each with RENDEZVOUS="--nnodes 2 --rdzv-backend c10d
# --rdzv-endpoint HOST:29400".
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
if [ -z "${RANKS:-}" ]; then
  RANKS=$( (nvidia-smi --list-gpus 2>/dev/null || true) | wc -l)
  [ "$RANKS" -gt 0 ] || RANKS=$(nproc)
fi
export RANKS
launch/_environment.py -m sim_training.settings "$@"
case " $* " in *" --help "* | *" -h "* | *" --list "*) exit 0 ;; esac
export OMP_NUM_THREADS=1
exec launch/_environment.py -m sim_training.ranks "$RANKS" "$@"
