#!/usr/bin/env bash
# Tuning and study of experiments/configs/paper.py. Run it again after an interruption: it does what is missing.
#   launch/paper.sh DATA_ROOT [--workdir=FOLDER] [--config.a=b ...]
# A process shares the seeds among all cores. Worlds can be spread too, over hosts, or with cores of their own:
#   taskset -c 0 launch/paper.sh DATA_ROOT --config.worlds=lfm & taskset -c 1 launch/paper.sh DATA_ROOT --config.worlds=coat
set -euo pipefail
root=$(realpath "${1:?usage: launch/paper.sh DATA_ROOT [--workdir=FOLDER] [--config.a=b ...]}")
cd "$(dirname "$0")/.."
# Trials differ in numbers more than in programs: what is compiled once need not be again.
export JAX_COMPILATION_CACHE_DIR="${JAX_COMPILATION_CACHE_DIR:-$PWD/runs/compiled}"
export JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS="${JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS:-0}"
for stage in search all; do
  "${PYTHON:-python}" -m experiments.main --config=experiments/configs/paper.py --stage="$stage" \
    --config.data_root="$root" "${@:2}"
done
