"""The page begins with findings. Bad news come first. Each finding has a comparison and an interval."""

from __future__ import annotations

import dataclasses
import itertools
import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.agents import AGENTS, LABELS, AgentDisplay
from experiments.reporting.findings import findings
from experiments.reporting.report import SUMMARY_COLUMNS
from ialp_jax.agents import registry
from ialp_jax.evaluation.statistics import Estimate

# agent -> (return at the first evaluation point, return at the last, largest drop).
GOOD = {
    "random": (0.2, 0.2, 0.0),
    "popular": (2.0, 2.0, 0.0),
    "oracle": (30.0, 30.0, 0.0),
    "sasrec": (3.0, 3.0, 0.0),
    "dqn": (0.2, 8.0, 0.0),
    "a2c": (0.4, 9.0, 0.0),
    "ialp": (4.0, 4.0, 0.0),
    "a_ialp_ft": (4.0, 12.0, 0.8),
    "a_ialp_ap": (4.0, 16.0, 0.0),
}
SESSIONS = {"random": 0.2, "popular": 2.0, "oracle": 30.0}  # returns in worlds.csv


def summary(agents, seeds=3, half=0.1):
    """Rows of summary.csv. Intervals are mean +- ``half``; one seed has no interval."""
    rows = []
    for agent, (first, last, drop) in agents.items():
        values = {"initial_return": first, "final_return": last, "worst_drop": drop, "auc_return": last}
        for metric, value in values.items():
            low, high = (value - half, value + half) if seeds > 1 else (math.nan, math.nan)
            rows.append(("w", agent, metric, value, value, low, high, seeds))
    return pd.DataFrame(rows, columns=SUMMARY_COLUMNS)


def worlds(**changes):
    facts = {}
    for name, value in (SESSIONS | changes).items():
        facts |= {f"{name}_return": value, f"{name}_return_ci_low": value - 0.1}
        facts |= {f"{name}_return_ci_high": value + 0.1, f"{name}_length": 9.0}
    return facts


def audit(popularity, shuffled=0.1):
    """Rows of labels.csv for an LLM with AUC 0.6; its gains over two baselines have intervals of +- 0.02."""
    rows = [("w", "llm", "auc", 0.6, 0.58, 0.62)]
    for other, gain in (("popularity", popularity), ("shuffled", shuffled)):
        rows.append(("w", other, "auc", 0.6 - gain, 0.5, 0.7))
        rows.append(("w", "llm", f"auc_minus_{other}", gain, gain - 0.02, gain + 0.02))
    return pd.DataFrame(rows, columns=["world", "source", "metric", "value", "ci_low", "ci_high"])


GOOD_LINES = [
    (
        "  Head start. iALP starts at a return of 4.00 [3.90, 4.10]: 2.0 times Popular with 2.00 "
        "[1.90, 2.10]; "
        "20.0 times Random with 0.20 [0.10, 0.30]; 10.0 times the best baseline from scratch, "
        "A2C, with 0.40 [0.30, 0.50]; 1.33 times SASRec with 3.00 [2.90, 3.10]."
    ),
    "  Highest at the end. A-iALP_ap, at 16.00 [15.90, 16.10].",
    (
        "  Final return. A-iALP_ap ends at 16.00 [15.90, 16.10]: 8.0 times Popular with 2.00 [1.90, 2.10]; "
        "80.0 times Random with 0.20 [0.10, 0.30]; 1.78 times the best baseline from scratch, "
        "A2C, with 9.00 [8.90, 9.10]; 5.3 times SASRec with 3.00 [2.90, 3.10]."
    ),
    "  Adapting gained. A-iALP_ap ends at 4.0 times frozen iALP with 4.00 [3.90, 4.10].",
    "  Audit of the labels. AUC of the LLM 0.600, of popularity 0.550: +0.050 [+0.030, +0.070].",
    (
        "  Audit of the labels. AUC of the LLM 0.600, of itself after another user's history 0.500: +0.100 "
        "[+0.080, +0.120]."
    ),
    (
        "  The world. It passes its checks, and nothing is above the oracle: Random 0.20 [0.10, 0.30], "
        "Popular 2.00 [1.90, 2.10], Oracle 30.00 [29.90, 30.10]."
    ),
    (
        "  Worst drop. While adapting, the return falls below its initial value at most: A-iALP_ft by 0.80 "
        "[0.70, 0.90], 20% of its initial return; A-iALP_ap by 0.00 [-0.10, 0.10], 0% of its "
        "initial return."
    ),
]


def lines(*args):
    return [f"{'! ' if f.warning else '  '}{f.heading}. {f.text}" for f in findings(*args)]


def test_all_is_well():
    assert (
        lines(summary(GOOD), audit(0.05), worlds(), {"prompts": 100, "invalid": {"empty": 5}}) == GOOD_LINES
    )


def gain(point, half=0.2):
    return Estimate(*map(np.float64, (point, point - half, point + half)))


