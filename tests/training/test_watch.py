"""TensorBoard shows every point once, also after an interruption."""

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from test_adapt import bandit, run
from test_checkpoint import Killed, checkpoints

from ialp_jax.training.loop import Hooks
from ialp_jax.training.watch import Watch


def scalars(folder):
    events = EventAccumulator(str(folder), purge_orphaned_data=False)
    events.Reload()
    return {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def test_an_interrupted_training_has_every_point_once(tmp_path):
    with (
        pytest.raises(Killed),
        checkpoints(tmp_path / "saved", at=2000) as saving,
        Watch(tmp_path / "shown", 2) as watch,
    ):
        run(bandit(), steps=5000, hooks=Hooks(saving, watch))
    with checkpoints(tmp_path / "saved") as saving, Watch(tmp_path / "shown", 2) as watch:
        curves = run(bandit(), steps=5000, hooks=Hooks(saving, watch))
    points = curves["env_steps"].tolist()
    for name, pick in (("seed0", lambda v: v[0]), ("seed1", lambda v: v[1]), ("mean", lambda v: v.mean(0))):
        shown = scalars(tmp_path / "shown" / name)
        steps, values = zip(*shown["evaluation/return"], strict=True)
        assert list(steps) == points
        np.testing.assert_allclose(values, pick(curves["return"]), rtol=1e-6)
        for tag in ("learn/like_rate", "learn/noise", "throughput/env_steps_per_second"):
            assert [step for step, _ in shown[tag]] == [1000, 2000, 3000, 4000, 5000]
        assert all(rate > 0 for _, rate in shown["throughput/env_steps_per_second"])


def test_what_is_not_a_number_is_left_out_and_old_files_are_replaced(tmp_path):
    for step in (1, 2):
        with Watch(tmp_path / "w", 2) as watch:
            watch.tell(step, {"a": np.array([1.0, np.nan]), "b": np.array([2.0, 4.0])})
    assert scalars(tmp_path / "w" / "mean") == {"b": [(2, 3.0)]}
    assert scalars(tmp_path / "w" / "seed0") == {"a": [(2, 1.0)], "b": [(2, 2.0)]}
    assert scalars(tmp_path / "w" / "seed1") == {"b": [(2, 4.0)]}


def test_only_files_of_its_own_are_replaced(tmp_path):
    (tmp_path / "w" / "mine").mkdir(parents=True)
    mine = tmp_path / "w" / "mine" / "events.out.tfevents.1.host"
    mine.write_text("mine")
    for _ in range(2):
        with Watch(tmp_path / "w", 1):
            pass
    assert mine.exists()
    assert len(list((tmp_path / "w" / "seed0").iterdir())) == 1
