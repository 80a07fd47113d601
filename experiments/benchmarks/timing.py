"""Times of programs: compilation, where there is any, apart from running; contenders in turns."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np


class Program(NamedTuple):
    """A compiled program of a varying number of steps.

    Attributes:
      run: number of steps -> None, when they are done.
      compile_seconds: what tracing and compiling took.
    """

    run: Callable[[int], None]
    compile_seconds: float


def compiled(loop: Callable[..., Any], *arguments: Any) -> Program:
    """Compiles ``loop(steps, *arguments)``, in which ``steps`` is a traced int32."""
    import jax  # late: torch's suite takes turns in the same way, and must not load it

    began = time.perf_counter()
    program = jax.jit(loop).lower(np.int32(1), *arguments).compile()
    seconds = time.perf_counter() - began
    return called(program, *arguments)._replace(compile_seconds=seconds)


def called(loop: Callable[..., Any], *arguments: Any) -> Program:
    """Of ``loop(steps, *arguments)`` that compiles itself when first called; a step is in that time."""
    import jax

    def run(steps: int) -> None:
        jax.block_until_ready(loop(np.int32(steps), *arguments))

    began = time.perf_counter()
    run(1)
    return Program(run, time.perf_counter() - began)


def steps_for(program: Program, seconds: float, most: int = 100_000) -> int:
    """How many steps take about this long."""
    steps = 1
    while True:
        began = time.perf_counter()
        program.run(steps)
        took = time.perf_counter() - began
        if took > seconds / 4 or steps >= most:
            return max(1, min(most, round(steps * seconds / took)))
        steps = min(most, steps * 4)


def medians(programs: Sequence[Program], seconds: float = 0.25, repeats: int = 9) -> list[float]:
    """Median seconds per step of each program.

    They run in turns, so that whatever else the machine does falls on all of them alike.

    Args:
      programs: contenders.
      seconds: length of one run, roughly.
      repeats: runs of each.
    """
    steps = [steps_for(program, seconds) for program in programs]
    times = np.zeros((len(programs), repeats))
    for repeat in range(repeats):
        for number, program in enumerate(programs):
            began = time.perf_counter()
            program.run(steps[number])
            times[number, repeat] = (time.perf_counter() - began) / steps[number]
    return [float(value) for value in np.median(times, axis=1)]
