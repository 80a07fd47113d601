"""Tables, figures and READMEs of a study, made from its two result files."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from study_fakes import ENDS, pair, world, write_results

from experiments.config import names_in
from experiments.configs import paper
from experiments.study import study_markdown, study_report, study_tables
from experiments.study.study_results import read_results
from experiments.study.study_tuning import tuned_markdown
from experiments.study.trial_log import LOG_COLUMNS, TrialLog
from experiments.study.variants import NOT_OFFLINE_METHODS
from ialp_jax.errors import InputError
from ialp_jax.evaluation import statistics

ROOT = Path(__file__).resolve().parents[2]
README = """# x
<!-- study:overview -->
<!-- /study:overview -->
<!-- study:verdicts -->
old verdicts
<!-- /study:verdicts -->
between
<!-- study:table -->
<!-- /study:table -->
after
"""


@pytest.fixture(scope="module", autouse=True)
def few_resamples():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(statistics, "RESAMPLES", 60)
        yield


@pytest.fixture(scope="module")
def reported(tmp_path_factory):
    root = tmp_path_factory.mktemp("study")
    (root / "README.md").write_text(README)
    few = {name: one for name, one in world().items() if name in NOT_OFFLINE_METHODS}
    worlds = {"lfm": world(), "coat": world(dqn=pair(0.3, 17)), "lfm_not_offline": few}
    write_results(root / "results" / "paper", worlds, tuned=("a2c", "dqn"))
    text = study_report.write_report(root / "results" / "paper", [root / "README.md"])
    return root, text


def test_every_file_of_the_report_is_written(reported):
    folder = reported[0] / "results" / "paper"
    names = {path.name for path in folder.iterdir()}
    worlds = {"lfm.svg", "coat.svg", "lfm_not_offline.svg"}
    tables = {"summary.csv", "across.csv", "verdicts.csv", "table.md", "tuned.md", "verdicts.md"}
    assert names == {"config.json", "curves.csv", "across.svg"} | worlds | tables
    for name in worlds | {"across.svg"}:
        assert (folder / name).read_text().startswith("<?xml")
    assert "A-iALP_ap" in (folder / "across.svg").read_text()


def test_results_are_read_as_they_were_written(reported):
    read = read_results(reported[0] / "results" / "paper").pairs["lfm"]["dqn"]
    expected = world()["dqn"]
    np.testing.assert_array_equal(read.env_steps, expected.env_steps)
    for name, curve in expected.curves.items():
        np.testing.assert_allclose(read.curves[name], curve)
    assert read.metrics.keys() >= expected.metrics.keys() | {"final_return/mainstream"}


def test_labels_from_different_machines_are_named(tmp_path):
    write_results(tmp_path, {"lfm": world()})
    config = json.loads((tmp_path / "config.json").read_text())
    for agent, labels in (("ialp", "one"), ("a_ialp_ap", "one"), ("a_ialp_ft", "other")):
        config["pairs"]["lfm"][agent]["labels"] = labels
    (tmp_path / "config.json").write_text(json.dumps(config))
    results = read_results(tmp_path)
    table = study_markdown.results_markdown(results, study_tables.summary_table(results.pairs))
    assert "The agents use 2 sets of labels, made on different machines: iALP, A-iALP_ap; A-iALP_ft." in table
    config["pairs"]["lfm"]["a_ialp_ft"]["labels"] = "one"
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert "sets of labels" not in study_markdown.results_markdown(
        read_results(tmp_path), study_tables.summary_table(results.pairs)
    )


def test_tables_say_at_which_temperature_pretrained_policies_act(tmp_path):
    write_results(tmp_path, {"lfm": world(), "coat": world()})
    config = json.loads((tmp_path / "config.json").read_text())
    config["worlds"] = {"lfm": {"agents": {"a_ialp_ap": {"start_from": "a2c_warm"}}}}
    for world_name, agent, temperature in (
        ("lfm", "sasrec", 0.25),
        ("lfm", "ialp", 0.5),
        ("lfm", "a2c_warm", 0.125),
        ("lfm", "a_ialp_ap", 0.125),
        ("coat", "ialp", 1.0),
    ):
        config["pairs"][world_name][agent]["temperature"] = temperature
    (tmp_path / "config.json").write_text(json.dumps(config))
    results = read_results(tmp_path)
    summary = study_tables.summary_table(results.pairs).set_index(["world", "agent"]).sort_index()
    assert set(summary.loc["lfm", "a_ialp_ap"].starts_from) == {"a2c_warm"}
    assert set(summary.loc["lfm", "a_ialp_ap"].temperature) == {0.125}
    assert set(summary.loc["coat", "a_ialp_ap"].starts_from) == {"ialp"}
    assert summary.loc["coat", "dqn"].temperature.isna().all()
    line = "SASRec 0.25, A2C warm 0.125, iALP 0.5"
    table = study_markdown.results_markdown(results, summary.reset_index())
    assert f"Temperatures of the pre-trained policies: {line}.\n" in table
    overview = study_markdown.overview_markdown(results, summary.reset_index())
    assert f"Temperatures of the pre-trained policies: lfm: {line}; coat: iALP 1.\n" in overview


def test_the_table_of_tuned_values_says_how_often_each_method_could_win(tmp_path):
    few = {name: world()[name] for name in ("random", "a2c", "dqn", "a_ialp_ap")}
    gate = {"a_ialp_gate": pair(10, 16)}
    write_results(
        tmp_path, {"lfm": few | gate, "industry": few | gate, "lfm_not_offline": few}, tuned=("a2c",)
    )
    row = dict.fromkeys(LOG_COLUMNS, 1) | {"method": "a2c", "values": "{}"}
    log = TrialLog(tmp_path / "tuning" / "lfm.csv")
    for number in range(3):
        log.add([row | {"key": f"k{number}", "configuration": number}])
    text = tuned_markdown(read_results(tmp_path), tmp_path)
    assert "lfm_not_offline" not in text
    lfm, industry = text.split("**industry**")
    assert "| A2C | x 1 | 3 | none on record |" in lfm
    assert "| DQN | default settings, no search | 0 | none on record |" in lfm
    assert "| A-iALP_gate | default settings, no search | 0 | at least 3 |" in lfm
    assert "| A-iALP_gate | default settings, no search | 0 | none here |" in industry
    assert "Random" not in text  # nothing of it is tuned


def test_the_summary_has_mean_and_iqm_with_intervals(reported):
    summary = pd.read_csv(reported[0] / "results" / "paper" / "summary.csv")
    row = summary[(summary.world == "coat") & (summary.agent == "dqn") & (summary.metric == "final_return")]
    row, final = row.iloc[0], pair(0.3, 17).metrics["final_return"]
    assert row["mean"] == pytest.approx(final.mean(), rel=1e-5)
    assert row["iqm"] == pytest.approx(np.sort(final)[1:-1].mean(), rel=1e-5)
    assert row.ci_low < row["mean"] < row.ci_high
    assert row.iqm_ci_low < row.iqm < row.iqm_ci_high
    assert row.num_seeds == 6
    assert {"final_return/niche", "regain_steps", "gini"} <= set(summary.metric)
    assert set(summary.agent) == set(ENDS)


def test_scores_are_normalised_per_world_and_a_world_counts_once(reported):
    across = pd.read_csv(reported[0] / "results" / "paper" / "across.csv")
    assert set(across.num_worlds) == {2}
    final = across[across.metric == "final_return"].set_index(["statistic", "agent"]).value
    assert final["iqm", "random"] == pytest.approx(0, abs=0.01)
    assert final["mean", "oracle"] == pytest.approx(1)
    assert final["mean", "dqn"] == pytest.approx(((8 - 0.2) + (17 - 0.2)) / 2 / 30, abs=0.01)
    assert final["probability_of_improvement", "dqn"] == pytest.approx(0.5)  # dqn loses on lfm, wins on coat
    assert final["probability_of_improvement", "oracle"] == 1


def test_tables_replace_the_blocks_between_markers_and_the_rest_stays(reported):
    root, console = reported
    text = (root / "README.md").read_text()
    assert "old verdicts" not in text
    assert text.startswith("# x\n<!-- study:overview -->\n| agent | lfm | coat | lfm_not_offline |\n")
    overview = text.partition("<!-- /study:overview -->")[0]
    rows = {line.split(" | ")[0]: line.split(" | ")[1:] for line in overview.splitlines()}
    assert rows["| Oracle"][0].startswith("30.2 [30.")
    assert re.match(r"0\.3 → 8\.0 \[\d\.\d, 8\.\d\]$", rows["| DQN"][0])  # first and last return
    assert rows["| SASRec"][2].strip(" |") == ""  # SASRec did not run in the last world
    assert "<!-- study:verdicts -->\n| claim |" in text
    assert "\nbetween\n" in text
    assert text.endswith("<!-- /study:table -->\nafter\n")
    assert "![Return and length over env steps in lfm](results/paper/lfm.svg)" in text
    assert "](lfm.svg)" in (root / "results" / "paper" / "table.md").read_text()
    untuned = [
        line for line in text.splitlines() if line.startswith("These agents ran with default settings")
    ]
    assert "A2C warm" in untuned[0]
    assert "DQN" not in untuned[0]
    assert "| f_a |" in text
    assert "holds: " in console
    before = text
    study_report.write_report(root / "results" / "paper", [root / "README.md"])
    assert (root / "README.md").read_text() == before


START, END = "<!-- study:table -->\n", "<!-- /study:table -->\n"


@pytest.mark.parametrize("text", [(START + END) * 2, START, END, END + START, START + END + END])
def test_a_missing_or_repeated_marker_is_refused(text):
    with pytest.raises(InputError, match=r"^X: needs the lines <!-- study:table -->"):
        study_markdown.replace_blocks(text, {"table": "new\n"}, "X")


def test_a_file_without_any_marker_is_refused():
    with pytest.raises(InputError, match=r"^X: has no markers of tables; add one of <!-- study:table -->"):
        study_markdown.replace_blocks("# x\n", {"table": "new\n"}, "X")


def test_the_readmes_of_the_paper_config_have_markers_for_every_table():
    blocks, used = dict.fromkeys(("headline", "overview", "table", "verdicts"), "new\n"), set()
    for name in names_in(paper.get_config().readme):
        text = (ROOT / name).read_text(encoding="utf-8")
        study_markdown.replace_blocks(text, blocks, name)
        used |= set(re.findall(r"<!-- study:(\w+) -->", text))
    assert used == blocks.keys()


def test_each_readme_gets_the_blocks_that_it_has_markers_for(reported, tmp_path):
    root, _ = reported
    first, second = tmp_path / "first.md", tmp_path / "second.md"
    first.write_text("<!-- study:headline -->\n<!-- /study:headline -->\n")
    second.write_text(f"{START}{END}<!-- study:verdicts -->\n<!-- /study:verdicts -->\n")
    study_report.write_report(root / "results" / "paper", [first, second])
    assert "| agent | lfm | coat |\n" in first.read_text()
    assert "| A-iALP_ap |" in first.read_text()
    assert "| PG |" not in first.read_text()
    assert "| Random |" not in first.read_text()
    assert "**lfm**" not in first.read_text()
    assert "**lfm**" in second.read_text()
    assert "| claim |" in second.read_text()


def test_a_study_in_progress_is_reported_as_far_as_it_is_done(tmp_path):
    with pytest.raises(InputError, match="run the study first"):
        study_report.write_report(tmp_path)
    write_results(tmp_path, {"lfm": {"a2c": world()["a2c"]}})
    study_report.write_report(tmp_path)
    assert not (tmp_path / "across.svg").exists()
    assert pd.read_csv(tmp_path / "verdicts.csv").empty
    (tmp_path / "curves.csv").write_text("a\n1\n")
    with pytest.raises(InputError, match=r"curves\.csv"):
        study_report.write_report(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(InputError, match=r"config\.json"):
        study_report.write_report(tmp_path)


def test_a_readme_keeps_its_line_ends_its_mode_and_its_link(reported):
    root, _ = reported
    text = (root / "README.md").read_bytes().replace(b"\n", b"\r\n")
    (root / "real.md").write_bytes(text)
    (root / "real.md").chmod(0o600)
    (root / "link.md").symlink_to("real.md")
    study_report.write_report(root / "results" / "paper", [root / "link.md"])
    assert (root / "link.md").is_symlink()
    assert (root / "real.md").stat().st_mode & 0o777 == 0o600
    assert (root / "real.md").read_bytes() == text


def test_a_readme_that_is_not_text_is_a_one_line_error(reported):
    (reported[0] / "latin.md").write_bytes(b"caf\xe9\n")
    with pytest.raises(InputError, match=r"latin\.md: not UTF-8 text"):
        study_report.write_report(reported[0] / "results" / "paper", [reported[0] / "latin.md"])
