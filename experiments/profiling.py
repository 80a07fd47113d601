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
    options = jax.profiler.ProfileOptions()
    options.python_tracer_level = 0  # Python's own calls would fill the trace
    jax.profiler.start_trace(folder, profiler_options=options)
    yield
    jax.profiler.stop_trace()
    say(
        f"profile: open {folder}/plugins/profile/*/*.trace.json.gz in https://ui.perfetto.dev, "
        "or the folder in TensorBoard with its profile plugin (pip install xprof)"
    )
