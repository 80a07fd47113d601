"""Profiling: a trace of JAX's operations, if --profile is given."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import jax

from experiments.stages.common import say
from ialp_jax.errors import InputError


@contextlib.contextmanager
def profiled(workdir: Path | None) -> Iterator[None]:
    """Traces JAX within the context and saves the trace in ``<workdir>/profile/``; None: does nothing.

    If the traced code raises an error, no trace is saved.

    Raises:
      InputError: ``<workdir>/profile`` is a file, or the trace cannot be written.
    """
    if workdir is None:
        yield
        return
    folder = workdir / "profile"
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: is not a folder; move it away")
    options = jax.profiler.ProfileOptions()
    options.python_tracer_level = 0  # Python's own calls would fill the trace
    jax.profiler.start_trace(folder, profiler_options=options)
    yield
    try:
        jax.profiler.stop_trace()
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{folder}: the trace cannot be written ({reason})") from None
    say(
        f"profile: open {folder}/plugins/profile/*/*.trace.json.gz in https://ui.perfetto.dev, "
        "or the folder in TensorBoard with its profile plugin (pip install xprof)"
    )
