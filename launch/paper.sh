#!/usr/bin/env bash
# Tuning and study of experiments/configs/paper.py. Run it again after an interruption: it does what is missing.
#   launch/paper.sh DATA_ROOT [--workdir=FOLDER] [--config.a=b ...]
set -euo pipefail
root=$(realpath "${1:?usage: launch/paper.sh DATA_ROOT [--workdir=FOLDER] [--config.a=b ...]}")
cd "$(dirname "$0")/.."
for stage in search all; do
  "${PYTHON:-python}" -m experiments.main --config=experiments/configs/paper.py --stage="$stage" \
    --config.data_root="$root" "${@:2}"
done
