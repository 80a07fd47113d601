#!/usr/bin/env bash
# Search and study of experiments/configs/paper.py. After an interruption, run it again: it continues.
#   launch/paper.sh DATA_ROOT [--workdir=FOLDER] [--config.a=b ...]
# One process divides the seeds among all cores. Or run each world on its own host or its own cores:
#   taskset -c 0 launch/paper.sh DATA_ROOT --config.worlds=lfm & taskset -c 1 launch/paper.sh DATA_ROOT --config.worlds=coat
set -euo pipefail
root=$(realpath "${1:?usage: launch/paper.sh DATA_ROOT [--workdir=FOLDER] [--config.a=b ...]}")
cd "$(dirname "$0")/.."
for stage in search all; do
  "${PYTHON:-python}" -m experiments.main --config="experiments/configs/${STUDY:-paper}.py" --stage="$stage" \
    --config.data_root="$root" "${@:2}"
done
