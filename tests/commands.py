"""Runs the project's commands inside this process; returns their output and exit code."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Sequence
from typing import NamedTuple

import pytest
from absl.testing import flagsaver

from experiments import benchmark, flags, main
from experiments.runtime.termination import SIGNALS
from ialp_jax.labelling import inspect
from launch import collect, sweep


class Ended(NamedTuple):
    """Exit code and output of a command."""

    code: int
    out: str
    err: str


def _main(argv: Sequence[str]) -> None:
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    with flagsaver.flagsaver():
        try:
            main.main(flags.parse(argv))
        finally:  # restores the handlers, so that Ctrl-C still ends the tests
            for number, handler in handlers.items():
                signal.signal(number, handler)


def _sweep(argv: Sequence[str]) -> int:
    with flagsaver.flagsaver():
        return sweep.main(sweep.parse(argv))


COMMANDS: dict[str, Callable[[Sequence[str]], object]] = {
    "main": _main,
    "benchmark": benchmark.main,
    "collect": collect.main,
    "sweep": _sweep,
    "inspect": lambda argv: inspect.main(argv[1:]),
}


def call(capture: pytest.CaptureFixture, name: str, *args: object) -> Ended:
    """Runs a command as ``python -m`` would. Catches SystemExit, but no other exception."""
    argv, code = [name, *map(str, args)], 0
    capture.readouterr()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", argv)  # manifests record it
        try:
            code = COMMANDS[name](argv) or 0
        except SystemExit as end:
            code = end.code or 0
    return Ended(code, *capture.readouterr())
