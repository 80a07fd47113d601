"""Runs a sweep: a grid, a random search or a list of variants.

python -m launch.sweep --config=FILE.py --sweep=FILE.py [--config.a.b=value ...] [--workdir=FOLDER]
  [--executor=print|local|ray] [--jobs=N] [--cores=N] [--ray_address=ADDRESS] [--stage=...]
  [--start_from=RUN] [--redo]

The sweep file holds plain data, see launch/jobs.py and launch/sweeps/learning_rate.py. All settings are
checked before the first job starts. Each job is a run in its own folder under --workdir. A job is done if its
folder has a report that was made with the same settings. If you repeat the command, only missing jobs run.
Jobs share labels in <workdir>/store; an empty --config.llm.store= switches this sharing off. After a failure
the other jobs continue. At the end the failed jobs and their logs are listed, and the exit code is 1. Ctrl-C
ends all jobs; the same command continues them. python -m launch.collect FOLDER puts the finished runs into
one report.
"""

from __future__ import annotations

import shlex
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Protocol

from absl import app
from absl import flags as absl_flags

from experiments import flags
from experiments.command_line import fail, flag_lines, help_asked, with_flag_files
from experiments.config import Config
from experiments.places import check_places
from ialp_jax import console
from ialp_jax.claim import SWEEP, claim
from ialp_jax.errors import InputError
from launch.board import Board
from launch.jobs import Job, jobs_of

POLL_SECONDS = 0.2
DEFINED = (
    absl_flags.DEFINE_string("sweep", "", "Python file with SWEEP = {...} or get_sweep()."),
    absl_flags.DEFINE_enum(
        "executor",
        "local",
        ("print", "local", "ray"),
        "print: one command line per job, for any scheduler, see launch/slurm.sh; local: processes of this "
        "machine; ray: tasks of a Ray cluster.",
    ),
    absl_flags.DEFINE_integer(
        "jobs", 0, "local: number of jobs at a time; 0: one per GPU, or one per --cores cores.", lower_bound=0
    ),
    absl_flags.DEFINE_integer(
        "cores", 2, "CPU cores per job; on a machine with GPUs, only ray uses it.", lower_bound=1
    ),
    absl_flags.DEFINE_string(
        "ray_address", "", "ray: address of the cluster; empty: Ray is started on this machine."
    ),
)


class Executor(Protocol):
    """Starts and ends jobs somewhere."""

    def has_room(self) -> bool:
        """Whether a job can start now."""

    def start(self, job: Job) -> None:
        """Starts a job."""

    def finished(self) -> Iterator[tuple[Job, int]]:
        """Yields the jobs that ended since the last call, with their exit codes."""

    def stop(self) -> None:
        """Ends the running jobs."""


def parse(argv: Sequence[str]) -> list[str]:
    """Parses the flags for `absl.app.run`. A wrong flag gives a one-line error and exit code 2."""
    argv = with_flag_files(argv)
    if help_asked(argv):
        lines = flag_lines((absl_flags.FLAGS[flag.name] for flag in DEFINED), full=True)
        console.show_lines([__doc__, "flags, besides those of python -m experiments.main --help:", *lines])
        raise SystemExit(0)
    return flags.parse(argv)


def planned() -> list[Job]:
    """The jobs that the flags define. Raises InputError."""
    config, given = flags.CONFIG.value, absl_flags.FLAGS
    if not isinstance(config, Config):
        raise InputError("--config: a sweep varies the settings of a run; a study has --stage=search")
    if flags.DRY_RUN.value:
        raise InputError("--dry_run: a sweep has none; --executor=print shows its commands")
    if not given.sweep:
        raise InputError("--sweep is missing; give, for example, --sweep=launch/sweeps/learning_rate.py")
    path, file = Path(given.sweep), given["config"].config_filename
    folder = Path(flags.WORKDIR.value or Path("runs") / f"{config.name}-{path.stem}").absolute()
    rest = [f"--stage={flags.STAGE.value}"] if flags.STAGE.value != "all" else []
    if flags.START_FROM.value:
        rest.append(f"--start_from={Path(flags.START_FROM.value).absolute()}")
    rest += ["--redo"] if flags.REDO.value else []
    jobs = jobs_of(path, config, given["config"].override_values, folder, file, rest)
    for job in jobs:
        check_places(job.folder, job.config, flags.START_FROM.value)
    return jobs


def run_jobs(jobs: Sequence[Job], executor: Executor, board: Board) -> None:
    """Runs all jobs. After an error or a signal, ends the jobs that are still running."""
    waiting = list(reversed(jobs))
    num_running = 0
    try:
        with board:
            while waiting or num_running:
                while waiting and executor.has_room():
                    board.started(waiting[-1])
                    executor.start(waiting.pop())
                    num_running += 1
                for job, code in executor.finished():
                    board.ended(job, code)
                    num_running -= 1
                time.sleep(POLL_SECONDS)
    finally:
        executor.stop()


def _executor() -> Executor:
    given = absl_flags.FLAGS
    if given.executor == "ray":
        from launch.ray_cluster import RayExecutor

        return RayExecutor(given.ray_address, given.cores)
    from launch.local import LocalExecutor

    return LocalExecutor(given.jobs, given.cores)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def main(argv: Sequence[str]) -> int:
    """Plans and runs the jobs; returns 1 if a job failed."""
    del argv
    try:
        jobs = planned()
        if absl_flags.FLAGS.executor == "print":
            for job in jobs:
                print(shlex.join(["python", *job.arguments]))
            return 0
        # Without the report stage a run has no report to check, so it always starts. Its stages skip finished
        # parts.
        if jobs:
            claim(jobs[0].folder.parent, SWEEP, "--workdir")
        missing = [job for job in jobs if flags.STAGE.value not in ("all", "report") or not job.is_done()]
        signal.signal(signal.SIGTERM, _interrupt)
        board = Board(missing, len(jobs) - len(missing))
        run_jobs(missing, _executor(), board)
    except InputError as error:
        fail(str(error))
    except KeyboardInterrupt:
        print("interrupted; the same command continues", file=sys.stderr)
        return 128 + signal.SIGINT
    board.failures()
    return int(bool(board.failed))


if __name__ == "__main__":
    with console.command():
        app.run(main, flags_parser=parse)