def test_stagnation_is_bad_news_only_below_a_learner_that_ends_clearly_higher():
    gains = {"a2c": gain(0.1), "a_ialp_ft": gain(0.5), "a_ialp_ap": gain(-0.1), "dqn": gain(0.2)}
    said = lines(summary(GOOD), None, None, None, gains)
    below = (
        "! Stagnates below others. Gain over the last 20% of the run, compared with the part before: "
        "A2C +0.10 [-0.10, +0.30]; DQN +0.20 [+0.00, +0.40]."
    )
    level = (
        "  No more gain. Gain over the last 20% of the run, compared with the part before: "
        "A-iALP_ap -0.10 [-0.30, +0.10]."
    )
    assert said[0] == below
    assert level in said
    assert not any("A-iALP_ft +" in line for line in said)


def test_without_intervals_or_gains_nothing_is_said_about_stagnation():
    unknown = Estimate(np.float64(0), np.float64(math.nan), np.float64(math.nan))
    for gains in ({"a2c": unknown}, {}, None, {"a2c": gain(1.0)}):
        assert not any(
            "gain. Gain" in line or "Stagnates" in line
            for line in lines(summary(GOOD), None, None, None, gains)
        )


def test_iALP_below_popular_comes_first():
    changed = GOOD | {"popular": (7.5, 7.5, 0.0)}
    said = lines(summary(changed), audit(0.05), worlds(popular=7.5))
    assert said[0] == (
        "! The head start is below others. iALP starts at a return of 4.00 [3.90, 4.10]: 0.53 "
        "times Popular with 7.50 [7.40, 7.60]."
    )
    assert said[1].startswith("  Head start. iALP starts at a return of 4.00 [3.90, 4.10]: 20.0 times Random")
    assert [line for line in said if line.startswith("!")] == said[:1]


def test_a_gain_within_the_intervals_is_not_called_one():
    said = lines(summary(GOOD | {"a_ialp_ap": (4.0, 4.1, 0.0)}), None, worlds())
    assert (
        "! Adapting is not shown to gain. A-iALP_ap ends at 1.02 times frozen iALP with 4.00 [3.90, 4.10] "
        "(the intervals overlap)."
    ) in said


def test_the_end_below_what_needs_no_LLM_comes_first():
    changed = GOOD | {"a2c": (0.4, 17.0, 0.0), "a_ialp_ap": (4.0, 3.9, 2.0)}
    said = lines(summary(changed), None, worlds())
    assert said[:3] == [
        (
            "! The final return is below others. A-iALP_ap ends at 3.90 [3.80, 4.00]: 0.23 times "
            "the best baseline from scratch, A2C, with 17.00 [16.90, 17.10]."
        ),
        (
            "! Adapting lost. A-iALP_ap ends at 0.97 times frozen iALP with 4.00 [3.90, 4.10] "
            "(the intervals overlap)."
        ),
        (
            "! Large drop. While adapting, the return falls below its initial value at most: "
            "A-iALP_ap by 2.00 [1.90, 2.10], 50% of its initial return."
        ),
    ]


@pytest.mark.parametrize(
    ("gain", "told"), [(-0.05, "-0.050 [-0.070, -0.030]"), (0.01, "+0.010 [-0.010, +0.030]")]
)
def test_an_audit_that_does_not_beat_popularity_comes_first(gain, told):
    said = lines(summary(GOOD), audit(gain), worlds())
    assert said[0] == (
        "! The labels are not shown to beat popularity. AUC of the LLM 0.600, of popularity "
        f"{0.6 - gain:.3f}: {told}."
    )
    assert [line for line in said if line.startswith("!")] == said[:1]


def test_labels_that_do_not_use_the_history_and_many_that_are_invalid():
    counts = {"prompts": 200, "invalid": {"empty": 20, "several": 4}}
    assert lines(summary(GOOD), audit(0.05, 0.0), worlds(), counts)[:2] == [
        (
            "! The labels are not shown to use the history. AUC of the LLM 0.600, of itself after "
            "another user's history 0.600: +0.000 [-0.020, +0.020]."
        ),
        "! Invalid labels. 24 of 200 prompts have no valid answer: 12.0% [8.2%, 17.2%], more than 5%.",
    ]


def test_a_world_that_fails_its_checks_is_bad_news():
    said = lines(summary(GOOD | {"a2c": (0.4, 31.0, 0.0)}), None, worlds(popular=0.25))
    assert [line for line in said if "Doubtful" in line] == [
        (
            "! Doubtful world. It fails that following the crowd pays more than chance: popular "
            "above random (0.25 [0.15, 0.35] against 0.20 [0.10, 0.30])."
        ),
        (
            "! Doubtful world. A2C is above the oracle: Random 0.20 [0.10, 0.30], Popular 2.00 "
            "[1.90, 2.10], Oracle 30.00 [29.90, 30.10], A2C 31.00 [30.90, 31.10]."
        ),
    ]
    assert not any("passes its checks" in line for line in said)


