"""Writes the curves of a training for TensorBoard."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

import numpy as np

from ialp_jax.errors import missing_package


class Watch:
    """Event files of a training: a folder ``seed<k>`` for each of S seeds, and ``mean`` for their mean.

    The files always start at the first step: a training that continues from a checkpoint must add its earlier
    points again. So each point is stored exactly once. Use this class as a context manager.
    """

    def __init__(self, folder: Path, num_seeds: int) -> None:
        """Replaces the event files of an earlier training in ``folder``; other files stay."""
        # This import is not at the top of the file, because it takes a while. This writer needs neither
        # TensorFlow nor torch.
        try:
            from tensorboard.summary.writer.event_file_writer import EventFileWriter
        except ImportError as error:
            raise missing_package("Watch", error.name or "tensorboard", "report") from None

        for old in folder.glob("*/events.out.tfevents.*"):
            if re.fullmatch(r"mean|seed\d+", old.parent.name):
                old.unlink()
        names = ["mean", *(f"seed{seed}" for seed in range(num_seeds))]
        self._writers = [EventFileWriter(str(folder / name), flush_secs=10) for name in names]

    def __enter__(self) -> Watch:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Closes the files."""
        for writer in self._writers:
            writer.close()

    def tell(self, step: int, values: Mapping[str, np.ndarray]) -> None:
        """Adds a point to curves.

        Args:
          step: env steps, or gradient steps.
          values: tag -> [S]; NaN is left out.
        """
        # Protocol buffers make these classes at run time, so a type checker does not find them.
        from tensorboard.compat.proto.event_pb2 import Event  # pyright: ignore[reportAttributeAccessIssue]
        from tensorboard.compat.proto.summary_pb2 import Summary  # pyright: ignore[reportAttributeAccessIssue]

        for number, writer in enumerate(self._writers):
            shown = {t: v[number - 1] if number else np.mean(v) for t, v in values.items()}
            points = [Summary.Value(tag=t, simple_value=v) for t, v in shown.items() if not np.isnan(v)]
            writer.add_event(Event(wall_time=time.time(), step=step, summary=Summary(value=points)))
