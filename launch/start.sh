#!/usr/bin/env bash
# Search and study of experiments/configs/start.py, with the arguments of launch/paper.sh.
STUDY=start exec "$(dirname "$0")/paper.sh" "$@"
