"""Jobs as processes of this machine, so many at a time, each on its own GPU or its own cores."""

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

GRACE_SECONDS = 60.0  # for a run to save its state when it is told to end
# Progress bars go to a log: a line every few seconds is enough.
ENVIRONMENT = {"TQDM_MININTERVAL": "5", "PYTHONUNBUFFERED": "1"}


def cores_here() -> list[int]:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


class LocalExecutor:
    """Packs jobs onto GPUs, or onto cores where there is no GPU."""

    def __init__(self, jobs: int, cores: int) -> None:
        """Counts what there is.

        Args:
          jobs: at a time; 0: one per GPU, or as many as there are ``cores`` for.
          cores: of each job where there is no GPU.
        """
        self._gpus, self._cores, self._per_job = visible_gpus(), cores_here(), cores
        self.slots = jobs or len(self._gpus) or max(1, len(self._cores) // cores)
        self._running: dict[int, tuple[Job, subprocess.Popen]] = {}  # by slot

    def has_room(self) -> bool:
        """Whether a job may start."""
        return len(self._running) < self.slots

    def start(self, job: Job) -> None:
        """Starts a job; its process group is its own, so that Ctrl-C is ours to pass on."""
        slot = min(set(range(self.slots)) - self._running.keys())
        environment, cores = {**os.environ, **ENVIRONMENT}, ()
        if self._gpus:
            environment["CUDA_VISIBLE_DEVICES"] = self._gpus[slot % len(self._gpus)]
        else:
            count = len(self._cores)
            first = slot * self._per_job
            cores = tuple(self._cores[(first + i) % count] for i in range(min(self._per_job, count)))
        with opened(job.log) as log:
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
        """The jobs that have ended since the last call, with their exit codes."""
        for slot, (job, process) in list(self._running.items()):
            if (code := process.poll()) is not None:
                del self._running[slot]
                yield job, code

    def stop(self) -> None:
        """Ends all jobs: asks them first, so that they can save their state."""
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


def opened(log: Path) -> contextlib.AbstractContextManager:
    """A log for one more attempt, after those before. Raises InputError if its folder is not a run's."""
    claim(log.parent, RUN, "--workdir")
    return log.open("ab")
