#!/usr/bin/env bash
# Search and study of experiments/configs/start.py. After an interruption, run it again: it continues.
#   launch/start.sh DATA_ROOT [--workdir=FOLDER] [--config.a=b ...]
set -euo pipefail
root=$(realpath "${1:?usage: launch/start.sh DATA_ROOT [--workdir=FOLDER] [--config.a=b ...]}")
cd "$(dirname "$0")/.."
for stage in search all; do
  "${PYTHON:-python}" -m experiments.main --config=experiments/configs/start.py --stage="$stage" \
    --config.data_root="$root" "${@:2}"
done
