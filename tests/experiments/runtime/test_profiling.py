"""The profiler saves a trace in the run folder, or the command ends with a one-line error."""

from __future__ import annotations

import jax
import pytest

from experiments.runtime import profiling
from ialp_jax.errors import InputError


def test_a_file_named_profile_is_refused_before_anything_runs(tmp_path):
    (tmp_path / "profile").write_text("mine")
    with (
        pytest.raises(InputError, match=r"profile: is not a folder; move it away"),
        profiling.profiled(tmp_path),
    ):
        raise AssertionError("ran")
    assert (tmp_path / "profile").read_text() == "mine"


def test_a_trace_that_cannot_be_written_is_one_line(tmp_path, monkeypatch):
    def refuse():
        raise jax.errors.JaxRuntimeError("FAILED_PRECONDITION: no room\nmore")

    monkeypatch.setattr(jax.profiler, "start_trace", lambda *_, **__: None)
    monkeypatch.setattr(jax.profiler, "stop_trace", refuse)
    with (
        pytest.raises(
            InputError, match=r"profile: the trace cannot be written \(FAILED_PRECONDITION: no room\)"
        ),
        profiling.profiled(tmp_path),
    ):
        pass
