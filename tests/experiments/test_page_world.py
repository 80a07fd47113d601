"""The page's section about the world: facts, checks and user segments."""

from __future__ import annotations

import types

import numpy as np
import pandas as pd

from experiments.reporting.page_world import segment_table, world_facts, world_section


def agent(**curves):
    return types.SimpleNamespace(curves={name: np.asarray(values) for name, values in curves.items()})


def results(agents, facts, family="implicit_mf"):
    rows = [("w", metric, value) for metric, value in facts.items()]
    arrays = {f"reliability_{kind}": np.array([0.1, 0.5]) for kind in ("predicted", "observed", "count")}
    arrays |= {f"popularity_{kind}": np.array([9.0, 3.0, 1.0]) for kind in ("real", "simulated")}
    arrays |= {f"likes_{kind}": np.array([2.0, 4.0, 7.0]) for kind in ("real", "simulated")}
    worlds = pd.DataFrame(rows, columns=["world", "metric", "value"])
    config = {"simulator": {"user_model": {"family": family}}}
    return types.SimpleNamespace(agents=agents, worlds=worlds, validation=arrays, config=config)


def test_facts_compare_the_user_model_with_baselines():
    facts = dict(world_facts({"auc": 0.72, "popularity_auc": 0.65, "item_mean_auc": 0.68, "ndcg10": 0.4}))
    assert facts["held-out AUC"] == "0.720 (popularity 0.650, item mean 0.680)"
    assert facts["held-out NDCG@10"] == "0.400"
    assert "user model of the evaluation world" not in facts
    facts = dict(world_facts({"test_model_auc": 0.8, "test_model_ece": 0.01}))
    assert facts["user model of the evaluation world"] == "AUC 0.800, calibration error 0.0100"


def test_a_world_with_user_segments_has_a_table():
    flat = agent(**{"return": [[1.0, 2.0]]})
    assert segment_table(results({"dqn": flat}, {})) is None
    split = agent(
        **{
            "return": [[1.0, 2.0]],
            "return/patient_niche": [[0.0, 4.0], [0.0, 6.0]],
            "length/patient_niche": [[9.0, 9.0], [9.0, 9.0]],
        }
    )
    table = segment_table(results({"dqn": split, "pg": flat}, {}))
    assert table["headings"] == ["patient, niche"]
    assert table["rows"] == [{"name": "DQN", "cells": ["5.00"]}, {"name": "PG", "cells": ["-"]}]


def test_the_section_has_checks_and_plots():
    facts = {}
    for name, value in {"random": 4.0, "popular": 3.0, "oracle": 9.0}.items():
        facts |= {f"{name}_return{end}": value for end in ("", "_ci_low", "_ci_high")}
    section = world_section(results({}, facts))
    assert [check.holds for check in section["checks"]] == [True, False]
    assert [svg.lstrip()[:5] for svg, _ in section["figures"]] == ["<?xml"] * 3
    assert [world_section(results({}, facts, name))["fitted"] for name in ("graph_filter", "truth")] == [
        True,
        False,
    ]
