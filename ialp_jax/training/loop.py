"""The training loop: units of steps, with evaluations, checkpoints, TensorBoard and a progress bar.

`train` runs a `Training`, which contains everything that differs between online adaptation and pre-training.
After each unit, `train` checks that metrics are finite, evaluates at given points, and updates TensorBoard
and checkpoints. Meanwhile the devices already run the next unit, because a GPU would idle if it waited for
the host after each short unit.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Collection
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from ialp_jax.agents.base import Metrics
from ialp_jax.errors import NotFiniteError
from ialp_jax.training.checkpoint import Checkpoints
from ialp_jax.training.packing import Row, Rows
from ialp_jax.training.processes import host
from ialp_jax.training.watch import Watch


@dataclasses.dataclass(frozen=True)
class Training:
    """A training of S seeds in units of equal size.

    Attributes:
      name: name in messages and in the progress bar.
      units: number of units.
      size: number of steps of a unit.
      counted: name of the steps, for example ``env steps``.
      step: runs a unit: (number of the unit from 0, state) -> (state, mean learning metrics, [S] each).
      evaluate: (number of finished units, state) -> metrics, [S] each, in this process's memory.
      evaluated: (state, number of finished units, metrics of `evaluate`) -> state, after each evaluation.
      points: numbers of finished units after which the state is evaluated.
      remedy: advice in the error message if a metric is not finite.
      place: number of the unit -> text that error messages add to the unit's steps.
    """

    name: str
    units: int
    size: int
    counted: str
    step: Callable[[int, Any], tuple[Any, Metrics]]
    evaluate: Callable[[int, Any], Row] = lambda unit, state: {}
    evaluated: Callable[[Any, int, Row], Any] = lambda state, unit, row: state
    points: Collection[int] = ()
    remedy: str = ""
    place: Callable[[int], str] = lambda unit: ""


@dataclasses.dataclass(frozen=True)
class Hooks:
    """Services that run between two units.

    Attributes:
      checkpoints: saves the training, and restores it at the start. On a CPU, a restored training gives the
        same bits as an uninterrupted training.
      watch: writes every evaluation and every unit to TensorBoard.
      bar: whether a progress bar is shown.
    """

    checkpoints: Checkpoints | None = None
    watch: Watch | None = None
    bar: bool = True


ONLY_BAR, NO_HOOKS = Hooks(), Hooks(bar=False)


@dataclasses.dataclass
class Progress:
    """The current state of a training, and all its measurements.

    Attributes:
      unit: number of units done.
      state: state of the training, [S, ...].
      evaluations: metrics of each evaluation, [S] each.
      learning: mean learning metrics of each unit, [S] each.
      timing: ``seconds`` of each unit, all seeds together, float64 [].
    """

    unit: int
    state: Any
    evaluations: Rows = dataclasses.field(default_factory=list)
    learning: Rows = dataclasses.field(default_factory=list)
    timing: Rows = dataclasses.field(default_factory=list)

    def tables(self) -> dict[str, Rows]:
        """All measurements, as `Checkpoints` stores them."""
        return {"evaluations": self.evaluations, "learning": self.learning, "timing": self.timing}


def train(training: Training, state: Any, hooks: Hooks = ONLY_BAR, done: int = 0) -> Progress:
    """Runs a training to its end, from its last checkpoint or from the start.

    Args:
      training: the training.
      state: state at the start, [S, ...].
      hooks: checkpoints, TensorBoard and progress bar.
      done: number of units already done, used if there is no checkpoint.

    Raises:
      NotFiniteError: a learning metric is NaN or infinite. The message names the metric, the steps, the seed,
        and the checkpoint with the state before these steps.
      Terminated: the process was asked to end; a checkpoint is saved.
      InputError: a checkpoint cannot be written, or the last one belongs to another training.
    """
    progress, size = _restored(training, state, hooks.checkpoints, done), training.size
    if 0 in training.points and not progress.evaluations:
        _evaluate(training, progress)
    _show_past(training, progress, hooks.watch)
    bar = tqdm(
        total=training.units * size,
        initial=progress.unit * size,
        desc=training.name,
        unit="step",
        unit_scale=True,
        disable=not hooks.bar,
    )
    with bar:
        started: _Started | None = None
        while progress.unit < training.units:
            started = _advance(training, progress, started, hooks.checkpoints)
            _show_unit(training, hooks.watch, progress.unit, progress.learning[-1], progress.timing[-1])
            bar.update(size)
            if progress.unit in training.points:
                row = _evaluate(training, progress)
                show_evaluation(hooks.watch, progress.unit * size, row)
                if "return" in row:
                    bar.set_postfix({"return": f"{float(row['return'].mean()):.2f}"})
            if hooks.checkpoints:
                hooks.checkpoints.offer(progress.unit * size, progress.state, progress.tables())
    return progress


def show_evaluation(watch: Watch | None, step: int, metrics: Row) -> None:
    """If TensorBoard is on, writes the metrics of an evaluation after ``step`` steps."""
    if watch:
        watch.tell(step, {f"evaluation/{metric}": values for metric, values in metrics.items()})


def _restored(training: Training, state: Any, checkpoints: Checkpoints | None, done: int) -> Progress:
    saved = checkpoints.restore(state) if checkpoints else None
    if saved is None:
        return Progress(done, state)
    return Progress(saved.step // training.size, saved.state, **saved.tables)


def _evaluate(training: Training, progress: Progress) -> Row:
    """Evaluates the present state, and returns the metrics."""
    row = training.evaluate(progress.unit, progress.state)
    progress.evaluations.append(row)
    progress.state = training.evaluated(progress.state, progress.unit, row)
    return row


class _Started(NamedTuple):
    """A unit that the devices run; its state and metrics may not be computed yet."""

    began: float
    state: Any
    metrics: Metrics


def _start(training: Training, unit: int, state: Any) -> _Started:
    """Starts a unit. JAX returns before its arrays are computed."""
    return _Started(time.perf_counter(), *training.step(unit, state))


def _advance(
    training: Training, progress: Progress, started: _Started | None, checkpoints: Checkpoints | None
) -> _Started | None:
    """Finishes the next unit.

    Args:
      training: the training.
      progress: changed to the state after the unit.
      started: the next unit, if it has been started.
      checkpoints: where the state is saved if a metric is not finite.

    Returns:
      The unit after the next one, which this function starts, except at the end and after an evaluation.
    """
    this = started or _start(training, progress.unit, progress.state)
    done = progress.unit + 1
    following = None
    if done < training.units and done not in training.points:
        following = _start(training, done, this.state)
    learned = host(this.metrics)
    _require_finite(training, progress, learned, checkpoints)
    now = time.perf_counter()
    progress.learning.append(learned)
    progress.timing.append({"seconds": np.asarray(now - this.began)})
    progress.unit, progress.state = done, this.state
    # The devices run one unit after the other, so the following unit begins only now.
    return following and following._replace(began=now)


def _require_finite(
    training: Training, before: Progress, learned: Row, checkpoints: Checkpoints | None
) -> None:
    """If a metric is not finite, saves the state before this unit and raises NotFiniteError."""
    for metric, values in learned.items():
        if np.isfinite(values).all():
            continue
        seed = int(np.flatnonzero(~np.isfinite(values))[0])
        first = before.unit * training.size
        steps = f"{training.counted} {first + 1} to {first + training.size}{training.place(before.unit)}"
        saved = ""
        if checkpoints:
            saved = f"; the state before is in {checkpoints.save(first, before.state, before.tables())}"
        raise NotFiniteError(
            f"{training.name}: {metric} is {values[seed]} in {steps}, seed {seed}; {training.remedy}{saved}"
        )


def _show_past(training: Training, progress: Progress, watch: Watch | None) -> None:
    """Writes the points up to the last checkpoint to TensorBoard, because event files start anew."""
    for point, row in zip(sorted(training.points), progress.evaluations, strict=False):
        show_evaluation(watch, point * training.size, row)
    for number, row in enumerate(progress.learning):
        _show_unit(training, watch, number + 1, row, progress.timing[number])


def _show_unit(training: Training, watch: Watch | None, unit: int, learned: Row, timing: Row) -> None:
    """Writes the metrics of a unit, and its throughput over all seeds."""
    if watch:
        seeds = len(next(iter(learned.values())))
        rate = np.full(seeds, seeds * training.size / timing["seconds"])
        curves = {f"learn/{metric}": values for metric, values in learned.items()}
        counted = training.counted.replace(" ", "_")
        watch.tell(unit * training.size, {**curves, f"throughput/{counted}_per_second": rate})
