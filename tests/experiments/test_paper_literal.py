"""The paper read literally: its settings, and a tiny run."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from diagnostic_worlds import quick_compilation  # noqa: F401, an autouse fixture

from experiments import stages
from experiments.configs import paper_literal, smoke
from experiments.flags import STAGES, load_config
from experiments.run import Run
from experiments.study.overrides import value_at
from ialp_jax import store
from ialp_jax.errors import InputError
from ialp_jax.labelling import transitions


def test_the_settings_that_differ_from_the_world_are_the_listed_ones():
    literal, world = paper_literal.get_config("smoke"), smoke.get_config()
    for path, value in paper_literal.LITERAL.items():
        assert value_at(literal, path) == value
    for path in ("data.demo.users", "llm.embedded.steps", "labelling.rounds", "agents.a_ialp_ap.gradient"):
        assert value_at(literal, path) == value_at(world, path)
    assert paper_literal.get_config().data.name == "lfm"


@pytest.mark.parametrize("world", paper_literal.WORLDS)
def test_every_world_can_be_given_after_a_colon(world):
    path = paper_literal.__file__
    config = load_config(f"{path}:{world}")
    config.check()
    assert config.name == f"paper_literal_{world}"
    assert config.agents.ialp.backup == "max"
    with pytest.raises(InputError, match=r"the world must be one of lfm, quickstart"):
        load_config(f"{path}:{world}2")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    config = paper_literal.get_config("smoke")
    config.data.demo.users, config.data.demo.items = 80, 60
    config.labelling.sessions, config.labelling.steps, config.labelling.rounds = 8, 2, 1
    config.llm.embedded.steps, config.llm.threads = 3, 1
    config.evaluation.episodes = config.evaluation.ends = 8
    config.adapt.env_steps, config.audit.enabled = 1000, False
    config.adapt.agents = "random,ialp,a_ialp_ft,a_ialp_ap"
    for name in ("a_ialp_ft", "a_ialp_ap"):
        getattr(config.agents, name).num_users, getattr(config.agents, name).rollout_length = 100, 5
    folder = tmp_path_factory.mktemp("runs") / "literal"
    stages.run_stages(Run.open(folder, config, overwrite=False), STAGES)
    return folder


@pytest.mark.slow
def test_a_tiny_run_ends_with_a_report(finished):
    summary = pd.read_csv(finished / "report" / "summary.csv")
    assert set(summary.agent) == {"random", "ialp", "a_ialp_ft", "a_ialp_ap"}
    assert np.isfinite(summary["mean"]).all()
    first = {n: store.load(finished / "adapt" / n)[0]["return"][:, 0] for n in ("ialp", "a_ialp_ft")}
    np.testing.assert_array_equal(first["ialp"], first["a_ialp_ft"])


@pytest.mark.slow
def test_rewards_are_binary_and_only_the_choice_has_one(finished):
    labels = store.load(finished / "labels")[0]
    batch = transitions.labelled_transitions(labels)[0]
    assert set(np.unique(batch.reward)) <= {0.0, 1.0}
    chosen = labels["choice"][labels["choice"] >= 0] > 0
    np.testing.assert_array_equal(np.asarray(batch.reward) == 1, chosen)
