"""The table of starts of a tiny study with two sets of labels and three label sources."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from test_study_stages import few_resamples, quick_compilation, tiny  # noqa: F401, fixtures

from experiments.study import study_stages
from experiments.study.starts import COLUMNS, by_user
from ialp_jax import store
from ialp_jax.training.rollout import Episodes

USERS = 12  # evaluation users of the tiny world


def test_returns_are_means_of_each_user():
    user = np.array([[5, 3, 5, 9]] * 2)
    total = np.array([[1.0, 2.0, 3.0, 4.0], [0.0, 1.0, 4.0, 0.0]], np.float32)
    table = by_user(Episodes(total, np.ones_like(user), user, user))
    np.testing.assert_array_equal(table, [[2, 2, 4], [1, 2, 0]])  # users 3, 5, 9


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("starts")
    study = tiny(
        methods="random,popular,oracle,sasrec,a2c_warm,ialp,ialp_soft,a_ialp_ft",
        literal="smoke",
        label_sets=2,
        sources="log_model,llm+log_model",
        starts=str(folder / "starts.csv"),
    )
    study.overrides += ";agents.a2c_warm.num_users=100"
    study.evaluation.ends = 2 * USERS
    study.check()
    study_stages.run_study(study, folder / "study", "all", overwrite=False)
    return folder


@pytest.mark.slow
def test_the_table_has_every_start_and_end(finished):
    table = pd.read_csv(finished / "starts.csv")
    assert list(table.columns) == COLUMNS
    starts = table[table.metric == "initial_return"]
    assert list(zip(starts.agent, starts.source, strict=True))[:7] == [
        *(("ialp", "llm"), ("ialp_soft", "llm"), ("ialp_soft", "log_model")),
        *(("ialp_soft", "llm+log_model"), ("a2c_warm", "logs"), ("sasrec", "logs"), ("paper_literal", "llm")),
    ]
    assert list(starts.decoding) == ["tuned"] * 7 + ["sampled"] * 7 + ["argmax"] * 7
    learned = table[table.metric != "initial_return"].agent
    assert set(learned) == {"a2c_warm", "a_ialp_ft", "paper_literal:a_ialp_ft"}
    assert (table.num_label_sets == 2).all()
    of_rival = table[(table.agent == "sasrec")]
    np.testing.assert_allclose(of_rival.ratio_to_sasrec, 1.0)


@pytest.mark.slow
def test_starts_and_ends_are_the_returns_of_the_adaptations(finished):
    """The sessions are those of the last evaluation, with both sets of labels."""
    table = pd.read_csv(finished / "starts.csv").set_index(["agent", "source", "decoding", "metric"])["mean"]

    def curve(world, agent):
        return store.load(finished / "study" / world / "adapt" / agent)[0]["return"]

    rows = {
        ("ialp", "smoke"): ("ialp", "initial_return"),
        ("a_ialp_ft", "smoke"): ("a_ialp_ft", "final_return"),
        ("ialp", "smoke_literal"): ("paper_literal", "initial_return"),
        ("a_ialp_ft", "smoke_literal"): ("paper_literal:a_ialp_ft", "final_return"),
    }
    for (agent, world), (name, metric) in rows.items():
        ends = np.concatenate([curve(world, agent), curve(f"{world}_set2", agent)])[:, -1]
        assert table[name, "llm", "tuned", metric] == pytest.approx(ends.mean(), rel=1e-4)
    curves = np.concatenate([curve(world, "a_ialp_ft") for world in ("smoke", "smoke_set2")]).mean(0)
    lost = max(0.0, *(1 - curves / curves[0]))
    assert table["a_ialp_ft", "llm", "tuned", "drop"] == pytest.approx(lost, rel=1e-4, abs=1e-9)
    both = (
        curve("smoke_by_llm_and_log_model", "ialp_soft"),
        curve("smoke_by_llm_and_log_model_set2", "ialp_soft"),
    )
    start = table["ialp_soft", "llm+log_model", "tuned", "initial_return"]
    assert start == pytest.approx(np.concatenate(both)[:, 0].mean(), rel=1e-4)
    assert table["sasrec", "logs", "tuned", "initial_return"] == pytest.approx(
        curve("smoke", "sasrec")[:, 0].mean(), rel=1e-4
    )
