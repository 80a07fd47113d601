"""Progress of a sweep: a live table on a terminal, otherwise one line per event; at the end, all failures."""

from __future__ import annotations

import time
from collections.abc import Sequence
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from launch.jobs import Job

TAIL_BYTES = 4096
SHOWN = 30  # rows of running jobs


def last_line(job: Job) -> str:
    """The last line of a job's log, which may be the latest state of a progress bar."""
    try:
        with job.log.open("rb") as log:
            log.seek(max(0, job.log.stat().st_size - TAIL_BYTES))
            text = log.read().decode(errors="replace")
    except OSError:
        return ""
    lines = [line.strip() for line in text.replace("\r", "\n").split("\n")]
    return next((line for line in reversed(lines) if line), "")


class Board:
    """Shows the state of all jobs; a context manager."""

    def __init__(self, jobs: Sequence[Job], num_done: int, console: Console | None = None) -> None:
        """Creates the board.

        Args:
          jobs: jobs to run.
          num_done: number of jobs that were finished by earlier commands.
          console: for the output; None: standard output.
        """
        self._total, self._num_done = len(jobs), num_done
        self._console = console or Console(highlight=False)
        self._running: dict[str, tuple[Job, float]] = {}
        self._num_ended = 0
        self.failed: list[tuple[Job, int]] = []
        self._live = Live(console=self._console, refresh_per_second=2, get_renderable=self._table)

    def __enter__(self) -> Board:
        """Shows the table if there is a terminal."""
        if self._num_done:
            self._say(f"done before, kept: {self._num_done}")
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stops updating the table."""
        if self._console.is_terminal:
            self._live.stop()

    def started(self, job: Job) -> None:
        """Shows that a job was started or queued."""
        self._running[job.name] = (job, time.monotonic())
        if not self._console.is_terminal:
            self._say(f"start {job.name}")

    def ended(self, job: Job, code: int) -> None:
        """Shows that a job ended, with its exit code."""
        seconds = time.monotonic() - self._running.pop(job.name)[1]
        self._num_ended += 1
        if code:
            self.failed.append((job, code))
        outcome = f"failed with exit code {code}: {last_line(job)}" if code else "done"
        self._say(f"[{self._num_ended}/{self._total}] {job.name}: {outcome} ({seconds:.0f} s)")

    def failures(self) -> None:
        """Prints the failed jobs, each with its exit code, the last line of its log, and the log's path."""
        if not self.failed:
            return
        self._say(f"\n{len(self.failed)} of {self._total} jobs failed:")
        for job, code in self.failed:
            self._say(f"  {job.name}\n    exit code {code}: {last_line(job)}\n    {job.log}")

    def _say(self, text: str) -> None:
        self._console.print(text, markup=False, soft_wrap=True)

    def _table(self) -> Table:
        running = list(self._running.values())
        failed = f", {len(self.failed)} failed" if self.failed else ""
        table = Table(title=f"{self._num_ended} of {self._total} jobs ended{failed}", expand=True)
        table.add_column("job", ratio=2, overflow="fold")
        table.add_column("time", justify="right", width=8)
        table.add_column("last line of its log", ratio=3, no_wrap=True)
        for job, start in running[:SHOWN]:
            minutes, seconds = divmod(int(time.monotonic() - start), 60)
            table.add_row(Text(job.name), f"{minutes}:{seconds:02}", Text(last_line(job)))
        if len(running) > SHOWN:
            table.add_row(f"and {len(running) - SHOWN} more", "", "")
        return table
