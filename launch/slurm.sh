#!/usr/bin/env bash
# Runs a sweep as a SLURM job array: task N runs line N of a file of commands. In the project's folder:
#   python -m launch.sweep --config=FILE.py --sweep=FILE.py --workdir=FOLDER --executor=print > jobs.txt
#   sbatch --array=1-$(wc -l < jobs.txt) --time=2:00:00 [--gres=gpu:1] launch/slurm.sh jobs.txt
# A minute before its time limit, or at preemption, a job gets SIGTERM. It saves its state, is queued again and
# continues. If the array is submitted again, finished jobs end at once.
#SBATCH --job-name=ialp
#SBATCH --output=slurm-%A_%a.out
#SBATCH --cpus-per-task=2
#SBATCH --requeue
#SBATCH --signal=B:TERM@60
set -euo pipefail
cd "${SLURM_SUBMIT_DIR:-.}"
line=$(sed -n "${SLURM_ARRAY_TASK_ID:?run it as a job array: sbatch --array=1-N}p" "${1:?usage: slurm.sh FILE}")
[ -n "$line" ] || { echo "error: $1 has no line $SLURM_ARRAY_TASK_ID" >&2; exit 2; }
child=
terminated=
end() {
  terminated=yes
  [ -z "$child" ] || kill -TERM "$child" 2> /dev/null || true
}
trap end TERM
eval "exec $line" &
child=$!
[ -z "$terminated" ] || end  # the signal came before the child started
code=0
wait "$child" || code=$?
while kill -0 "$child" 2> /dev/null; do  # a signal ends `wait`, but the child still saves its state
  code=0
  wait "$child" || code=$?
done
if [ -n "$terminated" ] && [ "$code" -ne 0 ] && command -v scontrol > /dev/null; then
  scontrol requeue "${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID}"
fi
exit "$code"
