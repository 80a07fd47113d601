"""A trace of what JAX does, on request."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import jax

from experiments.stages.common import say


@contextlib.contextmanager
def profiled(workdir: Path | None) -> Iterator[None]:
    """Traces what happens within it, if it ends well, to ``<workdir>/profile/``; None: nothing is traced."""
    if workdir is None:
        yield
        return
    folder = workdir / "profile"
    jax.profiler.start_trace(folder, create_perfetto_trace=True)
    yield
    jax.profiler.stop_trace()
    say(
        f"profile: open {folder}/plugins/profile/*/perfetto_trace.json.gz in https://ui.perfetto.dev, "
        f"or the folder in TensorBoard with its profile plugin (pip install xprof)"
    )
