"""The devices run one unit ahead of the host, and results do not show it."""

import numpy as np
import pytest
from test_checkpoint import checkpoints

from ialp_jax.errors import NotFiniteError
from ialp_jax.training.loop import NO_HOOKS, Hooks, Training, train


class Device:
    """Writes down in which order units start, the host reads their metrics, and states are evaluated."""

    def __init__(self, bad=None):
        self.events, self.units, self.bad = [], [], bad

    def step(self, unit, state):
        self.events.append(f"start {unit}")
        return state + 1, {"m": Metric(self, unit)}

    def evaluate(self, unit, state):
        self.units.append(unit)
        self.events.append(f"evaluate {int(state[0])}")
        return {"return": np.array([state[0]])}

    def training(self, units=5, points=(0, 3, 5)):
        return Training("toy", units, 10, "steps", self.step, self.evaluate, points=points)


class Metric:
    """Learning metrics of a unit; the host reads them with NumPy."""

    def __init__(self, device, unit):
        self.device, self.unit = device, unit

    def __array__(self, dtype=None, copy=None):
        self.device.events.append(f"read {self.unit}")
        return np.array([np.nan if self.unit == self.device.bad else self.unit], np.float32)


def test_the_next_unit_starts_before_metrics_are_read_except_at_evaluations_and_the_end():
    device = Device()
    progress = train(device.training(), np.zeros(1, np.float32), NO_HOOKS)
    assert device.events == [
        "evaluate 0",
        *("start 0", "start 1", "read 0", "start 2", "read 1", "read 2", "evaluate 3"),
        *("start 3", "start 4", "read 3", "read 4", "evaluate 5"),
    ]
    assert [row["m"].tolist() for row in progress.learning] == [[0], [1], [2], [3], [4]]
    assert device.units == [0, 3, 5]
    assert (progress.unit, progress.state.tolist()) == (5, [5])
    assert all(row["seconds"] >= 0 for row in progress.timing)


def test_the_state_before_a_bad_unit_is_saved_although_later_units_have_started(tmp_path):
    device = Device(bad=1)
    with (
        checkpoints(tmp_path) as saving,
        pytest.raises(NotFiniteError, match=r"steps 11 to 20, seed 0") as bad,
    ):
        train(device.training(points=()), np.zeros(1, np.float32), Hooks(saving, bar=False))
    assert device.events[-2:] == ["start 2", "read 1"]
    assert "/10" in str(bad.value)
    with checkpoints(tmp_path) as saving:
        saved = saving.restore(np.zeros(1, np.float32))
    assert (saved.step, saved.state.tolist()) == (10, [1])


def test_an_evaluation_may_change_the_state():
    import dataclasses

    device = Device()
    training = dataclasses.replace(
        device.training(), evaluated=lambda state, unit, row: state + 100 * unit + row["return"]
    )
    # 0 -> 0 + 0; then 3 -> 3 + 300 + 3; then 308 -> 308 + 500 + 308
    assert train(training, np.zeros(1, np.float32), NO_HOOKS).state.tolist() == [1116]
