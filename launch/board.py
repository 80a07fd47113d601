"""What a sweep shows: a live table on a terminal, a line per event elsewhere, and the failures at the end."""

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
SHOWN = 30  # rows of jobs at work


def last_line(job: Job) -> str:
    """The last thing that a job said; a progress bar's latest state counts."""
    try:
        with job.log.open("rb") as log:
            log.seek(max(0, job.log.stat().st_size - TAIL_BYTES))
            text = log.read().decode(errors="replace")
    except OSError:
        return ""
    lines = [line.strip() for line in text.replace("\r", "\n").split("\n")]
    return next((line for line in reversed(lines) if line), "")


class Board:
    """The state of all jobs; a context manager."""

    def __init__(self, jobs: Sequence[Job], kept: int, console: Console | None = None) -> None:
        """Takes the jobs to run, the number of those that were done before, and where to write."""
        self._total, self._kept = len(jobs), kept
        self._console = console or Console(highlight=False)
        self._running: dict[str, tuple[Job, float]] = {}
        self._done = 0
        self.failed: list[tuple[Job, int]] = []
        self._live = Live(console=self._console, refresh_per_second=2, get_renderable=self._table)

    def __enter__(self) -> Board:
        """Shows the table, where there is a terminal."""
        if self._kept:
            self._say(f"done before, kept: {self._kept}")
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leaves the table as it is."""
        if self._console.is_terminal:
            self._live.stop()

    def started(self, job: Job) -> None:
        """A job was started, or handed over to a queue."""
        self._running[job.name] = (job, time.monotonic())
        if not self._console.is_terminal:
            self._say(f"start {job.name}")

    def ended(self, job: Job, code: int) -> None:
        """A job ended with this exit code."""
        seconds = time.monotonic() - self._running.pop(job.name)[1]
        self._done += 1
        if code:
            self.failed.append((job, code))
        what = f"failed with exit code {code}: {last_line(job)}" if code else "done"
        self._say(f"[{self._done}/{self._total}] {job.name}: {what} ({seconds:.0f} s)")

    def failures(self) -> None:
        """The jobs that failed, each with its exit code, its last words and its log."""
        if not self.failed:
            return
        self._say(f"\n{len(self.failed)} of {self._total} jobs failed:")
        for job, code in self.failed:
            self._say(f"  {job.name}\n    exit code {code}: {last_line(job)}\n    {job.log}")

    def _say(self, text: str) -> None:
        self._console.print(text, markup=False, soft_wrap=True)

    def _table(self) -> Table:
        at_work = list(self._running.values())
        failed = f", {len(self.failed)} failed" if self.failed else ""
        table = Table(title=f"{self._done} of {self._total} jobs ended{failed}", expand=True)
        table.add_column("job", ratio=2, overflow="fold")
        table.add_column("time", justify="right", width=8)
        table.add_column("last line of its log", ratio=3, no_wrap=True)
        for job, began in at_work[:SHOWN]:
            minutes, seconds = divmod(int(time.monotonic() - began), 60)
            table.add_row(Text(job.name), f"{minutes}:{seconds:02}", Text(last_line(job)))
        if len(at_work) > SHOWN:
            table.add_row(f"and {len(at_work) - SHOWN} more", "", "")
        return table
