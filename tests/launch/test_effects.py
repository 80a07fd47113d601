"""Tests the effects of a sweep: ratios to a base run, names of the changes, table and figure."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from experiments.reporting.report import CURVE_COLUMNS
from experiments.study.study_figures import svg
from ialp_jax.errors import InputError
from ialp_jax.evaluation import statistics
from launch import effects

STEPS = (0, 100, 300)
BASE = {"alpha": 0.5, "labelling.rounds": 2, "adapt.agents": "a", "name": "x"}


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch):
    monkeypatch.setattr(statistics, "RESAMPLES", 200)


def curves(agents, seeds=(0, 1, 2)):
    """Curves of agents with these returns at `STEPS`, plus s for seed s. The table also has lengths."""
    rows = [
        ("demo", agent, seed, step, metric, value + seed if metric == "return" else 99.0)
        for agent, returns in agents.items()
        for seed in seeds
        for step, value in zip(STEPS, returns, strict=True)
        for metric in ("return", "length")
    ]
    return pd.DataFrame(rows, columns=CURVE_COLUMNS)


def effects_of(base=None, other=None, **settings):
    base = curves({"a_ialp_ap": (1, 3, 5), "random": (1, 1, 1)}) if base is None else base
    other = curves({"a_ialp_ap": (1, 5, 9), "random": (1, 1, 1)}) if other is None else other
    return effects.effects(
        "base", {"base": BASE, "more": BASE | (settings or {"alpha": 1.0})}, {"base": base, "more": other}
    )


def row_of(rows, metric, agent="a_ialp_ap", run="more"):
    return rows[(rows.run == run) & (rows.agent == agent) & (rows.metric == metric)].iloc[0]


def test_a_ratio_divides_means_over_seeds():
    rows = effects_of()
    assert list(rows.columns) == effects.COLUMNS
    final = row_of(rows, "final_return")
    assert (final["mean"], final.base, final.num_seeds) == (10, 6, 3)
    assert final.ratio == pytest.approx(10 / 6)
    area = row_of(rows, "auc_return")  # mean 3 in 100 steps, then mean 7 in 200 steps
    assert area["mean"] == pytest.approx((3 * 100 + 7 * 200) / 300 + 1)
    assert row_of(rows, "initial_return").ratio == 1


def test_seeds_are_paired():
    """Every seed has twice the return of the base, so every resample has the ratio 2."""
    double = curves({"a": (2, 2, 2)}).assign(value=lambda t: t.seed * 2.0 + 2)
    rows = effects_of(curves({"a": (1, 1, 1)}), double)
    final = row_of(rows, "final_return", "a")
    assert (final.ratio, final.ci_low, final.ci_high) == (2, 2, 2)
    pd.testing.assert_frame_equal(effects_of(curves({"a": (1, 1, 1)}), double.iloc[::-1]), rows)


def test_only_seeds_of_both_runs_count():
    rows = effects_of(other=curves({"a_ialp_ap": (1, 5, 9)}, seeds=(1, 2, 3)))
    final = row_of(rows, "final_return")
    assert (final["mean"], final.base, final.num_seeds) == (10.5, 6.5, 2)


def test_a_change_lists_the_settings_that_differ():
    assert effects.change(BASE, BASE | {"name": "y", "adapt.agents": "b", "llm.store": "z"}) == ""
    assert (
        effects.change(BASE, BASE | {"labelling.rounds": 4, "alpha": 1.0}) == "alpha=1.0, labelling.rounds=4"
    )
    assert effects.change(BASE, BASE | {"new": 3}) == "new=3"


def test_agents_that_the_base_lacks_have_no_row_and_references_are_not_shown():
    more = curves({"a_ialp_ap": (1, 5, 9), "random": (1, 1, 1), "a2c": (0, 0, 0)})
    rows = effects_of(other=more, alpha=1.0)
    assert set(rows.agent) == {"a_ialp_ap", "random"}
    assert effects.moved(rows) == ["a_ialp_ap"]
    other_world = curves({"a_ialp_ap": (1, 5, 9), "random": (2, 2, 2)})
    assert effects.moved(effects_of(other=other_world)) == ["a_ialp_ap"]


def test_a_base_with_return_0_has_no_ratio():
    rows = effects_of(curves({"a": (0, 0, 0)}, (0,)), curves({"a": (1, 1, 1)}, (0,)))
    assert np.isnan(row_of(rows, "final_return", "a").ratio)


def test_a_run_with_the_settings_of_the_base_is_left_out():
    same = curves({"a_ialp_ap": (7, 7, 7)})
    rows = effects_of(other=same, name="again")
    assert list(rows.run.unique()) == ["base"]


def test_an_unknown_base_is_one_line():
    with pytest.raises(InputError, match=r"--base=other: no finished run; there are base") as caught:
        effects.effects("other", {"base": BASE}, {"base": curves({"a": (0, 0, 0)})})
    assert "\n" not in str(caught.value)


def test_the_table_has_a_row_per_change_and_blanks_for_missing_agents():
    base = curves({"ialp": (1, 1, 1), "a_ialp_ft": (1, 3, 5), "a_ialp_ap": (1, 3, 5)})
    more = curves({"ialp": (2, 2, 2), "a_ialp_ap": (1, 5, 9)})
    lines = effects.table(effects_of(base, more), ["ialp", "a_ialp_ft", "a_ialp_ap"]).splitlines()
    assert lines[0] == (
        "| change | iALP, final | final / base | A-iALP_ft, area | A-iALP_ft, final | area / base "
        "| A-iALP_ap, area | A-iALP_ap, final | area / base |"
    )
    assert lines[2] == "| base | 2.00 |  | 4.33 | 6.00 |  | 4.33 | 6.00 |  |"
    assert lines[3].startswith("| alpha=1.0 | 3.00 | 1.50 [")
    assert "] |  |  |  | 6.67 | 10.00 | 1.54 [" in lines[3]


def test_the_figure_names_every_change_once_and_is_reproducible():
    rows = effects_of(**{"agents.a_ialp_ap.alpha": 1.0, "labelling.source": "a.b"})
    drawn = svg(effects.figure(rows, ["a_ialp_ap"]))
    assert drawn.count(">alpha=1.0, source=a.b<") == 1
    assert ">Area return / base<" in drawn
    assert "A-iALP_ap" in drawn
    assert svg(effects.figure(rows, ["a_ialp_ap"])) == drawn
