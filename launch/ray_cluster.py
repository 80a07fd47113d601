"""Runs jobs as Ray tasks, on an existing cluster or on a Ray instance that it starts on this machine.

A task runs its job in a child process, which ends when the task's worker ends (`launch.child`). If the worker
or its machine is lost, Ray runs the task again, on another machine if necessary, and the run continues from
its folder. The project and the folder of the sweep must have the same path on every machine.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

from ialp_jax.llm.engines import ray_connection
from launch.child import command_of
from launch.jobs import Job
from launch.local import ENVIRONMENT, GRACE_SECONDS, cores_here, open_log

RETRIES = 3  # how often a job starts again after its worker was lost
LOST = -9  # exit code that is reported if the worker of the last retry is lost, too


def run_task(arguments: tuple[str, ...], folder: str, log: str) -> int:
    """Runs a job in a Ray worker, in ``folder``, writes its output to ``log``, and returns its exit code."""
    with open_log(Path(log)) as out:
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
        except BaseException:  # Ray raises an exception here if the sweep is interrupted
            process.terminate()
            try:
                process.wait(GRACE_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
            raise


class RayExecutor:
    """Submits all jobs to Ray, which runs as many at a time as its cores or GPUs allow."""

    def __init__(self, address: str, cores: int) -> None:
        """Joins the cluster at ``address``; if this is "", starts Ray on this machine. Raises InputError."""
        self._ray = ray_connection.connect(address, max(cores, len(cores_here())), "--ray_address")
        gpus = 1 if self._ray.cluster_resources().get("GPU", 0) else 0
        self._task = self._ray.remote(run_task).options(num_cpus=cores, num_gpus=gpus, max_retries=RETRIES)
        self._running: dict[object, Job] = {}  # Ray's reference to the result of a task -> job

    def has_room(self) -> bool:
        """Always true, because Ray has a queue."""
        return True

    def start(self, job: Job) -> None:
        """Submits a job."""
        self._running[self._task.remote(job.arguments, os.getcwd(), str(job.log))] = job

    def finished(self) -> Iterator[tuple[Job, int]]:
        """Yields the jobs that ended since the last call, with their exit codes."""
        results = list(self._running)
        for result in self._ray.wait(results, num_returns=len(results), timeout=0)[0] if results else ():
            try:
                code = self._ray.get(result)
            except self._ray.exceptions.RayError:
                code = LOST
            yield self._running.pop(result), code

    def stop(self) -> None:
        """Interrupts the running jobs, waits until they end, and shuts Ray down."""
        results = list(self._running)
        for result in results:
            self._ray.cancel(result)
        if results:
            self._ray.wait(results, num_returns=len(results), timeout=GRACE_SECONDS)
        ray_connection.shut_down()