def test_missing_agents_are_named_if_a_comparison_needs_them():
    few = {name: GOOD[name] for name in ("ialp", "a_ialp_ap", "sasrec")}
    assert lines(summary(few)) == [
        (
            "! Not compared. This run did not include Popular, Random, any baseline from scratch: "
            "whether the labels help is not known."
        ),
        (
            "  Head start. iALP starts at a return of 4.00 [3.90, 4.10]: 1.33 times SASRec with 3.00 "
            "[2.90, 3.10]."
        ),
        "  Highest at the end. A-iALP_ap, at 16.00 [15.90, 16.10].",
        "  Final return. A-iALP_ap ends at 16.00 [15.90, 16.10]: 5.3 times SASRec with 3.00 [2.90, 3.10].",
        "  Adapting gained. A-iALP_ap ends at 4.0 times frozen iALP with 4.00 [3.90, 4.10].",
        (
            "  Worst drop. While adapting, the return falls below its initial value at most: "
            "A-iALP_ap by 0.00 [-0.10, 0.10], 0% of its initial return."
        ),
    ]
    assert lines(summary({"random": GOOD["random"]})) == []


def test_one_seed_is_bad_news_and_has_no_intervals():
    said = lines(summary(GOOD, seeds=1), None, worlds())
    assert said[0] == (
        "! One seed. Some agents ran with one random seed: no interval, and any difference may be chance."
    )
    assert said[1].startswith(
        "  Head start. iALP starts at a return of 4.00: 2.0 times Popular with 2.00; 20.0"
    )
    assert "nan" not in " ".join(said)


def test_what_is_not_finite_is_bad_news():
    said = lines(summary(GOOD | {"dqn": (math.nan,) * 3, "ialp": (math.nan,) * 3}))
    assert said[0] == "! Not a number. The return of DQN, iALP is not finite."
    assert "nan" not in " ".join(said)


def test_a_return_of_nothing_is_compared_by_its_difference():
    said = lines(summary(GOOD | {"random": (0.0, 0.0, 0.0), "popular": (-1.0, -1.0, 0.0)}))
    assert "5.00 above Popular with -1.00 [-1.10, -0.90]; 4.00 above Random with 0.00" in said[0]


VALUES = st.floats(-50, 50) | st.just(math.nan)


@given(st.dictionaries(st.sampled_from(sorted(AGENTS)), st.tuples(VALUES, VALUES, VALUES), min_size=1))
def test_warnings_come_first_and_whoever_is_above_iALP_is_in_one(agents):
    found = findings(summary(agents))
    warned = [finding.warning for finding in found]
    assert warned == sorted(warned, reverse=True)
    assert not any("nan" in finding.text for finding in found)
    mine = agents.get("ialp", (math.nan,))[0]
    below = next((f.text for f in found if f.heading == "The head start is below others"), "")
    for rival, name in (("popular", "Popular"), ("random", "Random"), ("sasrec", "SASRec")):
        above = rival in agents and agents[rival][0] > mine
        assert (f" {name} with" in below) == above, (rival, below)
    for one, other in itertools.pairwise(found):
        assert one != other


@dataclasses.dataclass
class Settings:
    size: int = 1


def test_an_own_agent_is_compared_by_its_group_and_by_what_it_starts_from(monkeypatch):
    monkeypatch.setitem(AGENTS, "mine", AgentDisplay("Mine", LABELS, "#123456"))
    record = registry.AgentRecord("mine", lambda config: None, Settings, starts_from="ialp")
    monkeypatch.setitem(registry._RECORDS, "mine", record)
    agents = {name: GOOD[name] for name in ("random", "popular", "oracle", "a2c", "ialp")}
    found = findings(summary(agents | {"mine": (4.0, 20.0, 3.0)}), None, worlds())
    texts = {one.heading: one.text for one in found}
    assert texts["Final return"].startswith("Mine ends at 20.00")
    assert texts["Adapting gained"] == "Mine ends at 5.0 times frozen iALP with 4.00 [3.90, 4.10]."
    assert texts["Large drop"].endswith("Mine by 3.00 [2.90, 3.10], 75% of its initial return.")


def test_agents_are_compared_by_the_start_that_their_run_gave_them():
    agents = {name: GOOD[name] for name in ("random", "popular", "oracle", "a2c", "ialp")}
    agents |= {"ialp_soft": (6.0, 6.0, 0.0), "a_ialp_ap": (6.0, 16.0, 0.0), "a_ialp_ft": (2.0, 12.0, 0.0)}
    source = {"ialp": "ialp", "ialp_soft": "ialp_soft", "a_ialp_ap": "ialp_soft", "a_ialp_ft": "a2c_warm"}
    rows = summary(agents)
    rows["starts_from"] = rows.agent.map(source)
    texts = {one.heading: one.text for one in findings(rows, None, worlds())}
    assert texts["Adapting gained"] == "A-iALP_ap ends at 2.7 times frozen iALP soft with 6.00 [5.90, 6.10]."
    assert "A-iALP_ft with" in texts["Final return"]  # it started from logs, so it is a rival
    assert "A-iALP_ft" not in texts["Worst drop"]
