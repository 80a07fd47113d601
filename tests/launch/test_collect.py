"""Tests the report of a sweep: merged tables, and a page that compares settings."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest

from experiments.config import Config
from experiments.reporting import plots
from experiments.reporting.page import COLUMNS
from experiments.reporting.report import CURVE_COLUMNS, SUMMARY_COLUMNS
from experiments.run import FINGERPRINT, settings
from experiments.study.overrides import overridden
from ialp_jax import store
from ialp_jax.errors import InputError
from ialp_jax.evaluation import statistics
from launch import collect, finished_runs, sweep_page

STEPS = (0, 500, 1000)


@pytest.fixture(scope="module", autouse=True)
def few_resamples():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(statistics, "RESAMPLES", 60)
        yield


def finish(folder, level, num_seeds=2, **changes):
    """Writes a finished run. Its final mean return is ``level`` for a2c and 1 for random."""
    config = overridden(Config(), changes, "test")
    summary, curves = [], []
    for agent, end in (("random", 1.0), ("a2c", level)):
        for metric in COLUMNS:
            summary.append(("demo", agent, metric, end, end, end - 0.5, end + 0.5, num_seeds))
        for seed in range(num_seeds):
            for i, step in enumerate(STEPS if agent == "a2c" else STEPS[::2]):
                curves.append(("demo", agent, seed, step, "return", end * i / 2 + seed - (num_seeds - 1) / 2))
    for name, rows, columns in (("summary", summary, SUMMARY_COLUMNS), ("curves", curves, CURVE_COLUMNS)):
        text = pd.DataFrame(rows, columns=columns).to_csv(index=False)
        store.write_text(folder / "report" / f"{name}.csv", text)
    store.write_json(folder / "config.json", settings(config))
    store.seal(folder / "report", {FINGERPRINT: "", "config": settings(config)})


@pytest.fixture
def sweep(tmp_path):
    for seed in (0, 1, 2):
        for rate, level in ((0.001, 4.0), (0.003, 8.0)):
            changes = {"seed": seed, "agents.a2c.learning_rate": rate, "llm.store": f"{seed}"}
            finish(tmp_path / f"r{rate}-{seed}", level + seed, **changes)
    store.write_json(tmp_path / "begun" / "config.json", {})
    return tmp_path


def test_tables_have_a_column_per_swept_setting(sweep):
    assert collect.collect(sweep) == ["begun"]
    summary = pd.read_csv(sweep / "report" / "summary.csv")
    assert list(summary)[:3] == ["run", "config.agents.a2c.learning_rate", "config.seed"]
    assert list(summary)[3:] == SUMMARY_COLUMNS
    rows = summary[(summary.agent == "a2c") & (summary.metric == "final_return")]
    assert dict(zip(rows.run, rows["mean"], strict=True))["r0.003-2"] == 10
    assert set(zip(rows["config.agents.a2c.learning_rate"], rows["config.seed"], strict=True)) == {
        (rate, seed) for rate in (0.001, 0.003) for seed in range(3)
    }
    curves = pd.read_csv(sweep / "report" / "curves.csv")
    assert list(curves)[3:] == CURVE_COLUMNS
    assert len(curves) == 6 * 2 * (3 + 2)


def test_runs_that_differ_in_seed_are_repetitions(sweep):
    runs, _ = finished_runs.read(sweep)
    paths = finished_runs.swept_paths(runs)
    groups = finished_runs.settings_of(runs, paths)
    assert list(groups) == ["learning_rate=0.001", "learning_rate=0.003"]
    rows = sweep_page.metric_rows(groups["learning_rate=0.003"], "a2c")["final_return"]
    assert rows["mean"] == pytest.approx(9)
    assert 8 <= rows["ci_low"] < 9 < rows["ci_high"] <= 10  # over the three runs
    curve = sweep_page.return_curve(groups["learning_rate=0.003"], "a2c")
    np.testing.assert_array_equal(curve.env_steps, STEPS)
    np.testing.assert_allclose(curve.estimate.point, [0, 4.5, 9])
    assert curve.estimate.low[0] == curve.estimate.high[0] == 0  # runs have equal means here, seeds do not
    one_run = sweep_page.return_curve(groups["learning_rate=0.003"][:1], "a2c").estimate
    np.testing.assert_allclose(one_run.point, [0, 4, 8])
    np.testing.assert_allclose((one_run.low[0], one_run.high[0]), (-0.5, 0.5))  # over its two seeds
    assert sweep_page.metric_rows(groups["learning_rate=0.003"][:1], "a2c")["final_return"]["ci_low"] == 7.5
    assert sweep_page.return_curve(runs, "dqn") is None


def test_the_page_marks_the_best_and_has_one_row_for_an_unchanged_agent(sweep):
    collect.collect(sweep)
    page = (sweep / "report" / "index.html").read_text()
    assert "6 finished runs of 2 settings; not finished: begun." in page
    assert re.search(r'<td data-label="[^"]+" class="best">9.00<small>', page)
    assert not re.search(r'class="best">5.00', page)
    assert page.count("></span>any</th>") == 1
    assert page.count("data:image/svg+xml") == 1  # random does not learn
    assert "each the mean over its own seeds" in page
    assert "<script" not in page


def test_of_many_settings_only_the_best_are_drawn(tmp_path):
    for width in range(8, 8 + 2 * (len(sweep_page.COLOURS) + 2), 2):
        finish(tmp_path / f"w{width}", float(width), **{"network.width": width})
    runs, _ = finished_runs.read(tmp_path)
    groups = finished_runs.settings_of(runs, finished_runs.swept_paths(runs))
    assert list(groups)[:2] == ["width=8", "width=10"]  # as numbers
    drawn = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plots, "learning_curves", lambda curves, *_, **__: drawn.extend(curves) or "")
        sweep_page.curve_figures(groups, ["a2c"])
    assert drawn == list(groups)[2:]
    page = sweep_page.render("x", runs, [], finished_runs.swept_paths(runs))
    assert "shows the 8 settings with the highest" in page


def test_short_labels_are_unique(tmp_path):
    changes = {"agents.a2c.learning_rate": 0.1, "agents.a_ialp_ft.learning_rate": 0.2, "seed": 4}
    finish(tmp_path / "a", 1.0, **changes)
    finish(tmp_path / "b", 1.0)
    runs, _ = finished_runs.read(tmp_path)
    names = finished_runs.label(runs[0], finished_runs.swept_paths(runs))
    assert names == "a2c.learning_rate=0.1, a_ialp_ft.learning_rate=0.2, seed=4"
    assert finished_runs.label(runs[0], []) == "all runs"
    groups = finished_runs.settings_of(runs, finished_runs.swept_paths(runs))
    assert next(iter(groups)) == "1: a2c.learning_rate=0.003, a_ialp_ft.learning_rate=0.001"
    looks = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plots, "learning_curves", lambda c, *_, look: looks.extend(map(look, c)) or "")
        sweep_page.curve_figures(groups, ["a2c"])
    assert [look.name for look in looks] == ["1", "2"]  # full labels would leave no room for the plot


def test_mistakes_are_one_line(tmp_path, capsys):
    with pytest.raises(InputError, match="holds no finished run"):
        collect.collect(tmp_path)
    finish(tmp_path / "a", 1.0)
    (tmp_path / "a" / "report" / "summary.csv").write_text("x\n1\n")
    with pytest.raises(InputError, match=r"summary\.csv: altered"):
        collect.collect(tmp_path)
    store.seal(tmp_path / "a" / "report", {"config": {}})
    with pytest.raises(InputError, match="not a report"):
        collect.collect(tmp_path)
    with pytest.raises(SystemExit) as end:
        collect.main(["collect", str(tmp_path / "none")])
    assert end.value.code == 2
    assert capsys.readouterr().err == f"error: {tmp_path / 'none'}: holds no finished run\n"


def test_with_a_base_the_report_shows_the_effect_of_each_change(sweep, capsys):
    collect.main(["collect", "--base=r0.001-0", str(sweep)])
    report = sweep / "report"
    rows = pd.read_csv(report / "effects.csv")
    ends = rows[(rows.agent == "a2c") & (rows.metric == "final_return")].set_index("run")
    assert ends.ratio["r0.001-0"] == 1
    assert ends.ratio["r0.003-0"] == pytest.approx(2)  # 8 over 4
    assert ends.change["r0.003-1"] == "agents.a2c.learning_rate=0.003, seed=1"
    assert "| base |" in (report / "effects.md").read_text()
    assert (report / "effects.svg").read_text().count("learning_rate=0.003") == 3
    page = (report / "index.html").read_text()
    assert "Ratios to the base run" in page
    assert page.count("data:image/svg+xml") == 2
    collect.main(["collect", str(sweep)])
    assert "Ratios to the base run" not in (report / "index.html").read_text()
    finish(sweep / "one" / "alone", 4.0)
    collect.main(["collect", str(sweep / "one"), "--base=alone"])
    assert not (sweep / "one" / "report" / "effects.svg").exists()  # nothing to draw
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        collect.main(["collect", str(sweep), "--base=none"])
    assert ended.value.code == 2
    assert "--base=none: no finished run; there are r0.001-0" in capsys.readouterr().err
