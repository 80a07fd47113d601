"""Measures whether scores rank the items that users took above other items. numpy only.

The audit compares several sources of scores on the same questions:

- ``llm``: the model;
- ``shuffled``: the same model, but each prompt has the history of another user;
- ``popularity``: the logarithm of 1 + the number of likes by offline users;
- ``truth``: the log-odds of the user model that generated the data; only for generated data;
- ``chance``: the same score for all candidates.

Each metric is a mean over users. If items have equal scores, the metric is averaged over all possible orders
of these items.

- ``auc``: share of pairs (taken item, other item) in which the taken item has the higher score;
- ``auc_minus_popularity``, ``auc_minus_shuffled``: ``auc`` of a source minus ``auc`` of ``popularity`` or
  ``shuffled``, computed for each user;
- ``accuracy``: share of the questions in which a taken item has the highest score;
- ``ndcg``: NDCG at 10 with binary relevance (Jarvelin and Kekalainen 2002). Ties are averaged (McSherry and
  Najork 2008);
- ``invalid_share``, ``none_share``: share of invalid answers, and share of the label "none";
- ``order_bias``: (middle place - place of the chosen candidate) / (K - 1). It is 1/2 if the model always
  chooses the first candidate, and -1/2 if it always chooses the last one. Without bias it is 0, because the
  places of the candidates are random;
- ``letter_bias``, only in lettered modes: total variation distance between the shares of the letters and a
  uniform distribution. It is half the sum of |share of a letter - 1 / K| over all letters, computed from all
  prompts of the audit. Because of chance, it is positive even for a model without bias;
- ``popularity_bias``: log(1 + likes of the chosen item) - log(1 + likes of the taken item). If a user took
  several items, the second term is the mean over these items. The bias is 0 if chosen items are as popular as
  taken items;
- ``truth_agreement``: Spearman's rank correlation between the scores of a source and ``truth``, computed over
  the candidates of a question;
- ``calibration_error``: expected calibration error (Guo et al. 2017). The softmax of a question's scores is
  read as the probabilities that each candidate is the taken item. The confidence C is the highest of these
  probabilities. Users are sorted by C into bins of equal size. The error is the sum over bins of
  |sum of C - sum of hits| / Q. Noise makes the error positive even with perfect calibration.

An invalid answer counts as equal scores for all candidates.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from scipy import special, stats

from ialp_jax import keys
from ialp_jax.evaluation import statistics
from ialp_jax.labelling.audit_questions import Questions

LLM, SHUFFLED, POPULARITY, TRUTH, CHANCE = "llm", "shuffled", "popularity", "truth", "chance"
ASKED = (LLM, SHUFFLED)  # sources that ask the model
RANKING = ("auc", "accuracy", "ndcg")
_DISCOUNTS = np.cumsum(np.concatenate([[0.0], 1 / np.log2(np.arange(10) + 2)]))
MOST_BINS, LEAST_IN_BIN = 10, 50


class Source(NamedTuple):
    """Scores and choices of one source.

    Attributes:
      choice: int [Q]: -1 invalid, 0 none, 1..K.
      scores: float [Q, K]; values after the last candidate are ignored.
    """

    choice: np.ndarray
    scores: np.ndarray

    @classmethod
    def of(cls, scores: np.ndarray, candidates: np.ndarray) -> Source:
        """Makes a source that chooses the candidate with the highest score.

        Args:
          scores: float [Q, K].
          candidates: int [Q, K].
        """
        choice = np.where(candidates > 0, scores, -np.inf).argmax(axis=1) + 1
        return cls(choice.astype(np.int32), scores)


class Row(NamedTuple):
    """A row of ``labels.csv`` without its world. In a segment, a metric's name ends in ``/<segment>``."""

    source: str
    metric: str
    value: float
    ci_low: float
    ci_high: float


def popularity_source(likes: np.ndarray, candidates: np.ndarray) -> Source:
    """Uses log(1 + likes) as scores, so their softmax is proportional to 1 + likes. Likes are int [N + 1]."""
    return Source.of(np.log1p(likes)[candidates], candidates)


def chance_source(candidates: np.ndarray) -> Source:
    """Gives all candidates the same score."""
    return Source.of(np.zeros(candidates.shape), candidates)


def auc(scores: np.ndarray, relevant: np.ndarray) -> float:
    """Share of pairs (relevant item, other item) in the right order; a tie counts 1/2.

    Args:
      scores: float [K].
      relevant: bool [K], with at least one True and one False.
    """
    taken, other = scores[relevant][:, None], scores[~relevant]
    return float(np.mean((taken > other) + 0.5 * (taken == other)))


def accuracy(scores: np.ndarray, relevant: np.ndarray) -> float:
    """Probability that the item with the highest score is relevant; ties are broken at random."""
    return float(np.mean(relevant[scores == scores.max()]))


