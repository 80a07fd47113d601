"""Runs jobs as processes of this machine, several at a time, each on its own GPU or its own cores."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from experiments.runtime.gpu import visible_gpus
from ialp_jax.claim import RUN, claim
from launch.child import command_of
from launch.jobs import Job

GRACE_SECONDS = 60.0  # a run has this time to save its state after SIGTERM
# The log needs only one line of a progress bar every few seconds.
ENVIRONMENT = {"TQDM_MININTERVAL": "5", "PYTHONUNBUFFERED": "1"}


def cores_here() -> list[int]:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


class LocalExecutor:
    """Runs one job per GPU. Without GPUs, runs one job per group of cores."""

    def __init__(self, jobs: int, cores: int) -> None:
        """Counts GPUs and cores.

        Args:
          jobs: number of jobs that run at the same time; 0: one per GPU, or one per ``cores`` cores.
          cores: number of cores per job if there is no GPU.
        """
        self._gpus, self._cores, self._per_job = visible_gpus(), cores_here(), cores
        self.slots = jobs or len(self._gpus) or max(1, len(self._cores) // cores)
        self._running: dict[int, tuple[Job, subprocess.Popen]] = {}  # by slot

    def has_room(self) -> bool:
        """Whether a job may start."""
        return len(self._running) < self.slots

    def start(self, job: Job) -> None:
        """Starts a job in a separate process group. So Ctrl-C does not reach the job, and `stop` ends it."""
        slot = min(set(range(self.slots)) - self._running.keys())
        environment, cores = {**os.environ, **ENVIRONMENT}, ()
        if self._gpus:
            environment["CUDA_VISIBLE_DEVICES"] = self._gpus[slot % len(self._gpus)]
        else:
            count = len(self._cores)
            first = slot * self._per_job
            cores = tuple(self._cores[(first + i) % count] for i in range(min(self._per_job, count)))
        with open_log(job.log) as log:
            process = subprocess.Popen(
                command_of(job.arguments, cores),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,
            )
        self._running[slot] = (job, process)

    def finished(self) -> Iterator[tuple[Job, int]]:
        """Yields the jobs that ended since the last call, with their exit codes."""
        for slot, (job, process) in list(self._running.items()):
            if (code := process.poll()) is not None:
                del self._running[slot]
                yield job, code

    def stop(self) -> None:
        """Ends all jobs: SIGTERM first, so that they can save their state, then SIGKILL."""
        processes = [process for _, process in self._running.values()]
        for process in processes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
        deadline = time.monotonic() + GRACE_SECONDS
        for process in processes:
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except (subprocess.TimeoutExpired, KeyboardInterrupt):
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def open_log(log: Path) -> contextlib.AbstractContextManager:
    """Opens a job's log for appending. Raises InputError if the log is not in a run folder."""
    claim(log.parent, RUN, "--workdir")
    return log.open("ab")
