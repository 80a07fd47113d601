"""What TensorBoard shows of a training."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

import numpy as np

from ialp_jax.errors import missing_package


class Watch:
    """Event files of a training: a folder ``seed<k>`` for each of S seeds, and ``mean`` over them.

    They are written anew from the first step: who goes on with a training tells again what was measured
    before, so that no point is there twice or missing. Use it as a context manager.
    """

    def __init__(self, folder: Path, num_seeds: int) -> None:
        """Replaces the event files of an earlier training in ``folder``; others stay."""
        # Late: the imports take a while, and TensorBoard's writer needs neither TensorFlow nor torch.
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
        """Ends the files."""
        for writer in self._writers:
            writer.close()

    def tell(self, step: int, values: Mapping[str, np.ndarray]) -> None:
        """Adds a point to curves.

        Args:
          step: env steps, or gradient steps.
          values: tag -> [S]; what is not a number is left out.
        """
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary

        for number, writer in enumerate(self._writers):
            shown = {t: v[number - 1] if number else np.mean(v) for t, v in values.items()}
            points = [Summary.Value(tag=t, simple_value=v) for t, v in shown.items() if not np.isnan(v)]
            writer.add_event(Event(wall_time=time.time(), step=step, summary=Summary(value=points)))