def ndcg(scores: np.ndarray, relevant: np.ndarray) -> float:
    """NDCG at 10. If scores are equal, a relevant item gets the mean discount of the tied places."""
    taken = scores[relevant][:, None]
    above, equal = np.sum(scores > taken, axis=1), np.sum(scores == taken, axis=1)
    first, last = np.minimum(above, 10), np.minimum(above + equal, 10)
    gain = (_DISCOUNTS[last] - _DISCOUNTS[first]) / equal
    return float(np.sum(gain) / _DISCOUNTS[min(10, len(taken))])


def agreement(scores: np.ndarray, other: np.ndarray) -> float:
    """Spearman's rank correlation of two arrays [K]; NaN if all values of one array are equal."""
    if np.ptp(scores) == 0 or np.ptp(other) == 0:
        return float("nan")
    return float(np.corrcoef(stats.rankdata(scores), stats.rankdata(other))[0, 1])


def usable_scores(source: Source, sizes: np.ndarray) -> list[np.ndarray]:
    """Returns the scores of each question, float64 [K]. If an answer is invalid, all its scores are 0."""
    rows = [row[:size].astype(np.float64) for row, size in zip(source.scores, sizes, strict=True)]
    return [
        row if choice >= 0 and np.isfinite(row).all() else np.zeros_like(row)
        for row, choice in zip(rows, source.choice, strict=True)
    ]


def per_user(
    questions: Questions, source: Source, likes: np.ndarray, truth: Source | None = None
) -> dict[str, np.ndarray]:
    """Computes the metrics of one source, one float64 array [Q] per metric.

    A value is NaN if the metric is undefined for the user.

    Args:
      questions: Q questions.
      source: the source to measure.
      likes: int [N + 1], likes of each item by offline users.
      truth: the true scores, for ``truth_agreement``; None: unknown.
    """
    sizes, logs = questions.sizes, np.log1p(likes)
    rows = usable_scores(source, sizes)
    values: dict[str, list[float]] = {name: [] for name in (*RANKING, "popularity_bias", "truth_agreement")}
    for q, scores in enumerate(rows):
        relevant, items = questions.relevant[q, : sizes[q]], questions.candidates[q, : sizes[q]]
        for name, metric in (("auc", auc), ("accuracy", accuracy), ("ndcg", ndcg)):
            values[name].append(metric(scores, relevant))
        chosen = logs[items[source.choice[q] - 1]] if source.choice[q] > 0 else np.nan
        values["popularity_bias"].append(chosen - logs[items[relevant]].mean())
        if truth is not None:
            values["truth_agreement"].append(agreement(scores, truth.scores[q, : sizes[q]]))
    taken = np.where(source.choice > 0, source.choice, np.nan)
    return {
        **{name: np.array(column) for name, column in values.items() if column},
        "order_bias": ((sizes + 1) / 2 - taken) / (sizes - 1),
        "none_share": (source.choice == 0).astype(np.float64),
        "invalid_share": (source.choice < 0).astype(np.float64),
    }


class Calibration(NamedTuple):
    """For each user, the confidence in the item with the highest score, and whether the user took this item.

    Attributes:
      confidence: float64 [Q], softmax probability of the item with the highest score.
      hit: float64 [Q], probability that this item is the taken item. If several items have the highest score,
        or if the user took several items, one of them is drawn at random. Then the probability may lie
        between 0 and 1.
      bins: int [Q], number of each user's bin, starting at 0. Higher bins have higher confidence. All bins
        have the same number of users, up to rounding.
    """

    confidence: np.ndarray
    hit: np.ndarray
    bins: np.ndarray

    def curve(self) -> dict[str, np.ndarray]:
        """Mean ``confidence`` and mean ``hit`` of each bin, float64 [bins]."""
        count = np.bincount(self.bins)
        return {
            "confidence": np.bincount(self.bins, self.confidence) / count,
            "hit": np.bincount(self.bins, self.hit) / count,
        }

    def error(self) -> statistics.Estimate:
        """The expected calibration error, shape [1]. All resamples use the same bins."""
        gaps = np.zeros((len(self.bins), self.bins.max() + 1))
        gaps[np.arange(len(gaps)), self.bins] = self.confidence - self.hit
        count = len(gaps)
        return statistics.over_users(gaps, lambda sums: np.abs(sums).sum(-1, keepdims=True) / count)


