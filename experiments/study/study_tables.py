"""Tables of a study over seeds and over worlds."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from experiments.reporting.report import START_COLUMNS, SUMMARY_COLUMNS
from experiments.reporting.styles import ordered
from experiments.study.study_results import Pair
from experiments.study.variants import is_first
from ialp_jax.evaluation import statistics

IQM_COLUMNS = ["iqm_ci_low", "iqm_ci_high"]
ACROSS_COLUMNS = ["agent", "metric", "statistic", "other", "value", "ci_low", "ci_high", "num_worlds"]
RIVAL = "a_ialp_ap"  # the probability of improvement compares each agent with this one


def summary_table(pairs: Mapping[str, Mapping[str, Pair]]) -> pd.DataFrame:
    """Rows of ``summary.csv``: one per world, method and metric, with the mean and the IQM over S seeds.

    The interval of the mean is ``ci_low``..``ci_high``, that of the IQM ``iqm_ci_low``..``iqm_ci_high``.
    ``starts_from`` and ``temperature``: see `experiments.reporting.report.summary_table`.
    """
    rows = []
    for world, agents in pairs.items():
        for agent in ordered(agents):
            metrics, start = agents[agent].metrics, (agents[agent].start, agents[agent].temperature)
            scores = np.stack(list(metrics.values()), axis=1)
            mean, iqm = statistics.estimate(scores), statistics.estimate(scores, statistics.iqm)
            for i, metric in enumerate(metrics):
                of_mean = mean.point[i], iqm.point[i], mean.low[i], mean.high[i]
                of_iqm = iqm.low[i], iqm.high[i]
                numbers = *map(float, of_mean), len(scores), *map(float, of_iqm)
                rows.append((world, agent, metric, *numbers, *start))
    return pd.DataFrame(rows, columns=[*SUMMARY_COLUMNS, *IQM_COLUMNS, *START_COLUMNS])


def normalised_scores(pairs: Mapping[str, Mapping[str, Pair]], metric: str) -> dict[str, np.ndarray]:
    """Agent id -> scores [S, W] in W worlds, normalised so that random scores 0 and oracle scores 1.

    Contains only agents that ran in every world. If a world runs twice, only its first run counts. The result
    is empty if random or oracle is missing in a world.
    """
    worlds = [agents for world, agents in pairs.items() if is_first(world)]
    if not all({"random", "oracle"} <= agents.keys() for agents in worlds):
        return {}
    common = [name for name in worlds[0] if all(name in agents for agents in worlds)] if worlds else []
    scores = {}
    for agent in ordered(common):
        columns = []
        for agents in worlds:
            floor, ceiling = (agents[name].metrics["final_return"].mean() for name in ("random", "oracle"))
            columns.append(statistics.normalised(agents[agent].metrics[metric], floor, ceiling))
        scores[agent] = np.stack(columns, axis=1)
    return scores


def across_table(pairs: Mapping[str, Mapping[str, Pair]]) -> pd.DataFrame:
    """Rows of ``across.csv``: mean, IQM and probability of improvement over all runs in all worlds."""
    rows = []
    for metric in ("final_return", "auc_return"):
        scores = normalised_scores(pairs, metric)
        for agent, of_agent in scores.items():
            estimates = [(name, "", statistics.over_worlds(of_agent, name)) for name in ("mean", "iqm")]
            if RIVAL in scores and agent != RIVAL:
                chance = statistics.probability_of_improvement(of_agent, scores[RIVAL])
                estimates.append(("probability_of_improvement", RIVAL, chance))
            rows += [
                (agent, metric, name, other, *map(float, estimate), of_agent.shape[1])
                for name, other, estimate in estimates
            ]
    return pd.DataFrame(rows, columns=ACROSS_COLUMNS)
