"""Measures compile time and run time of programs separately; compared programs take turns."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np


class Program(NamedTuple):
    """A compiled program that runs any number of steps.

    Attributes:
      run: runs a number of steps and returns when they are done.
      compile_seconds: time of tracing and compiling.
    """

    run: Callable[[int], None]
    compile_seconds: float


def compiled(loop: Callable[..., Any], *arguments: Any) -> Program:
    """Compiles ``loop(steps, *arguments)``; ``steps`` is a traced int32."""
    import jax  # imported here, because the torch suite also uses this module and must not load JAX

    began = time.perf_counter()
    program = jax.jit(loop).lower(np.int32(1), *arguments).compile()
    seconds = time.perf_counter() - began
    return called(program, *arguments)._replace(compile_seconds=seconds)


def called(loop: Callable[..., Any], *arguments: Any) -> Program:
    """Makes a program from a jitted ``loop(steps, *arguments)``, which JAX compiles at its first call.

    ``compile_seconds`` includes one step.
    """
    import jax

    def run(steps: int) -> None:
        jax.block_until_ready(loop(np.int32(steps), *arguments))

    began = time.perf_counter()
    run(1)
    return Program(run, time.perf_counter() - began)


def steps_for(program: Program, seconds: float, most: int = 100_000) -> int:
    """The number of steps that take about ``seconds``, at most ``most``."""
    steps = 1
    while True:
        began = time.perf_counter()
        program.run(steps)
        elapsed = time.perf_counter() - began
        if elapsed > seconds / 4 or steps >= most:
            return max(1, min(most, round(steps * seconds / elapsed)))
        steps = min(most, steps * 4)


def medians(programs: Sequence[Program], seconds: float = 0.25, repeats: int = 9) -> list[float]:
    """Median seconds per step of each program.

    The programs take turns, so that other work on the machine affects all of them equally.

    Args:
      programs: programs to compare.
      seconds: approximate length of one run.
      repeats: number of runs of each program.
    """
    steps = [steps_for(program, seconds) for program in programs]
    times = np.zeros((len(programs), repeats))
    for repeat in range(repeats):
        for number, program in enumerate(programs):
            began = time.perf_counter()
            program.run(steps[number])
            times[number, repeat] = (time.perf_counter() - began) / steps[number]
    return [float(value) for value in np.median(times, axis=1)]
