"""Jobs as tasks of a Ray cluster, or of a Ray that is started here and ended again.

A task runs its job in a process that dies with the task's worker (`launch.child`). Ray runs a task whose
worker or machine went away again, elsewhere if need be, and the run goes on where its folder says it was. The
project and the folder of the sweep must be at the same path on every machine.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

from ialp_jax.llm.engines import ray_connection
from launch.child import command_of
from launch.jobs import Job
from launch.local import ENVIRONMENT, GRACE_SECONDS, cores_here, opened

RETRIES = 3  # of a job whose worker went away
LOST = -9  # exit code of a job whose workers went away again and again


def run_task(arguments: tuple[str, ...], folder: str, log: str) -> int:
    """In a Ray worker: the exit code of a job that runs in ``folder`` and writes to ``log``."""
    with opened(Path(log)) as out:
        process = subprocess.Popen(
            command_of(arguments),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env={**os.environ, **ENVIRONMENT},
            start_new_session=True,
        )
        try:
            return process.wait()
        except BaseException:  # the sweep was interrupted; Ray raises it here
            process.terminate()
            try:
                process.wait(GRACE_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
            raise


class RayExecutor:
    """Hands all jobs to Ray, which runs as many at a time as it has cores or GPUs for."""

    def __init__(self, address: str, cores: int) -> None:
        """Joins the cluster at ``address``, or starts one here where that is empty. Raises InputError."""
        self._ray = ray_connection.connect(address, max(cores, len(cores_here())), "--ray_address")
        gpus = 1 if self._ray.cluster_resources().get("GPU", 0) else 0
        self._task = self._ray.remote(run_task).options(num_cpus=cores, num_gpus=gpus, max_retries=RETRIES)
        self._running: dict[object, Job] = {}  # by what Ray will answer

    def has_room(self) -> bool:
        """Ray keeps the queue."""
        return True

    def start(self, job: Job) -> None:
        """Hands a job over."""
        self._running[self._task.remote(job.arguments, os.getcwd(), str(job.log))] = job

    def finished(self) -> Iterator[tuple[Job, int]]:
        """The jobs that have ended since the last call, with their exit codes."""
        known = list(self._running)
        for answer in self._ray.wait(known, num_returns=len(known), timeout=0)[0] if known else ():
            try:
                code = self._ray.get(answer)
            except self._ray.exceptions.RayError:
                code = LOST
            yield self._running.pop(answer), code

    def stop(self) -> None:
        """Interrupts what is still running, waits for it, and leaves Ray."""
        known = list(self._running)
        for answer in known:
            self._ray.cancel(answer)
        if known:
            self._ray.wait(known, num_returns=len(known), timeout=GRACE_SECONDS)
        ray_connection.shut_down()