def calibration(questions: Questions, source: Source) -> Calibration:
    """Computes the confidence of a source from the softmax of its scores, and sorts users into bins."""
    rows = usable_scores(source, questions.sizes)
    confidence = np.array([special.softmax(scores).max() for scores in rows])
    taken = [relevant[: len(scores)] for relevant, scores in zip(questions.relevant, rows, strict=True)]
    hit = np.array([accuracy(s, r) / r.sum() for s, r in zip(rows, taken, strict=True)])
    number = max(1, min(MOST_BINS, len(rows) // LEAST_IN_BIN))
    bins = np.empty(len(rows), np.int64)
    bins[np.argsort(confidence, kind="stable")] = np.arange(len(rows)) * number // len(rows)
    return Calibration(confidence, hit, bins)


def segments(questions: Questions, likes: np.ndarray) -> dict[str, np.ndarray]:
    """Splits users at the median into two segments by taste, and into two segments by length of their log.

    ``niche`` users have a lower mean of log(1 + likes) over the items of their history than ``mainstream``
    users. For ``short`` users, the history was taken from fewer likes than for ``long`` users. If one of two
    segments would be empty, both are left out.

    Returns:
      For each segment, whether each user is in it, bool [Q].
    """
    shown = questions.histories > 0
    taste = (np.log1p(likes)[questions.histories] * shown).sum(1) / shown.sum(1)
    pairs = {("niche", "mainstream"): taste, ("short", "long"): questions.known}
    inside: dict[str, np.ndarray] = {}
    for (lower, upper), values in pairs.items():
        above = values > np.median(values)
        if above.any():
            inside |= {lower: ~above, upper: above}
    return inside


def _columns(
    sources: Mapping[str, Source],
    values: Mapping[str, Mapping[str, np.ndarray]],
    parts: Mapping[str, np.ndarray],
) -> dict[tuple[str, str], np.ndarray]:
    """Returns the values per user, float64 [Q], behind each mean in the table; NaN outside a segment."""
    columns: dict[tuple[str, str], np.ndarray] = {}
    for name, of_source in values.items():
        ranked = {metric: of_source[metric] for metric in RANKING}
        for reference in (POPULARITY, SHUFFLED):
            if name not in (POPULARITY, CHANCE, reference):
                ranked[f"auc_minus_{reference}"] = of_source["auc"] - values[reference]["auc"]
        for part, inside in parts.items():
            for metric, column in ranked.items():
                columns[name, metric + part] = np.where(inside, column, np.nan)
        metrics = ["none_share", "invalid_share", "order_bias"] if name in ASKED else []
        metrics += ["popularity_bias"] if name != CHANCE else []
        metrics += ["truth_agreement"] if TRUTH in sources and name not in (TRUTH, CHANCE) else []
        columns |= {(name, metric): of_source[metric] for metric in metrics}
    return columns


def compare(questions: Questions, sources: Mapping[str, Source], likes: np.ndarray) -> list[Row]:
    """Computes all metrics of all sources with intervals, for all users and for each segment.

    Args:
      questions: Q questions.
      sources: sources by name. ``llm``, ``shuffled`` and ``popularity`` are required; the function adds
        ``chance``.
      likes: int [N + 1], likes of each item by offline users.

    Returns:
      The rows of the table. The row ``users`` has the number of users and no interval.
    """
    sources = {**sources, CHANCE: chance_source(questions.candidates)}
    values = {
        name: per_user(questions, source, likes, sources.get(TRUTH)) for name, source in sources.items()
    }
    by_segment = {f"/{name}": inside for name, inside in segments(questions, likes).items()}
    parts = {"": np.ones(len(questions.user), bool), **by_segment}
    rows = [Row(LLM, f"users{part}", float(inside.sum()), np.nan, np.nan) for part, inside in parts.items()]
    columns = _columns(sources, values, parts)
    means = statistics.mean_over_users(np.stack(list(columns.values()), axis=1))
    rows += [Row(*pair, *map(float, numbers)) for pair, *numbers in zip(columns, *means, strict=True)]
    for name in sources:
        if name != CHANCE:
            error = calibration(questions, sources[name]).error()
            rows.append(Row(name, "calibration_error", *(float(number[0]) for number in error)))
    return rows


def letter_bias(shares: np.ndarray, answers: int) -> Row:
    """Computes the row of ``letter_bias``.

    Args:
      shares: float [K], share of each letter among the answers that name a candidate.
      answers: number of answers that name a candidate.

    Returns:
      The row. Its 95 % interval comes from a parametric bootstrap, which draws answers with these shares.
    """
    shares = np.asarray(shares, np.float64)

    def distance(shares: np.ndarray) -> np.ndarray:
        return np.abs(shares - 1 / shares.shape[-1]).sum(-1) / 2

    generator = keys.generator(0, "letter bias")
    drawn = distance(generator.multinomial(answers, shares / shares.sum(), 2000) / answers)
    return Row(LLM, "letter_bias", float(distance(shares)), *map(float, np.quantile(drawn, (0.025, 0.975))))
